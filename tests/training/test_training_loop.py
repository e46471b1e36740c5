"""The loop with a toy in the network's place: logs, checkpoints, resuming, stopping."""

import json
import os
import signal

import jax
import numpy as np
import pytest
from tiny import exact_batch, training_config

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.training import loop, parallel

BUILD = loop.build  # the toy's replaces it


def log_of(workdir):
    """log.jsonl without the speed, which no two runs share."""
    entries = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in entries]


def final(workdir):
    variables, step = checkpoints.load_variables(workdir)
    return float(variables["params"]["w"]), step


def test_trains_logs_and_saves(toy, tmp_path):
    result = loop.train(
        training_config(checkpoint_every_steps=3, keep_checkpoints=2, log_every_steps=2),
        tmp_path,
        toy.data,
    )
    assert result == loop.TrainResult(10, True)
    assert toy.batches == list(range(1, 11))
    assert checkpoints.steps(tmp_path) == [9, 10]
    assert [entry["step"] for entry in log_of(tmp_path)] == [2, 4, 6, 8, 10]
    expected = 0.0
    for step in range(1, 11):
        expected = expected * 0.9 + exact_batch(step, 4)["image"].mean()
    assert final(tmp_path)[0] == pytest.approx(expected, rel=1e-5)
    assert log_of(tmp_path)[1]["loss"] == pytest.approx(exact_batch(4, 4)["image"].mean(), rel=1e-5)


@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_resumed_run_equals_one_that_was_not_stopped(toy, tmp_path, parallel):
    """Also where the second part runs the other way over the devices."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.train(training_config(), whole, toy.data)

    class Killed(BaseException):
        pass

    def kill(step):
        if step == 9:
            raise Killed

    toy.at_step = kill
    toy.batches.clear()
    with pytest.raises(Killed):
        loop.train(training_config(checkpoint_every_steps=4, parallel=parallel), parts, toy.data)
    assert checkpoints.steps(parts) == [4, 8]
    # As if the process had been killed before its second checkpoint was complete.
    os.rename(parts / "checkpoints" / "8", parts / "checkpoints" / "8.orbax-checkpoint-tmp")
    with (parts / "log.jsonl").open("a") as log:
        log.write('{"step": 8, "lo')
    toy.at_step = lambda step: None
    toy.batches.clear()
    loop.train(training_config(), parts, toy.data)
    assert toy.batches == list(range(5, 11))
    assert final(parts) == final(whole)
    assert log_of(parts) == log_of(whole)
    assert checkpoints.steps(parts) == [4, 10]
    assert len(list((parts / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("way", ["jit", "pmap"])
def test_a_transfer_that_nobody_asked_for_stops_the_run(toy, tmp_path, monkeypatch, way):
    """A batch of host arrays, which JAX would send to the devices without a word."""
    kind = {"jit": parallel.MeshParallel, "pmap": parallel.PmapParallel}[way]
    put_batch = kind.put_batch
    config = training_config(parallel=way, num_epochs=1)
    assert loop.train(config, tmp_path / "explicit", toy.data).finished

    def forgetful(self, batch):
        return jax.device_get(put_batch(self, batch))

    monkeypatch.setattr(kind, "put_batch", forgetful)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        loop.train(config, tmp_path / "implicit", toy.data)


def test_finished_run_is_left_as_it_is(toy, tmp_path):
    loop.train(training_config(), tmp_path, toy.data)
    toy.batches.clear()
    assert loop.train(training_config(), tmp_path, toy.data) == loop.TrainResult(10, True)
    assert toy.batches == []


@pytest.mark.parametrize(("bad", "last"), [(5, "4"), (6, "4"), (2, "no checkpoint"), (10, "8")])
def test_bad_loss_stops_and_is_never_saved(toy, tmp_path, bad, last):
    """Step, images and last good checkpoint are named, wherever the bad step lies."""
    toy.bad_step = bad
    with pytest.raises(UserError) as error:
        loop.train(training_config(checkpoint_every_steps=4), tmp_path, toy.data)
    message = str(error.value)
    assert f"loss is not finite at step {bad} " in message
    assert ", ".join(str(100 * bad + i) for i in range(4)) in message
    assert last in message
    for step in checkpoints.steps(tmp_path):
        assert step < bad
        variables, _ = checkpoints.load_variables(tmp_path, step)
        assert np.isfinite(variables["params"]["w"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_and_ends(toy, tmp_path, capsys, number):
    before = signal.getsignal(number)
    toy.at_step = lambda step: step == 4 and os.kill(os.getpid(), number)
    result = loop.train(training_config(checkpoint_every_steps=100), tmp_path, toy.data)
    assert result == loop.TrainResult(4, False)
    assert checkpoints.steps(tmp_path) == [4]
    said = capsys.readouterr().out
    assert f"stopped by {signal.Signals(number).name} after step 4 of 10" in said
    assert signal.getsignal(number) is before

    toy.at_step = lambda step: None
    toy.batches.clear()
    assert loop.train(training_config(), tmp_path, toy.data).finished
    assert toy.batches == list(range(5, 11))


def test_changes_are_told_and_another_network_is_refused(toy, tmp_path, capsys):
    loop.train(training_config(num_epochs=1), tmp_path, toy.data)
    capsys.readouterr()
    loop.train(training_config(num_epochs=2, learning_rate=0.5), tmp_path, toy.data)
    said = capsys.readouterr().out
    assert "learning_rate: 0.001 -> 0.5" in said and "num_epochs: 1 -> 2" in said
    assert f"resuming {tmp_path} at step 5 of 10" in said
    with pytest.raises(UserError, match=r"config.model.gaze_steps=2, not 1"):
        loop.train(training_config(model__gaze_steps=1), tmp_path, toy.data)


def test_evaluates_between_epochs(toy, tmp_path):
    calls = []

    def evaluate(config, workdir, step):
        # The checkpoint is there to be read.
        calls.append((step, float(checkpoints.load_variables(workdir, step)[0]["params"]["w"])))
        assert config.model.num_verbs == 3
        return {"mAP/full": 12.5}

    loop.train(training_config(eval_every_epochs=1), tmp_path, toy.data, evaluate=evaluate)
    assert [step for step, _ in calls] == [5]
    assert {"step": 5, "eval/mAP/full": 12.5} in log_of(tmp_path)


def test_too_few_images(toy, tmp_path):
    with pytest.raises(UserError, match="more than the 21 images"):
        loop.train(training_config(batch_size=22), tmp_path, toy.data)
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_built_leaves_no_trace(toy, tmp_path, monkeypatch):
    """Or the next try, with the field put right, would be told that the run has another one."""
    monkeypatch.setattr(loop, "build", BUILD)
    for change, word in (
        ({"model__act_points": 8}, "act_points"),
        ({"data__image_size": (64, 68)}, r"\(64, 68\)"),
    ):
        with pytest.raises(UserError, match=word):
            loop.train(training_config(**change), tmp_path, toy.data)
        assert not list(tmp_path.iterdir())


def test_rounded_batch_is_told(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop.jax, "device_count", lambda: 3)
    config = training_config(round_batch=True)

    def stop(*arguments, **options):  # three devices are only pretended
        raise InterruptedError

    monkeypatch.setattr(loop, "Checkpoints", stop)
    with pytest.raises(InterruptedError):
        loop.train(config, tmp_path, toy.data)
    assert "batch size 4 rounded to 3: 3 devices" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 3
    assert config.batch_size == 4
