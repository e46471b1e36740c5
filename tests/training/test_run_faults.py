"""What happens to a run: two in a folder, signals, kills, full disks and memories, other data."""

import json
import os
import signal
import time
from pathlib import Path

import jax
import pytest
from subprocesses import start_python
from tiny import training_config

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.run_dir.lock import RunLock
from ggnet_jax.training import agreement, log, loop


class Killed(BaseException):
    """Stands for SIGKILL."""


def entries_of(workdir):
    """log.jsonl without the speed, which no two runs share."""
    entries = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in entries]


def weight(workdir):
    variables, step = checkpoints.load_variables(workdir)
    return float(variables["params"]["w"]), step


def test_a_second_training_is_refused_and_harmless(toy, tmp_path):
    """The first goes on; evaluation may read beside it."""

    def start_another(step):
        if step == 9:
            with pytest.raises(UserError, match=f"in use: process {os.getpid()} on "):
                loop.train(training_config(), tmp_path, toy.data)
            assert checkpoints.load_variables(tmp_path, 4)[1] == 4

    toy.at_step = start_another
    config = training_config(checkpoint_every_steps=4)
    assert loop.train(config, tmp_path, toy.data) == loop.TrainResult(10, True)
    assert [entry["step"] for entry in entries_of(tmp_path)] == list(range(1, 11))
    assert not (tmp_path / "run.lock").exists()


def test_two_that_start_in_a_new_folder(toy, tmp_path, monkeypatch):
    """The second comes, and goes, while the first is still reading its data."""
    with monkeypatch.context() as patched:
        compare = loop.compare

        def other(facts):
            patched.setattr(loop, "compare", compare)
            loop.train(training_config(), tmp_path, toy.data)

        patched.setattr(loop, "compare", other)
        with pytest.raises(UserError, match=r"another training has been in .* start again"):
            loop.train(training_config(), tmp_path, toy.data)
    assert weight(tmp_path)[1] == 10


def test_an_interrupted_evaluation_is_repeated(toy, tmp_path):
    """Killed inside of it, the run's log ends as one that was not."""
    config = training_config(eval_every_epochs=1, num_epochs=3)

    def scores(config, workdir, step):
        return {"mAP/full": step + weight(workdir)[0]}

    def killed(config, workdir, step):
        raise Killed

    loop.train(config, tmp_path / "whole", toy.data, evaluate=scores)
    with pytest.raises(Killed):
        loop.train(config, tmp_path / "parts", toy.data, evaluate=killed)
    seen = []

    def again(config, workdir, step):
        seen.append(step)
        return scores(config, workdir, step)

    loop.train(config, tmp_path / "parts", toy.data, evaluate=again)
    assert seen == [5, 10]
    assert entries_of(tmp_path / "parts") == entries_of(tmp_path / "whole")
    assert sum("eval/mAP/full" in entry for entry in entries_of(tmp_path / "parts")) == 2


def test_a_finished_evaluation_is_not_repeated(toy, tmp_path):
    config = training_config(eval_every_epochs=1)

    def kill(step):
        if step == 6:
            raise Killed

    toy.at_step = kill
    with pytest.raises(Killed):
        loop.train(config, tmp_path, toy.data, evaluate=lambda *_: {"mAP/full": 1.0})
    toy.at_step = lambda step: None
    seen = []
    loop.train(config, tmp_path, toy.data, evaluate=lambda *a: seen.append(a) or {})
    assert seen == []
    assert {"step": 5, "eval/mAP/full": 1.0} in entries_of(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_evaluation_stops_it_at_once(toy, tmp_path, capsys, number):
    """The checkpoint is there, and the evaluation is repeated."""
    config = training_config(eval_every_epochs=1)
    before = signal.signal(number, signal.SIG_DFL)
    try:

        def interrupted(config, workdir, step):
            os.kill(os.getpid(), number)
            raise AssertionError("goes on")

        result = loop.train(config, tmp_path, toy.data, evaluate=interrupted)
        assert result == loop.TrainResult(5, False)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert f"stopped by {signal.Signals(number).name} after step 5 of 10" in capsys.readouterr().out
    loop.train(config, tmp_path, toy.data, evaluate=lambda *_: {"mAP/full": 1.0})
    assert [entry["step"] for entry in entries_of(tmp_path)] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]


