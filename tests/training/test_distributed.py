"""More devices and more processes give what one device gives."""

import json
import socket
import time

import numpy as np
import pytest
from subprocesses import REPOSITORY, run_python, start_python

from ggnet_jax.run_dir import checkpoints


def test_mesh_and_pmap_make_the_single_device_update():
    """Float64 and plain SGD, as Adam would hide a wrong normalizer.

    The shards have 0 to 5 interactions. With N of eq. (4) or the batch norm's statistics taken
    over each shard the parameters would be off by more than the whole update.
    """
    done = run_python("tests/parallel_check.py", devices=8)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["devices"] == 8
    assert min(report["relations"]) == 0 and len(set(report["relations"])) > 3
    assert np.isfinite(report["loss"])
    for way in ("mesh", "mesh, as on GPUs", "mesh, as on TPUs", "pmap"):
        assert all(off < 1e-9 for off in report[way].values()), (way, report[way])
        # Gradients and sums over the batch travel; feature maps, targets and images stay.
        assert set(report[f"{way} exchanges"]) == {"all-reduce"}, report[f"{way} exchanges"]
        assert report[f"{way} exchanges"]["all-reduce"] < 2 * report["parameters"]


@pytest.mark.slow
def test_two_processes_train_and_checkpoint(tmp_path):
    """Two processes of two devices each end where one process of one device does."""
    alone = run_python(*_command(tmp_path), f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    pair = _start_pair(tmp_path / "pair", tmp_path)
    output = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(output)
    assert "mAP" in output[0] and "mAP" not in output[1]

    expected, step = checkpoints.load_variables(tmp_path / "alone")
    found, same_step = checkpoints.load_variables(tmp_path / "pair")
    assert step == same_step == 4
    for name in ("params", "batch_stats"):
        _assert_close(found[name], expected[name])
    # One log, written by the first process.
    log = (tmp_path / "pair" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4]


def _assert_close(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            _assert_close(found[name], expected[name])
    else:
        # Adam turns rounding in a gradient near zero into a step of the learning rate, 1e-3.
        np.testing.assert_allclose(found, expected, atol=5e-3)
        assert np.abs(found - expected).mean() < 2e-4


# Those below are about processes: the baseline, without gaze steps, compiles sooner.
BASELINE = "--config.model.gaze_steps=0"


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_after_the_same_step(tmp_path):
    """As when a part of a pod is taken away."""
    pair = _start_pair(tmp_path / "run", tmp_path, BASELINE, "--config.num_epochs=10000")
    log = tmp_path / "run" / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") > 3):
        assert all(process.poll() is None for process in pair)
        time.sleep(0.05)
    pair[1].terminate()
    output = [process.communicate(timeout=120)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(output)
    step = checkpoints.steps(tmp_path / "run")[-1]
    assert f"after step {step} of 20000" in output[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--config.learning_rate=0.5", "config.learning_rate is 0.001 in process 0 and 0.5 in"),
        ("--config.num_epochs=3", "config.num_epochs is 2 in process 0 and 3 in process 1"),
        ("--workdir=elsewhere", "elsewhere in process 1"),
        ("--config.batch_size=6", "config.batch_size is 4 in process 0 and 8 in process 1"),
    ],
)
def test_processes_that_differ_end_before_they_train(tmp_path, change, words):
    """One line in each, exit status 2, and nothing is written."""
    pair = _start_pair(
        tmp_path / "run", tmp_path / "data", BASELINE, "--config.round_batch=True", second=[change]
    )
    output = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], "\n".join(output)
    for text in output:
        [line] = [line for line in text.splitlines() if line.startswith("error:")]
        assert words in line and "Traceback" not in text, text
    assert not (tmp_path / "run").exists() and not (REPOSITORY / "elsewhere").exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other(tmp_path, killed):
    """Within a minute and with a line; the next start goes on from the last checkpoint."""
    more = (BASELINE, "--config.checkpoint_every_steps=2")
    pair = _start_pair(tmp_path / "run", tmp_path / "data", "--config.num_epochs=10000", *more)
    while max(checkpoints.steps(tmp_path / "run"), default=0) < 4:
        assert all(process.poll() is None for process in pair)
        time.sleep(0.05)
    pair[killed].kill()
    text = pair[1 - killed].communicate(timeout=90)[0]
    assert pair[1 - killed].returncode == 1
    assert "error: aborted, most likely because another process of this run ended" in text
    pair[killed].communicate()
    step = checkpoints.steps(tmp_path / "run")[-1]
    epochs = f"--config.num_epochs={step // 2 + 1}"
    pair = _start_pair(tmp_path / "run", tmp_path / "data", epochs, *more)
    output = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(output)
    assert f"at step {step} of {step + 2}" in output[0]


@pytest.mark.slow
def test_two_processes_choose_and_stop_together(tmp_path):
    """After the same step, and they go on from there where the patience is longer."""
    more = (
        BASELINE, "--config.data.val_split=0.5", "--config.eval.best=map",
        "--config.eval_every_epochs=1", "--config.learning_rate=1e-9", "--config.num_epochs=9",
    )  # fmt: skip
    found = []
    for patience, stop in ((2, 3), (4, 5)):
        options = (*more, f"--config.eval.patience={patience}")
        pair = _start_pair(tmp_path / "pair", tmp_path, *options)
        output = [process.communicate(timeout=300)[0] for process in pair]
        assert [process.returncode for process in pair] == [0, 0], "\n".join(output)
        assert f"stopped early, after step {stop} of 9" in output[0]
        assert "stopped early" not in output[1]
        chosen = json.loads((tmp_path / "pair" / "best.json").read_text())
        steps = [step for step, _ in chosen["evaluations"]]
        assert (chosen["step"], steps) == (1, list(range(1, stop + 1)))
        assert {1, stop} <= set(checkpoints.steps(tmp_path / "pair"))
        # The test split was scored once, with the chosen checkpoint.
        scored = json.loads((tmp_path / "pair" / "evaluation" / "metrics.json").read_text())
        assert (scored["split"], scored["checkpoint"]["step"]) == ("test", 1)
        found.append(chosen)
    assert found[1]["evaluations"][:3] == found[0]["evaluations"]


def _start_pair(workdir, data, *arguments, second=()):
    """Two processes of two devices each on the tiny configuration.

    Args:
        workdir: of the run.
        data: folder of the prepared data set.
        arguments: of both.
        second: more arguments of the second process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        start_python(
            *_command(data), *arguments, f"--workdir={workdir}",
            f"--distributed=127.0.0.1:{port},2,{number}", *(second if number else ()), devices=2,
        )
        for number in (0, 1)
    ]  # fmt: skip


def _command(data):
    return (
        "main.py", "--config=tests/tiny_config.py", "--config.batch_size=4",
        f"--config.data.data_dir={data}", "--config.eval.pictures=0",
    )  # fmt: skip
