"""The best checkpoint and the early end: what is chosen, also by a run that is killed anywhere."""

import json

import numpy as np
import pytest
from tiny import training_config

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best, checkpoints
from ggnet_jax.training import loop
from ggnet_jax.training.selection import Selection
from ggnet_jax.training.tracking import Evaluated

VALUES = {5: 10.0, 10: 30.0, 15: 30.0, 20: float("nan"), 25: 20.0, 30: 25.0}
NAN = float("nan")


def selection(values, patience=0, first=5):
    made = Selection("m", "0.1", 2, "data", patience)
    for number, value in enumerate(values):
        made.add(first * (number + 1), value)
    return made


@pytest.mark.parametrize(
    ("values", "chosen", "waited"),
    [
        ([], None, 0),
        ([1.0], 5, 0),
        ([1.0, 2.0, 3.0], 15, 0),
        ([3.0, 2.0, 1.0], 5, 2),
        ([2.0, 2.0, 2.0], 5, 2),
        ([0.0, NAN, 0.0], 5, 2),
        ([NAN, None, float("inf")], None, 3),
        ([NAN, -1.0], 10, 0),
    ],
)
def test_the_first_of_the_best_values(values, chosen, waited):
    made = selection(values)
    assert (made.best, made.waited) == (chosen, waited)
    assert [selection(values, patience).stops for patience in (0, waited, waited + 1)] == [
        False,
        waited > 0,
        False,
    ]
    json.dumps(made.to_record(), allow_nan=False)


def test_a_run_goes_on_with_its_evaluations():
    record = selection([1.0, 3.0, 2.0]).to_record()
    again = selection([])
    assert again.go_on(record, 15) == "" and again.to_record() == record
    earlier = selection([])
    assert earlier.go_on(record, 9) == "" and earlier.evaluations == {5: 1.0}
    for change, words in (
        ({"metric": "other"}, "by another metric"),
        ({"split": "0.2"}, "on another validation split"),
        ({"data": "other"}, "on other validation images"),
    ):
        fresh = selection([])
        assert words in fresh.go_on(record | change, 15) and not fresh.evaluations


@pytest.fixture
def validated(toy):
    """The toy with a validation split; `values` are what its evaluations find."""
    dataset = toy.data.load_dataset(None)
    vars(dataset).update(
        num_held_out=2,
        num_val=2,
        num_val_evaluated=0,
        eval_split="test",
        val_split="0.1",
        val_fingerprint="abc",
    )
    toy.dataset = dataset
    toy.data.load_dataset = lambda config: dataset
    toy.evaluated = []

    def evaluate(config, workdir, step):
        toy.evaluated.append(step)
        value = VALUES[step]
        return {} if np.isnan(value) else {"m": value, "other": 1.0}

    toy.evaluate = evaluate
    return toy


def config_of(**changes):
    fields = {
        "num_epochs": 6, "eval_every_epochs": 1, "eval__best": "m", "keep_checkpoints": 1,
        "checkpoint_every_steps": 5, "data__val_split": "0.1",
    }  # fmt: skip
    return training_config(**(fields | changes))


def train(toy, workdir, **changes):
    return loop.train(config_of(**changes), workdir, toy.data, evaluate=toy.evaluate)


def test_the_best_is_kept_beside_the_newest(validated, tmp_path, capsys):
    assert train(validated, tmp_path) == loop.TrainResult(30, True)
    assert validated.evaluated == [5, 10, 15, 20, 25, 30]
    assert checkpoints.steps(tmp_path) == [10, 30]
    assert checkpoints.load_variables(tmp_path, "best")[1] == 10
    assert checkpoints.load_variables(tmp_path)[1] == 30
    assert best.summary(tmp_path, 10) == {
        "metric": "m", "value": 30.0, "split": "0.1", "images": 2, "evaluations": 6,
    }  # fmt: skip
    assert best.summary(tmp_path, 30) is None
    said = capsys.readouterr().out
    assert "validation split 0.1: 2 images; training takes 21 of 23" in said
    assert "step 10: m 30.00 on the validation split, the best so far" in said
    assert "step 20: m has no value on the validation split; the best is 30.00 at step 10" in said


