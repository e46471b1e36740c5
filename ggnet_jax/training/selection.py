"""Choosing a checkpoint: the best so far on the validation split, and when to stop for it.

Both follow from the evaluations so far alone, which `best.json` keeps, so that a run that was
killed anywhere ends with the same choice.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from ggnet_jax.dataset import Dataset
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.training.agreement import of_first
from ggnet_jax.training.log import has_evaluation


@dataclasses.dataclass
class Selection:
    """The evaluations of a run and what follows from them.

    Attributes:
        metric: its name among those of an evaluation; more is better.
        split: the validation split.
        images: how many it has.
        data: a fingerprint of them.
        patience: evaluations without a better one after which training stops; 0 for never.
        evaluations: step -> value, None where it has none; in the order of the steps.
    """

    metric: str
    split: str
    images: int
    data: str
    patience: int
    evaluations: dict[int, float | None] = dataclasses.field(default_factory=dict)

    def add(self, step: int, value: float | None) -> None:
        """Take in the value of an evaluation; one that is not finite is none."""
        if value is not None and not math.isfinite(value):
            value = None
        self.evaluations[step] = value
        self.evaluations = dict(sorted(self.evaluations.items()))

    @property
    def best(self) -> int | None:
        """The step of the best value, the first of equal ones; None if there is none."""
        values = {step: value for step, value in self.evaluations.items() if value is not None}
        return max(values, key=lambda step: (values[step], -step)) if values else None

    @property
    def waited(self) -> int:
        """How many evaluations came after the best; all of them if none has a value."""
        best_step = self.best
        return sum(best_step is None or step > best_step for step in self.evaluations)

    @property
    def stops(self) -> bool:
        """Whether there was no better one for as long as `patience` allows."""
        return 0 < self.patience <= self.waited

    def to_record(self) -> dict[str, Any]:
        """What best.json holds."""
        step = self.best
        return {
            "metric": self.metric,
            "split": self.split,
            "images": self.images,
            "data": self.data,
            "step": step,
            "value": None if step is None else self.evaluations[step],
            "evaluations": [list(row) for row in self.evaluations.items()],
        }

    def go_on(self, record: dict[str, Any] | None, start: int) -> str:
        """Take up the evaluations up to a step of a run that goes on.

        Args:
            record: its best.json; None for none.
            start: the step of the checkpoint to go on from; later ones will be made again.

        Returns:
            What to say if they were of something else and no longer count, else ''.
        """
        if record is None:
            return ""
        ours = self.to_record()
        changed = [n for n in ("metric", "split", "data") if record[n] != ours[n]]
        if changed:
            what = {"metric": "by another metric", "split": "on another validation split"}
            why = what.get(changed[0], "on other validation images")
            return f"the best checkpoint so far was chosen {why} and no longer counts"
        for step, value in record["evaluations"]:
            if step <= start:
                self.add(step, value)
        return ""

    def describe(self, step: int) -> str:
        """One line on the evaluation of a step."""
        value, best_step = self.evaluations[step], self.best
        said = f"step {step}: {self.metric} {_number(value)} on the validation split"
        if best_step == step:
            return f"{said}, the best so far"
        if best_step is None:
            return f"{said}; nothing to choose by yet"
        text = f"{said}; the best is {_number(self.evaluations[best_step])} at step {best_step}"
        if self.patience:
            text += f", {self.waited} of {self.patience} evaluations without a better one"
        return text

    def describe_end(self, step: int, total: int) -> str:
        """One line where the patience has come to an end after a step."""
        than = f"without a better {self.metric} than that of step {self.best}"
        if self.best is None:
            than = f"in none of which {self.metric} has a value"
        return (
            f"stopped early, after step {step} of {total}: {self.waited} evaluations {than}; "
            "a larger --config.eval.patience goes on"
        )


class Schedule:
    """The steps whose checkpoints are evaluated."""

    def __init__(self, config: Any, dataset: Dataset, steps_per_epoch: int, total: int):
        validates = bool(getattr(dataset, "val_split", ""))
        self._possible = validates or bool(getattr(dataset, "eval_split", "test"))
        self._every = config.eval_every_epochs * steps_per_epoch
        self._last = total if validates else None
        self._total = total

    def at(self, step: int) -> bool:
        """Whether a step is due; the last is only on a validation split, as all is over then."""
        if step == self._total:
            return step == self._last
        return self._possible and self._every > 0 and step % self._every == 0


def begin(
    config: Any, metric: str, dataset: Dataset, workdir: Path, start: int
) -> tuple[Selection | None, list[str]]:
    """What was compared up to a step; all processes call it.

    Args:
        config: resolved.
        metric: that `config.eval.best` stands for.
        dataset: whose validation split it is compared on.
        workdir: of the run.
        start: the step to go on from.

    Returns:
        The evaluations so far, None where nothing is chosen; lines on what no longer counts.
    """
    if not config.eval.best:
        return None, []
    selection = Selection(
        metric=metric,
        split=dataset.val_split,
        images=dataset.num_val,
        data=dataset.val_fingerprint,
        patience=config.eval.patience,
    )
    lost = selection.go_on(of_first(best.read(workdir)), start)
    if lost and dataset.num_held_out:
        lost += "; this run may have trained on some of the images that it is validated on now"
    return selection, [lost] if lost else []


def is_evaluated(workdir: Path, step: int, selection: Selection | None) -> bool:
    """Whether all that is to be known of a step's evaluation is known; all processes call it."""
    known = selection is None or step in selection.evaluations
    return of_first(known and has_evaluation(workdir / run_folder.LOG, step))


