"""The Beam transform: predict's own lines, the network loaded once a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from subprocesses import REPOSITORY, environment
from tiny import make_run

from ggnet_jax.cli.predict_many import predict_many

reason = 'Apache Beam is an optional install: pip install -e ".[beam]"'
beam = pytest.importorskip("apache_beam", reason=reason)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twenty-one images, the fifth broken: no whole number of batches."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(21):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:02}.png")
    (folder / "04.png").write_bytes(b"no image")
    os.rename(folder / "07.png", os.fsencode(folder) + b"/07\xff.png")  # not of UTF-8
    return folder


@pytest.fixture(scope="module")
def expected(run, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    predict_many(run, photos, out, threshold=0.0)
    return lines_of(out)


def lines_of(folder: Path) -> dict[str, dict]:
    """Lines by image; none twice."""
    lines = [
        json.loads(line)
        for file in sorted(folder.glob("predictions-*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    found = {line["file_name"]: line for line in lines}
    assert len(found) == len(lines)
    return found


def start(run, photos, out, cache, *options):
    command = [
        sys.executable, "-m", "ggnet_jax.beam", f"--workdir={run}", f"--input={photos}/*.png",
        f"--output={out}/predictions", "--threshold=0", "--runner=DirectRunner", *options,
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(cache=cache), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_lines_are_those_of_predict(run, photos, expected, tmp_path, workers):
    modes = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    process = start(run, photos, tmp_path / "out", tmp_path / "cache", *modes[: 2 * (workers - 1)])
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 1, text
    assert f"20 of 21 images, 1 skipped; see {tmp_path}/out/predictions-*.jsonl" in text
    assert lines_of(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--workdir=/nowhere"], "/nowhere"),
        (["--input=/nowhere/*.jpg"], "no file there"),
        (["--threshold=2"], "between 0 and 1"),
        (["--batch_size=0"], "batch_size"),
        (["--step=first"], "first"),
        (["--step=99"], "99"),
        (["--input=."], "is a folder; give a quoted glob"),
        (["--runner=NoSuchRunner"], "NoSuchRunner"),
        (["--treshold=0.5"], "is --threshold meant?"),
        (["--max-pixels=5"], "is --max_pixels meant?"),
    ],
)
def test_mistakes_are_one_line(run, photos, tmp_path, capsys, change, word):
    from ggnet_jax.beam import main

    arguments = [f"--workdir={run}", f"--input={photos}/*.png", f"--output={tmp_path}/out"]
    assert main([*arguments, *change]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1 and word in errors
    assert not list(tmp_path.iterdir())
