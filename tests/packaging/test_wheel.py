"""The wheel in an empty environment: evaluates as it is, detects with an extra."""

import email
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import make_run

import ggnet_jax

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, far from the checkout."""
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "XLA_FLAGS", "VIRTUAL_ENV")
    }
    surroundings |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    done = subprocess.run(
        command, cwd=cwd, env=surroundings, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The project's wheel, built from the files that git would take."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    files = run("git", "ls-files", "-co", "--exclude-standard", cwd=REPOSITORY).splitlines()
    for name in files:
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((REPOSITORY / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The commands of an environment with the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    commands = folder / "bin"
    run(commands / "pip", "install", "--quiet", wheel, cwd=folder)
    return commands


def packages(commands: Path) -> set[str]:
    """The names of what is installed."""
    found = json.loads(run(commands / "pip", "list", "--format=json", cwd=commands))
    return {one["name"].lower().replace("_", "-") for one in found}


def test_contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = email.message_from_bytes(archive.read(metadata))
    information = f"ggnet_jax-{ggnet_jax.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"ggnet_jax", information}
    assert {
        "ggnet_jax/py.typed",
        "ggnet_jax/serve/assets/page.css",
        "ggnet_jax/serve/assets/drop.js",
        "ggnet_jax/vocabularies/hico_det.json",
        "ggnet_jax/vocabularies/v_coco.json",
        f"{information}/licenses/LICENSE",
    } <= set(names)
    assert fields["License-Expression"] == "Apache-2.0"


def test_evaluates(installed, tmp_path):
    """Two annotated pairs, one of them found: an AP of 1 and one of 0."""
    assert packages(installed) <= {"ggnet-jax", "numpy", "pillow", "pip", "setuptools"}
    boxes = [
        {"bbox": [10, 10, 60, 90], "category_id": 1},
        {"bbox": [40, 50, 90, 95], "category_id": 2},
    ]
    ride, push = ({"subject_id": 0, "object_id": 1, "category_id": verb} for verb in (1, 2))
    truth = [{"file_name": "a.jpg", "annotations": boxes, "hoi_annotation": [ride, push]}]
    found = [
        {
            "file_name": "a.jpg",
            "predictions": [box | {"score": 0.9} for box in boxes],
            "hoi_prediction": [ride | {"score": 0.8}],
        }
    ]
    for name, content in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    run(
        installed / "ggnet-eval", "hico", "--predictions=found.json", "--ground_truth=truth.json",
        "--vocabulary=figures_hoi", "--output=results", cwd=tmp_path,
    )  # fmt: skip
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text())
    ap = {
        (one["verb"], one["object"]): one["ap"] for one in metrics["settings"]["default"]["classes"]
    }
    assert (ap["ride", "bicycle"], ap["push", "bicycle"]) == (1.0, 0.0)
    usage = run(installed / "ggnet-eval", "vcoco", "--help", cwd=tmp_path)
    assert usage.startswith("usage: ggnet-eval vcoco") and "--instances" in usage


def test_detects(wheel, installed, tmp_path):
    make_run(tmp_path / "run")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    run(installed / "pip", "install", "--quiet", f"{wheel}[detect]", cwd=tmp_path)
    assert not packages(installed) & {"tensorflow", "tensorflow-cpu", "ml-collections", "pytest"}
    run(
        installed / "ggnet", "--mode=predict", "--workdir=run", "--images=photo.png",
        "--threshold=0", cwd=tmp_path,
    )  # fmt: skip
    (line,) = (tmp_path / "run/predictions/predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["interactions"]
    assert (tmp_path / "run/predictions/photo.png").is_file()