def _number(value: float | None) -> str:
    return "has no value" if value is None else f"{value:.2f}"


def check(config: Any, dataset: Dataset) -> list[str]:
    """Raise a UserError where `config.eval.best` has nothing to choose by; lines to print."""
    best_by, split = config.eval.best, getattr(dataset, "val_split", "")
    if config.eval.patience and not best_by:
        raise UserError(
            f"config.eval.patience={config.eval.patience} stops where nothing better comes, and "
            'config.eval.best does not say by what; set it, "map" for example'
        )
    if best_by and not split:
        raise UserError(
            f"config.eval.best={best_by!r} chooses a checkpoint on a validation split, and there "
            'is none: set config.data.val_split, to 0.1 or "train[90%:]" for example, or '
            'config.data.val_annotations (val_split="test" would choose on the test split), or '
            "leave config.eval.best empty to choose none"
        )
    if best_by and not config.eval_every_epochs:
        raise UserError(
            f"config.eval.best={best_by!r} chooses among the checkpoints that are evaluated, and "
            "config.eval_every_epochs=0 evaluates none before the end; set it, to 1 for example, "
            "or leave config.eval.best empty to choose none"
        )
    if not split and not getattr(dataset, "eval_split", "test"):
        return ["there is no data to evaluate on: give config.data.eval_annotations, or a part of "
                "the training images, config.data.val_split=0.1"]  # fmt: skip
    if not split:
        return []
    whole = dataset.num_train + dataset.num_held_out
    left = f"training takes {dataset.num_train:,} of {whole:,}"
    lines = [f"validation split {split}: {dataset.num_val:,} images; {left}"]
    if dataset.num_val_evaluated:
        lines.append(
            f"{dataset.num_val_evaluated:,} of the {dataset.num_val:,} validation images are of "
            f"the evaluation split {dataset.eval_split!r}: figures there are then those of images "
            "that a checkpoint was chosen on"
        )
    if not best_by:
        lines.append("no checkpoint is chosen by it; --config.eval.best=map keeps the best")
    return lines


def check_same_split(workdir: str | Path, config: Any, dataset: Dataset) -> None:
    """Raise a UserError where a run that goes on has trained on images of its validation split.

    Args:
        workdir: of a run with a checkpoint.
        config: of the training.
        dataset: whose validation split takes images away from training.
    """
    if not getattr(dataset, "val_split", "") or not dataset.num_held_out:
        return
    before = run_folder.read_config(workdir).get("data", {})
    for name in ("val_split", "val_seed", "val_annotations"):
        old, new = before.get(name, 0 if name == "val_seed" else ""), config.data[name]
        if old != new:
            raise UserError(
                f"the run in {workdir} was begun with config.data.{name}={old!r}, not {new!r}, and "
                "has trained on images that would be validated on now; use a new --workdir, or "
                "give the field its old value"
            )
