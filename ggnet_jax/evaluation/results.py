"""What an evaluation found: numbers for every class, their means, and how they are shown."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io
from ggnet_jax.table import align


@dataclasses.dataclass(frozen=True)
class Scores:
    """One setting's numbers (Default, Scenario 1, ...): columns of length C, a class each.

    Attributes:
        labels: C names, "ride bicycle".
        classes: C dictionaries that say which class it is (verb, object, rare, ...).
        ap: [C] average precision as a fraction; NaN where nothing can be said.
        recall: [C] largest recall as a fraction, NaN without ground truth.
        ground_truth, predictions, true_positives: [C] counts.
        groups: name -> [C] bool, the classes that a mean runs over.
        harmonic: name -> the two groups whose means it is the harmonic mean of.
    """

    labels: tuple[str, ...]
    classes: tuple[Mapping[str, Any], ...]
    ap: np.ndarray
    recall: np.ndarray
    ground_truth: np.ndarray
    predictions: np.ndarray
    true_positives: np.ndarray
    groups: Mapping[str, np.ndarray]
    harmonic: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """Mean AP of every group over the classes that have one, NaN if none has; `harmonic`."""
        means: dict[str, float] = {}
        for name, members in self.groups.items():
            means[name] = _mean(self.ap[members])
            for both, (one, other) in self.harmonic.items():
                if other == name:
                    total = means[one] + means[other]
                    means[both] = 2 * means[one] * means[other] / total if total else 0.0
        return means

    @property
    def mean_recalls(self) -> dict[str, float]:
        """Mean largest recall of every group over the classes with ground truth."""
        return {name: _mean(self.recall[members]) for name, members in self.groups.items()}

    @property
    def invalid(self) -> int:
        """How many classes have no AP."""
        return int(np.isnan(self.ap).sum())

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON's types; NaN becomes None."""
        columns = zip(
            self.ap.tolist(),
            self.recall.tolist(),
            self.ground_truth.tolist(),
            self.predictions.tolist(),
            self.true_positives.tolist(),
            strict=True,
        )
        return {
            "means": {name: _or_none(value) for name, value in self.means.items()},
            "mean_recalls": {name: _or_none(value) for name, value in self.mean_recalls.items()},
            "invalid": self.invalid,
            "classes": [
                {
                    **names,
                    "ap": _or_none(ap),
                    "recall": _or_none(recall),
                    "ground_truth": truth,
                    "predictions": predictions,
                    "true_positives": hits,
                }
                for names, (ap, recall, truth, predictions, hits) in zip(
                    self.classes, columns, strict=True
                )
            ],
        }


@dataclasses.dataclass(frozen=True)
class Result:
    """An evaluation's outcome; `result["default"]` is one setting's `Scores`.

    Attributes:
        title: data set and protocol in words.
        settings: name -> scores.
        counts: images, pairs, and what was left out.
        notes: what else the reader has to know about the files.
        about: what was evaluated, of JSON's types; goes into metrics.json.
    """

    title: str
    settings: Mapping[str, Scores]
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __getitem__(self, setting: str) -> Scores:
        return self.settings[setting]

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Setting -> group -> mean AP as a fraction."""
        return {name: scores.means for name, scores in self.settings.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON's types."""
        return {
            "title": self.title,
            **self.about,
            "unit": "fractions; null where a class has no figure",
            "counts": dict(self.counts),
            "notes": list(self.notes),
            "settings": {name: scores.to_dict() for name, scores in self.settings.items()},
        }

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON, one class a line."""
        io.write_json(path, self.to_dict(), depth=4)

    def table(self, class_rows: int = 40) -> str:
        """The means in percent, and every class's AP where there are at most `class_rows`."""
        blocks = [self.title]
        kinds: dict[tuple, dict[str, Scores]] = {}
        for name, scores in self.settings.items():
            kinds.setdefault((scores.labels, *scores.groups), {})[name] = scores
        for settings in kinds.values():
            first = next(iter(settings.values()))
            head = ["mAP, percent", *map(readable, first.means), "without AP"]
            rows = [
                [readable(name), *map(_percent, scores.means.values()), str(scores.invalid)]
                for name, scores in settings.items()
            ]
            blocks.append(align([head, *rows]))
            if len(first.labels) <= class_rows:
                head = ["AP, percent", *map(readable, settings), "ground truth"]
                rows = [
                    [
                        label,
                        *(_percent(scores.ap[i]) for scores in settings.values()),
                        str(first.ground_truth[i]),
                    ]
                    for i, label in enumerate(first.labels)
                ]
                blocks.append(align([head, *rows]))
        blocks.append("\n".join(f"{readable(k)}: {v:,}" for k, v in self.counts.items()))
        if self.notes:
            blocks.append("\n".join(f"note: {note}" for note in self.notes))
        return "\n\n".join(blocks)


def score_classes(
    group: np.ndarray,
    hits: np.ndarray,
    ground_truth: np.ndarray,
    average_precision: Callable[[np.ndarray, int], float],
) -> dict[str, Any]:
    """The columns of `Scores` from ranked predictions.

    Args:
        group: [m] class of every prediction, ascending; inside of a class by descending score.
        hits: [m] bool, whether it is a true positive.
        ground_truth: [C] how many there are to find.
        average_precision: (hits, number of ground truth) -> AP.

    Returns:
        `ap` (0 without predictions, NaN with predictions but without ground truth), `recall`,
        `ground_truth`, `predictions`, `true_positives`.
    """
    num_classes = len(ground_truth)
    start = np.searchsorted(group, np.arange(num_classes + 1))
    found = np.bincount(group[hits], minlength=num_classes)
    ap = np.zeros(num_classes)
    for index in np.flatnonzero(np.diff(start)):
        ours = hits[start[index] : start[index + 1]]
        total = int(ground_truth[index])
        ap[index] = average_precision(ours, total) if total else np.nan
    recall = np.full(num_classes, np.nan)
    np.divide(found, ground_truth, out=recall, where=ground_truth > 0)
    return {
        "ap": ap,
        "recall": recall,
        "ground_truth": ground_truth,
        "predictions": np.diff(start),
        "true_positives": found,
    }


def _mean(values: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmean of nothing is NaN: as wanted
        return float(np.nanmean(values)) if values.size else float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def readable(name: str) -> str:
    """A key as a reader likes it: "non_rare" -> "non-rare", "roles_24" -> "24 roles"."""
    what, _, number = name.rpartition("_")
    if what and number.isdigit() and not what.startswith("scenario"):
        return f"{number} {what}"
    return name.replace("non_rare", "non-rare").replace("_", " ")