@pytest.mark.parametrize("keep", [2, 7])
def test_the_newest_are_as_many_as_asked_for(validated, tmp_path, keep):
    train(validated, tmp_path, keep_checkpoints=keep, checkpoint_every_steps=100)
    newest = [5, 10, 15, 20, 25, 30][-keep:]
    assert checkpoints.steps(tmp_path) == sorted({10, *newest})


def test_stops_early_and_stays_stopped(validated, tmp_path, capsys):
    assert train(validated, tmp_path, eval__patience=2) == loop.TrainResult(20, True)
    assert validated.evaluated == [5, 10, 15, 20]
    assert checkpoints.steps(tmp_path) == [10, 20]
    line = "stopped early, after step 20 of 30: 2 evaluations without a better m than that of step"
    assert line in capsys.readouterr().out
    assert train(validated, tmp_path, eval__patience=2) == loop.TrainResult(20, True)
    assert line in capsys.readouterr().out and validated.evaluated[4:] == []
    assert train(validated, tmp_path, eval__patience=5) == loop.TrainResult(30, True)
    assert validated.evaluated == [5, 10, 15, 20, 25, 30] and best.step_of(tmp_path) == 10


class Killed(BaseException):
    """SIGKILL, as far as the loop can tell."""


def record_of(workdir):
    entries = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    log = [{k: v for k, v in e.items() if k != "images_per_second"} for e in entries]
    weight, step = checkpoints.load_variables(workdir)
    return (
        best.read(workdir), checkpoints.steps(workdir), log, float(weight["params"]["w"]), step,
        float(checkpoints.load_variables(workdir, "best")[0]["params"]["w"]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("moment", "patience"),
    [
        ("in the evaluation", 0),
        ("before best.json", 3),
        ("after best.json", 0),
        ("after best.json", 3),
        ("after the log", 3),
        ("next", 3),
    ],
)
def test_killed_at_every_evaluation_it_ends_with_the_same_choice(
    validated, tmp_path, monkeypatch, moment, patience
):
    """One kill an evaluation, always at the same moment of it; also at the best and at the last."""
    expected_end = train(validated, tmp_path / "whole", eval__patience=patience)
    done = set()

    def kill_once(step, now):
        if now == moment and step not in done:
            done.add(step)
            raise Killed

    real_evaluate, real_write, real_log = validated.evaluate, best.write, loop.RunLog.write

    def evaluate(config, workdir, step):
        kill_once(step, "in the evaluation")
        return real_evaluate(config, workdir, step)

    def write(workdir, record):
        step = record["evaluations"][-1][0]
        kill_once(step, "before best.json")
        real_write(workdir, record)
        kill_once(step, "after best.json")

    def log(self, step, metrics, *, prefix=""):
        real_log(self, step, metrics, prefix=prefix)
        if prefix:
            kill_once(step, "after the log")

    validated.evaluate = evaluate
    monkeypatch.setattr(best, "write", write)
    monkeypatch.setattr(loop.RunLog, "write", log)
    validated.at_step = lambda step: step % 5 == 1 and kill_once(step, "next")
    for _ in range(20):
        try:
            ended = train(validated, tmp_path / "parts", eval__patience=patience)
            break
        except Killed:
            continue
    assert len(done) >= 5
    assert ended == expected_end == loop.TrainResult(25 if patience else 30, True)
    assert record_of(tmp_path / "parts") == record_of(tmp_path / "whole")


def test_a_kill_while_the_old_best_is_dropped(validated, tmp_path, monkeypatch):
    """The best is never the one that is dropped, and the other is not half there."""
    whole = train(validated, tmp_path / "whole")
    dropped = []

    def killed(place, **_):
        dropped.append(place.name)
        raise Killed

    for _ in range(30):
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.shutil, "rmtree", killed)
            try:
                ended = train(validated, tmp_path / "parts")
                break
            except Killed:
                pass
        validated.evaluated.clear()
        if best.read(tmp_path / "parts"):
            step = best.step_of(tmp_path / "parts")
            assert step is None or step in checkpoints.steps(tmp_path / "parts")
        if len(dropped) > 8:
            ended = train(validated, tmp_path / "parts")
            break
    assert ended == whole
    assert record_of(tmp_path / "parts") == record_of(tmp_path / "whole")


