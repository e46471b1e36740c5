"""More devices and more processes give what one device gives."""

import json
import socket

import numpy as np
import pytest
from subprocesses import run_python, start_python

from ggnet_jax import checkpoints


def test_mesh_and_pmap_make_the_single_device_update():
    """Float64 and plain SGD, as Adam would hide a wrong normaliser.

    The shards have 0 to 5 interactions. With N of eq. (4) or the batch norm's statistics taken
    over each shard the parameters would be off by more than the whole update.
    """
    done = run_python("tests/parallel_check.py", devices=8)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["devices"] == 8
    assert min(report["relations"]) == 0 and len(set(report["relations"])) > 3
    assert np.isfinite(report["loss"])
    for way in ("mesh", "pmap"):
        assert max(report[way].values()) < 1e-9, (way, report[way])


@pytest.mark.slow
def test_two_processes_train_and_checkpoint(tmp_path):
    """Two processes of two devices each end where one process of one device does."""
    command = [
        "main.py", "--config=tests/tiny_config.py", "--config.batch_size=4",
        f"--config.data.data_dir={tmp_path / 'data'}", "--config.eval.pictures=0",
    ]  # fmt: skip
    alone = run_python(*command, f"--workdir={tmp_path / 'alone'}")
    assert alone.returncode == 0, alone.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [
        start_python(
            *command, f"--workdir={tmp_path / 'pair'}", f"--distributed=127.0.0.1:{port},2,{k}",
            devices=2,
        )
        for k in (0, 1)
    ]  # fmt: skip
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
