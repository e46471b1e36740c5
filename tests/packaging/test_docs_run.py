"""The commands of README and docs are run, save those marked with what we don't have.

Each runs as it stands but for a few words: the folders of runs are tiny ones, and a training of the
demo is made short. The files that they name are small ones of the same kind.
"""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_scenes import random_scenes
from PIL import Image
from prediction_files import (
    HICO,
    hico_by_class,
    pocket_hico,
    vcoco_list,
    write_hico_mats,
    write_json,
    write_pickle,
)
from test_docs import commands_with_marks
from vcoco_scenes import random_split
from video_clips import make_clip

from ggnet_jax.evaluation.formats import hico_mat
from tests.subprocesses import REPOSITORY, environment

# Other tests run these: the tests themselves, and the tutorial in its own order.
ELSEWHERE = re.compile(r"-m (pytest|venv|benchmarks)|^docs/your_own_data\.md")
SHORT = [
    "--config.num_epochs=1",
    "--config.data.figures.num_train=32",
    "--config.data.figures.num_test=8",
    "--config.eval.pictures=2",
]
RUNS = ("/tmp/ggnet_demo", "DIR")
EXTRAS = {"needs the extra export": "safetensors", "needs the extra onnx": "onnxruntime"}


def extra_of(mark: str) -> str | None:
    """What must be installed for a marked command, if no more than that."""
    return next((package for text, package in EXTRAS.items() if mark.startswith(text)), None)


def to_run() -> list[tuple[str, list[str]]]:
    """Every command once that needs no more than an extra, with the page that has it first."""
    found: dict[tuple[str, ...], str] = {}
    for page, words, mark in commands_with_marks():
        if (not mark or extra_of(mark)) and not ELSEWHERE.search(f"{page} {' '.join(words)}"):
            found.setdefault(tuple(words), page)
    return [(page, list(words)) for words, page in found.items()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Folders to run commands in: 'hico' and 'vcoco' with the files that they name, 'run'."""
    root = tmp_path_factory.mktemp("docs")
    hico, vcoco = root / "hico", root / "vcoco"
    predictions, truth = random_scenes(
        0, images=8, vocabulary=HICO, name="HICO_test2015_{:08d}.jpg"
    )
    names = hico_mat.image_names()
    for entry in (*predictions, *truth):
        entry["file_name"] = names[int(entry["file_name"][-12:-4])]
    rng = np.random.default_rng(0)
    for folder in (hico / "images" / "test2015", hico / "folder", hico / "more"):
        folder.mkdir(parents=True)
        for entry in truth:
            noise = rng.integers(0, 256, (80, 90, 3), np.uint8)
            Image.fromarray(noise).save(folder / entry["file_name"], "png")
    shutil.copy(hico / "folder" / truth[0]["file_name"], hico / "photo.jpg")
    shutil.copy(hico / "folder" / truth[1]["file_name"], hico / "more" / "one.png")
    shutil.copytree(hico / "folder", hico / "frames")
    if importlib.util.find_spec("av"):
        make_clip(hico / "clip.mp4")
    write_json(hico / "P.json", predictions)
    write_json(hico / "test_hico.json", truth)
    write_json(hico / "instances_test2015.json", pocket_hico(truth))
    write_pickle(hico / "preds.pkl", hico_by_class(predictions))
    write_hico_mats(hico / "DIR_OF_MATS", predictions, names[:8])

    vcoco.mkdir()
    predictions, actions, instances = random_split(0)
    write_json(vcoco / "P.json", predictions)
    write_json(vcoco / "vcoco_test.json", actions)
    for name in ("instances.json", "instances_val2014.json"):
        write_json(vcoco / name, instances)
    write_pickle(vcoco / "cache.pkl", vcoco_list(predictions))
    run = root / "run"
    outcome = start(
        ["python", "main.py", "--config=tests/tiny_config.py", f"--workdir={run}"], hico, root
    )
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    return {"hico": hico, "vcoco": vcoco, "run": run, "root": root}


def start(words: list[str], folder: Path, root: Path) -> subprocess.CompletedProcess:
    """Run a command in a folder, with the repository's files where it names them."""
    program, *rest = words
    if program == "ggnet":
        rest = ["main.py", *rest]
    if program == "ggnet-eval":
        rest = ["-m", "ggnet_jax.evaluation", *rest]
    rest = [
        re.sub(r"^(main\.py|--config=)((?:configs|tests)/.*)?$", _in_repository, w) for w in rest
    ]
    if "--config=" in " ".join(rest):
        rest.append(f"--config.data.data_dir={root}/data")
    return subprocess.run(
        [sys.executable, *rest], cwd=folder, env=environment(cache=root / "cache"),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def _in_repository(found: re.Match[str]) -> str:
    return (
        f"{REPOSITORY}/{found[1]}"
        if found[1] == "main.py"
        else f"{found[1]}{REPOSITORY}/{found[2]}"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "words"), to_run(), ids=[shlex.join(words)[:100] for _, words in to_run()]
)
def test_command(page, words, folders, tmp_path):
    where = folders["vcoco" if "vcoco" in " ".join(words) or "convert" in words else "hico"]
    run = folders["run"]
    if "clip.mp4" in " ".join(words) or "--fps=25" in words:
        pytest.importorskip("av", reason='videos need PyAV: pip install -e ".[video]"')
    if "--mode=export" in words:
        package = "onnxruntime" if "--format=onnx" in words else "safetensors"
        pytest.importorskip(package, reason="an optional install, see docs/export.md")
    if "--mode=estimate" in words:  # of a small network: Hourglass-104 takes minutes
        words = [word.replace("configs/hico.py", "tests/tiny_config.py") for word in words]
    elif "--config=configs/demo.py" in words:
        words, run = [*words, *SHORT], tmp_path / "new"
    for placeholder in RUNS:
        words = [word.replace(f"--workdir={placeholder}", f"--workdir={run}") for word in words]
    words = [word.replace("--step=5000", "--step=8") for word in words]
    outcome = start(words, where, folders["root"])
    assert outcome.returncode == 0, (page, outcome.stdout[-1000:], outcome.stderr[-2000:])
    assert outcome.stdout