def test_a_signal_in_the_last_step_leaves_the_evaluation_to_the_next_start(toy, tmp_path):
    toy.at_step = lambda step: step == 10 and os.kill(os.getpid(), signal.SIGINT)
    assert loop.train(training_config(), tmp_path, toy.data) == loop.TrainResult(10, False)
    assert checkpoints.steps(tmp_path) == [10]
    assert loop.train(training_config(), tmp_path, toy.data) == loop.TrainResult(10, True)


BUSY = """
import sys
import numpy as np
from ggnet_jax.training.stop import StopRequest

matrix = np.random.default_rng(0).standard_normal((4000, 4000))
with StopRequest() as stop:
    print("busy", flush=True)
    np.linalg.svd(matrix)  # in which Python hears of no signal
    print("noted" if stop.at(1) else "not noted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_that_waits_for_other_code(number):
    """Such as a compiler, which may take minutes."""
    process = start_python("-c", BUSY)
    assert process.stdout.readline() == "busy\n"
    for _ in range(2):
        time.sleep(0.5)
        process.send_signal(number)
    assert "noted" not in process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal(toy, tmp_path, ignored):
    """SIGHUP saves like SIGTERM, unless nohup has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        toy.at_step = lambda step: step == 4 and os.kill(os.getpid(), signal.SIGHUP)
        result = loop.train(training_config(checkpoint_every_steps=100), tmp_path, toy.data)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result == (loop.TrainResult(10, True) if ignored else loop.TrainResult(4, False))
    assert checkpoints.steps(tmp_path) == [10 if ignored else 4]


def test_another_seed_and_other_data_are_told(toy, tmp_path, capsys, monkeypatch):
    """A checkpoint knows what it was trained with, also where the configuration does not."""
    loop.train(training_config(num_epochs=1), tmp_path, toy.data)
    capsys.readouterr()
    loop.train(training_config(num_epochs=1), tmp_path, toy.data)
    assert "differs" not in capsys.readouterr().out
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"seed": 7}))
    load_dataset = toy.data.load_dataset

    def other(config):
        dataset = load_dataset(config)
        dataset.fingerprint = "other"
        return dataset

    monkeypatch.setattr(toy.data, "load_dataset", other)
    loop.train(training_config(seed=7), tmp_path, toy.data)
    said = capsys.readouterr().out
    assert "differs from the run so far: the checkpoint was trained with seed 0\n" in said
    assert "the checkpoint was trained on other images or annotations\n" in said


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"),
        MemoryError(),
    ],
    ids=["device", "host"],
)
def test_a_full_memory_is_one_line_that_says_what_needs_less(toy, tmp_path, error):
    def fail(step):
        raise error

    toy.at_step = fail
    with pytest.raises(UserError, match="out of memory") as raised:
        loop.train(training_config(), tmp_path, toy.data)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    for word in ("batch_size (4)", "remat=True", "image_size (64, 64)"):
        assert word in message


def test_other_errors_keep_their_traceback(toy, tmp_path):
    def fail(step):
        raise ZeroDivisionError

    toy.at_step = fail
    with pytest.raises(ZeroDivisionError):
        loop.train(training_config(), tmp_path, toy.data)


FOLDERS = {
    "log.jsonl": "log.jsonl is not a file",
    "config.json": "config.json is a folder",
    "vocabulary.json": "vocabulary.json is a folder",
    "run.lock": "Is a directory",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_where_a_file_should_be(toy, tmp_path, name):
    """One line; with the folder out of the way the run goes on."""
    loop.train(training_config(num_epochs=1), tmp_path, toy.data)
    if (tmp_path / name).exists():
        (tmp_path / name).rename(tmp_path / "aside")
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=FOLDERS[name]) as error:
        loop.train(training_config(), tmp_path, toy.data)
    assert len(str(error.value).splitlines()) == 1
    (tmp_path / name).rmdir()
    if (tmp_path / "aside").exists():
        (tmp_path / "aside").rename(tmp_path / name)
    assert loop.train(training_config(), tmp_path, toy.data) == loop.TrainResult(10, True)


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints"])
def test_a_file_where_a_folder_should_be(toy, tmp_path, name):
    loop.train(training_config(num_epochs=1), tmp_path, toy.data)
    (tmp_path / name).rename(tmp_path / "aside")
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match="cannot write") as error:
        loop.train(training_config(), tmp_path, toy.data)
    assert len(str(error.value).splitlines()) == 1
    assert (tmp_path / name).read_text() == "mine"


