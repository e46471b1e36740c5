"""main.py as a user calls it."""

import json
from pathlib import Path

import pytest
from subprocesses import run_python

TINY = "--config=tests/tiny_config.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder where the runs of this file share their data set and what was compiled."""
    return tmp_path_factory.mktemp("main")


def call(folder, *arguments, workdir="run", **options):
    """main.py with the shared data folder."""
    return run_python(
        "main.py",
        f"--workdir={folder / workdir}",
        *arguments,
        cache=folder / "cache",
        **options,
    )


def test_train_evaluate_predict(folder):
    """The default mode trains, evaluates and draws; the other modes use what it left."""
    data = f"--config.data.data_dir={folder / 'data'}"
    done = call(folder, TINY, data, "--config.model.gaze_steps=1")
    assert done.returncode == 0, done.stderr
    run = folder / "run"
    assert "mAP, percent" in done.stdout
    written = [line.strip() for line in done.stdout.partition("drawings:\n")[2].splitlines()]
    assert len(written) >= 2 and all(Path(drawing).is_file() for drawing in written)
    assert "\r" not in done.stderr
    assert "step 8/8" in done.stderr and "images/s" in done.stderr and "left" in done.stderr

    config = json.loads((run / "config.json").read_text())
    assert config["model"]["gaze_steps"] == 1
    vocabulary = json.loads((run / "vocabulary.json").read_text())
    assert config["model"]["num_verbs"] == len(vocabulary["verbs"]) > 0
    assert config["model"]["num_objects"] == len(vocabulary["objects"]) > 0
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 9))
    assert {"loss", "gaze1", "learning_rate", "images_per_second"} <= log[0].keys()
    assert list((run / "tensorboard").glob("events.*"))
    assert sorted(int(p.name) for p in (run / "checkpoints").iterdir()) == [3, 6, 8]

    evaluated = call(folder, "--mode=evaluate", "--step=3")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "checkpoint of step 3" in evaluated.stdout
    predicted = call(
        folder, "--mode=predict", f"--images={written[0]},{folder / 'missing.png'}",
        f"--output={folder / 'found'}", "--threshold=0",
    )  # fmt: skip
    assert predicted.returncode == 1  # one image is missing
    assert "missing.png" in predicted.stderr
    lines = (folder / "found" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[0])["interactions"]


MISTAKES = {
    "unknown field": ([TINY, "--config.batchsize=4"], "batch_size"),
    "unknown nested field": ([TINY, "--config.model.steps.first=4"], "steps"),
    "unknown flag": ([TINY, "--confg=1"], "confg"),
    "unknown mode": ([TINY, "--mode=test"], "train|evaluate|predict"),
    "wrong type": ([TINY, "--config.batch_size=many"], "many"),
    "wrong type of a switch": ([TINY, "--config.round_batch=maybe"], "maybe"),
    "no such configuration": (["--config=configs/nothing.py"], "configs/nothing.py"),
    "no configuration": ([], "--config=configs/demo.py"),
    "stray word": ([TINY, "photo.jpg"], "photo.jpg"),
    "batch that devices can't share": ([TINY, "--config.batch_size=6"], "use 4 or 8"),
    "empty workdir": (["--mode=evaluate"], "holds no run"),
    "empty workdir, predict": (["--mode=predict", "--images=a.jpg"], "holds no run"),
    "no images": (["--mode=predict"], "--images="),
    "impossible value": ([TINY, "--config.parallel=tree"], "'tree'"),
    "impossible processes": ([TINY, "--distributed=here"], "HOST:PORT,COUNT,ID"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_line(folder, name):
    """No traceback, exit status 2, and nothing is written."""
    arguments, expected = MISTAKES[name]
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    done = call(folder, *arguments, workdir="empty", devices=4)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert not list(empty.iterdir())


def test_a_foreign_workdir_is_left_alone(folder):
    """Neither training nor evaluation touches a folder with other people's files."""
    foreign = folder / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    for arguments in ([TINY], ["--mode=evaluate"]):
        done = call(folder, *arguments, workdir="foreign")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [p.name for p in foreign.iterdir()] == ["thesis.tex"]
