"""A stream of images: lines in whole shards, none done twice, few drawings."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from subprocesses import REPOSITORY, environment
from tiny import make_run

from ggnet_jax.cli import modes, predict_many, prediction_shards
from ggnet_jax.cli import predict as prediction
from ggnet_jax.cli.predict import predict
from ggnet_jax.cli.prediction_shards import Shards
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import Detector

SIZE = 4  # images a shard


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, batch_size=3)


@pytest.fixture(autouse=True)
def small(monkeypatch, detector):
    monkeypatch.setattr(predict_many.Detector, "load", lambda *_, **__: detector)
    shards = lambda *args: Shards(*args, size=SIZE)  # noqa: E731
    monkeypatch.setattr(predict_many, "Shards", shards)


@pytest.fixture
def photos(tmp_path):
    """Ten images, the fifth broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (folder / "4.png").write_bytes(b"no image")
    return folder


def lines_of(folder):
    files = sorted(folder.glob("predictions-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_the_lines_are_those_of_a_few_images(run, photos, tmp_path, monkeypatch, capsys):
    assert predict_many.predict_many(run, photos, tmp_path / "many", threshold=0.0) == 1
    assert "9 of 10 images in 3 shards, 1 skipped" in capsys.readouterr().out
    names = [f"predictions-{i:05d}-of-00003.jsonl" for i in range(3)]
    assert sorted(p.name for p in (tmp_path / "many").glob("*.jsonl")) == names
    assert not list((tmp_path / "many").glob("*.png"))
    many = lines_of(tmp_path / "many")
    assert [len((tmp_path / "many" / n).read_text().splitlines()) for n in names] == [4, 4, 2]
    monkeypatch.setattr(prediction, "draw", lambda *_: [])
    assert predict(run, photos, tmp_path / "few", threshold=0.0) == 1
    few = [json.loads(x) for x in (tmp_path / "few" / "predictions.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in many] == [line["file_name"] for line in few]
    for one, other in zip(many, few, strict=True):
        if "error" in one:
            assert one == other
            continue
        assert len(one["interactions"]) == len(other["interactions"]) > 0
        for a, b in zip(one["interactions"], other["interactions"], strict=True):
            assert a["score"] == pytest.approx(b["score"], rel=1e-4)


class Stop(Exception):
    """In place of a kill, which leaves as much behind."""


def test_nothing_is_done_twice(run, photos, tmp_path, monkeypatch, detector, capsys):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    predict_many.predict_many(run, photos, whole, threshold=0.0)
    seen = []
    results = detector.results

    def counted(items, **options):
        for result in results(items, **options):
            if len(seen) in (3, 6):  # inside of the first shard, and of the second
                seen.append(None)
                raise Stop
            seen.append(result.item.path.name)
            yield result

    monkeypatch.setattr(detector, "results", counted)
    for _ in range(2):
        with pytest.raises(Stop):
            predict_many.predict_many(run, photos, torn, threshold=0.0)
        (draft,) = torn.glob("*.unfinished")
        with draft.open("a") as file:  # the line that a killed process was writing
            file.write('{"file_name": "half')
    capsys.readouterr()
    assert predict_many.predict_many(run, photos, torn, threshold=0.0) == 1
    assert "5 of 10 images are done, 1 of which could not be read" in capsys.readouterr().out
    assert [name for name in seen if name] == [f"{number}.png" for number in range(10)]
    assert lines_of(torn) == lines_of(whole)
    assert not list(torn.glob("*.unfinished"))
    # Once more: nothing is left to do, and the network is not even loaded.
    monkeypatch.setattr(predict_many.Detector, "load", None)
    assert predict_many.predict_many(run, photos, torn, threshold=0.0) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [({"threshold": 0.5}, "threshold 0.0, not 0.5"), ({"format": "ppdm"}, "format native"),
     ({"draw": "all"}, "draw none"), ({"images": "fewer"}, "other images"),
     ({"dtype": "bfloat16"}, "another --dtype")],
)  # fmt: skip
def test_another_job_does_not_mix_with_it(run, photos, tmp_path, change, word):
    options = {"images": photos, "output": tmp_path / "out", "threshold": 0.0}
    predict_many.predict_many(run, **options)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    if "images" in change:
        change = {"images": [photos / "1.png", photos / "2.png"]}
    with pytest.raises(UserError, match=word):
        predict_many.predict_many(run, **options | change)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_shard_that_was_changed_is_named(run, photos, tmp_path):
    predict_many.predict_many(run, photos, tmp_path / "out")
    shard = sorted((tmp_path / "out").glob("predictions-*.jsonl"))[1]
    lines = shard.read_text().splitlines(keepends=True)
    for content in (lines[:2], lines[::-1]):
        shard.write_text("".join(content))
        with pytest.raises(UserError, match=shard.name):
            predict_many.predict_many(run, photos, tmp_path / "out")
    shard.unlink()  # as the message says
    assert predict_many.predict_many(run, photos, tmp_path / "out") == 1
    assert shard.read_text() == "".join(lines)
    (tmp_path / "out" / prediction_shards.JOB).unlink()
    with pytest.raises(UserError, match=prediction_shards.JOB):
        predict_many.predict_many(run, photos, tmp_path / "out")


def test_a_line_that_is_not_ours_is_refused(run, photos, tmp_path):
    """And never becomes a part of a whole shard."""
    predict_many.predict_many(run, photos, tmp_path / "out")
    shard = sorted((tmp_path / "out").glob("*.jsonl"))[-1]
    whole = shard.read_text()
    draft = shard.rename(f"{shard}.unfinished")
    draft.write_text("garbage\n" + whole)
    with pytest.raises(UserError, match=f"{draft.name} is not of these images; remove it"):
        predict_many.predict_many(run, photos, tmp_path / "out")
    draft.unlink()
    predict_many.predict_many(run, photos, tmp_path / "out")
    assert shard.read_text() == whole


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_line(run, photos, tmp_path, monkeypatch, detector):
    out = tmp_path / "out"
    draft = out / "predictions-00000-of-00003.jsonl.unfinished"
    results = detector.results

    def filled(*args, **options):
        draft.symlink_to("/dev/full")
        yield from results(*args, **options)

    with monkeypatch.context() as full:
        full.setattr(detector, "results", filled)
        with pytest.raises(UserError, match=f"cannot write {draft}: No space left on device"):
            predict_many.predict_many(run, photos, out, threshold=0.0)
    draft.unlink()
    assert predict_many.predict_many(run, photos, out, threshold=0.0) == 1
    assert len(lines_of(out)) == 10


def test_the_evaluators_entries(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "draw", lambda *_: [])
    assert predict_many.predict_many(run, photos, tmp_path / "out", format="ppdm") == 1
    assert predict(run, photos, tmp_path / "few", format="ppdm") == 1
    many = json.loads((tmp_path / "out" / "predictions.json").read_text())
    few = json.loads((tmp_path / "few" / "predictions.json").read_text())
    assert [set(entry) for entry in many] == [set(entry) for entry in few]
    assert [entry["file_name"] for entry in many] == [entry["file_name"] for entry in few]
    assert many[4]["predictions"] == []
    for one, other in zip(many, few, strict=True):
        assert len(one["hoi_prediction"]) == len(other["hoi_prediction"])


def test_drawings(run, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict_many, "BEST_DRAWN", 2)
    best, all_ = tmp_path / "best", tmp_path / "all"
    predict_many.predict_many(run, photos, best, threshold=0.0, draw="best")
    scores = {
        line["interactions"][0]["score"]: line["file_name"]
        for line in lines_of(best)
        if "error" not in line
    }
    expected = {os.path.basename(scores[score]) for score in sorted(scores)[-2:]}
    drawn = {p.name for p in best.glob("*.png") if not p.stem.endswith("_explained")}
    assert drawn == expected
    # The best of a folder that was predicted without drawings, in which nothing is left to do.
    later = tmp_path / "later"
    predict_many.predict_many(run, photos, later, threshold=0.0)
    before = lines_of(later)
    predict_many.predict_many(run, photos, later, threshold=0.0, draw="best")
    assert {p.name for p in later.glob("*.png") if not p.stem.endswith("_explained")} == expected
    assert lines_of(later) == before
    capsys.readouterr()
    predict_many.predict_many(run, photos, tmp_path / "none", threshold=1.0, draw="best")
    assert "none is drawn: nothing above 1.00" in capsys.readouterr().out
    few = [photos / "3.png", photos / "4.png"]
    predict_many.predict_many(run, few, all_, threshold=0.0, draw="all")
    line, broken = lines_of(all_)
    assert (all_ / line["drawing"]).is_file() and (all_ / line["explanation"]).is_file()
    assert "error" in broken


def test_many_are_not_drawn_unless_asked(run, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict_many, "FEW", 5)
    predict = lambda **options: modes.predict(  # noqa: E731
        run, str(photos), str(tmp_path / "out"), None, 0.0, **options
    )
    assert predict() == 1
    assert "10 images: none is drawn unless --draw=best" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.slow
def test_a_killed_process_goes_on(run, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(image).save(folder / "0.png")
    for number in range(1, 1500):
        os.link(folder / "0.png", folder / f"{number}.png")
    command = [
        sys.executable, "main.py", "--mode=predict", f"--workdir={run}", f"--images={folder}",
        f"--output={out}", "--threshold=0",
    ]  # fmt: skip

    def start():
        return subprocess.Popen(
            command, cwd=REPOSITORY, env=environment(cache=tmp_path / "cache"), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    process = start()
    deadline = time.monotonic() + 240
    while not list(out.glob("*.unfinished")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (draft,) = out.glob("predictions-00000-of-00002.jsonl*")
    before = draft.read_bytes()
    process = start()
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    assert "of 1,500 images are done" in text and "1,500 of 1,500 images in 2 shards" in text
    lines = lines_of(out)
    assert [line["file_name"] for line in lines] == sorted(str(p) for p in folder.iterdir())
    kept = before[: before.rfind(b"\n") + 1]
    assert (out / "predictions-00000-of-00002.jsonl").read_bytes().startswith(kept) and kept
