"""Kill a run again and again, at any moment: it ends as if nothing had happened."""

import json
import random
import signal
import time

import numpy as np
import pytest
from subprocesses import run_python, start_python

from ggnet_jax.run_dir import best, checkpoints

STEPS = 60
KILLS = 6


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bits(tmp_path):
    """SIGKILL while starting, between steps and inside of saves; real images, augmented."""
    worker = ["tests/train_worker.py"]
    data, cache = str(tmp_path / "data"), tmp_path / "cache"
    whole = run_python(*worker, str(tmp_path / "whole"), data, cache=cache, timeout=1200)
    assert whole.returncode == 0, whole.stderr

    generator = random.Random(0)
    folder = tmp_path / "parts"
    killed_at, in_a_save = [], 0
    for number in range(KILLS):
        process = start_python(*worker, str(folder), data, cache=cache)
        newest = max(checkpoints.steps(folder), default=0)
        if number == 0:  # before there is anything
            time.sleep(generator.uniform(0.5, 4))
        else:
            _wait_for_step(process, folder, newest + generator.randint(1, 9))
            if number % 2:
                _wait_for_a_save(process, folder)
            else:
                time.sleep(generator.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[0]
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, output
            break
        unfinished = checkpoints.folder(folder).glob("*tmp*") if folder.exists() else ()
        in_a_save += bool(list(unfinished))
        killed_at.append(max(checkpoints.steps(folder), default=0))
    assert in_a_save >= 1 and len(set(killed_at)) >= 4, (in_a_save, killed_at)

    last = run_python(*worker, str(folder), data, cache=cache, timeout=1200)
    assert last.returncode == 0, last.stderr
    assert "step=60, finished=True" in last.stdout
    with (
        checkpoints.Checkpoints(tmp_path / "whole") as one,
        checkpoints.Checkpoints(folder) as other,
    ):
        expected, found = one.restore(), other.restore()
    _assert_same_bits(found, expected)
    assert found[2] == STEPS
    assert _log(folder) == _log(tmp_path / "whole")
    chosen = best.read(folder)
    assert chosen == best.read(tmp_path / "whole") and len(chosen["evaluations"]) == 15
    assert checkpoints.steps(folder) == checkpoints.steps(tmp_path / "whole")
    variables, step = checkpoints.load_variables(folder, "best")
    assert step == chosen["step"]
    _assert_same_bits(variables, checkpoints.load_variables(tmp_path / "whole", "best")[0])


@pytest.mark.slow
def test_sigterm_ends_cleanly(tmp_path):
    """Exit status 0, a message, a checkpoint of the very step, and nothing else unfinished."""
    command = [
        "main.py", "--config=tests/tiny_config.py", f"--workdir={tmp_path / 'run'}",
        f"--config.data.data_dir={tmp_path / 'data'}", "--config.num_epochs=10000",
        "--config.checkpoint_every_steps=100000",
    ]  # fmt: skip
    process = start_python(*command)
    _wait_for_step(process, tmp_path / "run", 3)
    process.terminate()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    [step] = checkpoints.steps(tmp_path / "run")
    assert f"stopped by SIGTERM after step {step} of 40000" in output
    assert "mAP" not in output
    assert _log(tmp_path / "run")[-1]["step"] == step


def _wait_for_step(process, folder, step):
    """Return once a step has been logged."""
    log = folder / "log.jsonl"
    while process.poll() is None:
        lines = log.read_text().splitlines() if log.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.002)


def _wait_for_a_save(process, folder):
    """Return as soon as Orbax has started to write."""
    while process.poll() is None:
        if any("tmp" in entry.name for entry in checkpoints.folder(folder).iterdir()):
            return


def _log(folder):
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in entries]


def _assert_same_bits(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            _assert_same_bits(found[name], expected[name])
    elif isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            _assert_same_bits(one, other)
    else:
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
