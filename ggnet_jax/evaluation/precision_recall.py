"""Precision over recall of all predictions together, at thresholds of the score."""

from typing import NamedTuple

import numpy as np

from ggnet_jax.evaluation.diagnosis import Matched


class Curve(NamedTuple):
    """Counts at T thresholds of the score, evenly spaced from 0 to 1.

    Attributes:
        true_positives: [T] predictions that score at least so much and are right.
        false_positives: [T] those that are wrong.
        ground_truth: pairs to find.
    """

    true_positives: np.ndarray
    false_positives: np.ndarray
    ground_truth: int

    @property
    def precision(self) -> np.ndarray:
        """[T] part of the predictions that is right, 0 where there is none."""
        return self.true_positives / np.maximum(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> np.ndarray:
        """[T] part of the pairs that is found, 0 where there is none."""
        return self.true_positives / max(self.ground_truth, 1)


def pooled(matched: Matched, thresholds: int = 201) -> dict[str, Curve]:
    """The curve of every group of classes, their predictions pooled.

    Classes without ground truth count, as a prediction of theirs is wrong. (mAP leaves them out,
    and weighs classes alike; here every prediction does.)

    Args:
        matched: predictions that a rule has matched.
        thresholds: T.
    """
    curves = {}
    for name, members in matched.scores.groups.items():
        rows = members[matched.group]
        scores, hits = matched.found.score[matched.rows[rows]], matched.taken[rows] >= 0
        counted = matched.true_class >= 0
        total = int(members[matched.true_class[counted]].sum())
        curves[name] = Curve(
            _at_least(scores[hits], thresholds), _at_least(scores[~hits], thresholds), total
        )
    return curves


def _at_least(scores: np.ndarray, thresholds: int) -> np.ndarray:
    """[T] how many scores reach each threshold."""
    ranked = np.sort(scores)
    return len(ranked) - np.searchsorted(ranked, np.linspace(0.0, 1.0, thresholds))