def test_a_full_disk_under_the_log(toy, tmp_path, monkeypatch):
    """One line; the checkpoint before stays, and the run goes on to the same end."""
    loop.train(training_config(), tmp_path / "whole", toy.data)

    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, text):
            if '"step": 7,' in text:
                self.file.write(text[:9])  # as much as there was room for
                raise OSError(28, "No space left on device")
            return self.file.write(text)

    def full(file):
        return Full(file) if file.name.endswith("log.jsonl") else file

    opened = Path.open
    with monkeypatch.context() as patched:
        patched.setattr(log.Path, "open", lambda *a, **k: full(opened(*a, **k)))
        with pytest.raises(UserError, match=r"cannot write the logs .*: No space left on device;"):
            loop.train(training_config(checkpoint_every_steps=4), tmp_path / "parts", toy.data)
    assert checkpoints.steps(tmp_path / "parts") == [4]
    assert (tmp_path / "parts" / "log.jsonl").read_text().endswith('\n{"step": ')
    loop.train(training_config(), tmp_path / "parts", toy.data)
    assert entries_of(tmp_path / "parts") == entries_of(tmp_path / "whole")
    assert weight(tmp_path / "parts") == weight(tmp_path / "whole")


@pytest.mark.parametrize("name", ["a[1]", "d\\e", "b*?", os.fsdecode(b"\xff {x} %d")], ids=ascii)
def test_a_workdir_of_any_name(toy, tmp_path, name):
    workdir = tmp_path / name
    loop.train(training_config(checkpoint_every_steps=4, num_epochs=1), workdir, toy.data)
    assert loop.train(training_config(), workdir, toy.data) == loop.TrainResult(10, True)
    assert [entry["step"] for entry in entries_of(workdir)] == list(range(1, 11))
    assert weight(workdir)[1] == 10
    assert list((workdir / "tensorboard").iterdir())


def test_progress_in_a_file_is_a_line_now_and_then(toy, tmp_path, capsys, monkeypatch):
    """With losses and the time left; the first says what is trained and that it is compiled."""
    monkeypatch.setattr(log, "_LINE_EVERY", 0.0)
    loop.train(training_config(), tmp_path / "often", toy.data)
    said = capsys.readouterr()
    assert "\r" not in said.err
    lines = said.err.splitlines()
    assert lines[0] == "compiling the training step"
    assert (
        "1 device (cpu); network of 1 parameters; 21 images, 4 a step; 5 steps an epoch" in said.out
    )
    assert any(line.startswith("step 5/10, 00:00 left, loss 0.") for line in lines), lines
    assert lines[-1].startswith("step 10/10") and "images/s" in lines[-1]
    monkeypatch.setattr(log, "_LINE_EVERY", 1e9)
    loop.train(training_config(), tmp_path / "seldom", toy.data)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("step 10/10")


def test_the_folder_is_given_back_after_an_error(toy, tmp_path):
    toy.bad_step = 5
    with pytest.raises(UserError, match="not finite"):
        loop.train(training_config(), tmp_path, toy.data)
    with RunLock(tmp_path) as lock:
        lock.take()


def in_processes(monkeypatch, *texts):
    """Pretend that there are several processes, which say these texts."""
    monkeypatch.setattr(agreement.jax, "process_count", lambda: len(texts))
    monkeypatch.setattr(agreement, "_gather", lambda text: list(texts))


def test_processes_that_differ(monkeypatch):
    facts = {"config": {"seed": 0, "lr": 0.1}, "workdir": ["/a", 5], "step": None}
    same = json.dumps(facts)
    in_processes(monkeypatch, same, same)
    agreement.compare(facts)
    in_processes(monkeypatch, same, json.dumps(facts | {"workdir": ["/mounted/a", 5]}))
    agreement.compare(facts)
    for change, words in (
        ({"workdir": ["/b", 6]}, "workdir is /a in process 0 and /b in process 1"),
        ({"config": {"seed": 3, "lr": 0.1}}, "config.seed is 0 in process 0 and 3 in process 1"),
        ({"step": 8}, "step is None in process 0 and 8 in process 1"),
        ({"new": 1}, "new is None in process 0 and 1 in process 1"),
    ):
        in_processes(monkeypatch, same, json.dumps(facts | change))
        with pytest.raises(UserError, match=words):
            agreement.compare(facts)


def test_what_one_process_cannot_do_ends_all(monkeypatch):
    in_processes(monkeypatch, "", "")
    assert agreement.together(lambda: 5) == 5
    in_processes(monkeypatch, "", "there is no file")
    with pytest.raises(UserError, match="process 1 could not start: there is no file"):
        agreement.together(lambda: 5)