def test_the_last_evaluation_is_made_up_for(validated, tmp_path):
    """A run that was killed after its last checkpoint has only that evaluation left."""
    real = validated.evaluate

    def evaluate(config, workdir, step):
        if step == 30:
            raise Killed
        return real(config, workdir, step)

    validated.evaluate = evaluate
    with pytest.raises(Killed):
        train(validated, tmp_path)
    validated.evaluate = real
    validated.batches.clear()
    assert train(validated, tmp_path) == loop.TrainResult(30, True)
    assert validated.evaluated[-1] == 30 and validated.batches == []
    assert [step for step, _ in best.read(tmp_path)["evaluations"]] == [5, 10, 15, 20, 25, 30]


def test_nothing_is_chosen_without_a_value(validated, tmp_path):
    validated.evaluate = lambda *_: Evaluated({"m": NAN})
    train(validated, tmp_path, num_epochs=1)
    assert best.step_of(tmp_path) is None
    with pytest.raises(UserError, match="has no best checkpoint"):
        checkpoints.load_variables(tmp_path, "best")


def test_without_a_choice_nothing_is_kept_or_written(validated, tmp_path, capsys):
    train(validated, tmp_path, eval__best="", num_epochs=2)
    assert checkpoints.steps(tmp_path) == [10] and not (tmp_path / best.FILE).exists()
    assert validated.evaluated == [5, 10]
    assert "no checkpoint is chosen by it; --config.eval.best=map" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "config", "message"),
    [
        ({"val_split": ""}, {}, "there is none: set config.data.val_split"),
        ({}, {"eval_every_epochs": 0}, "config.eval_every_epochs=0 evaluates none"),
        ({}, {"eval__best": "", "eval__patience": 2}, "config.eval.best does not say by what"),
        ({}, {"eval__patience": -1}, "config.eval.patience is -1"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(validated, tmp_path, dataset, config, message):
    vars(validated.dataset).update(dataset)
    with pytest.raises(UserError, match=message):
        train(validated, tmp_path, **config)
    assert not list(tmp_path.iterdir())


def test_the_test_split_is_chosen_on_by_choice_alone(validated, tmp_path, capsys):
    validated.dataset.num_val_evaluated = 2
    train(validated, tmp_path, num_epochs=1)
    assert "2 of the 2 validation images are of the evaluation split 'test'" in (
        capsys.readouterr().out
    )


def test_a_run_does_not_validate_on_what_it_has_trained_on(validated, tmp_path, capsys):
    train(validated, tmp_path, num_epochs=1)
    for change in ({"data__val_split": "0.2"}, {"data__val_seed": 1}):
        with pytest.raises(UserError, match=r"was begun with config\.data\.val_"):
            train(validated, tmp_path, **change)
    validated.dataset.num_held_out = 0  # files of its own, which training never saw
    validated.dataset.val_fingerprint = "other"
    train(validated, tmp_path, num_epochs=2, data__val_split="val")
    assert "was chosen on other validation images and no longer counts" in capsys.readouterr().out
    assert best.read(tmp_path)["evaluations"] == [[5, 10.0], [10, 30.0]]  # both on the new images


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"step": 5}', '{"metric": "m", "split": "s", "data": "d", "images": 1, '
     '"step": 5, "value": 1, "evaluations": [[1, 1]]}'],
)  # fmt: skip
def test_a_damaged_choice_is_named(validated, tmp_path, content):
    train(validated, tmp_path, num_epochs=1)
    (tmp_path / best.FILE).write_text(content)
    with pytest.raises(UserError, match=r"best\.json"):
        checkpoints.existing(tmp_path, "best")
    with pytest.raises(UserError, match=r"best\.json"):
        train(validated, tmp_path)


@pytest.mark.parametrize("step", ["newest", "7", 7.0, True])
def test_a_step_that_is_none(validated, tmp_path, step):
    train(validated, tmp_path, num_epochs=1)
    with pytest.raises(UserError, match="give a number or 'best'"):
        checkpoints.existing(tmp_path, step)
    (tmp_path / "checkpoints" / "5").rename(tmp_path / "checkpoints" / "6")
    with pytest.raises(UserError, match=r"the best checkpoint of .*, of step 5, is gone; it has 6"):
        checkpoints.existing(tmp_path, "best")
