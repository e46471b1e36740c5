"""Average precision of ranked predictions, by the two rules this field uses."""

import numpy as np

# The 11 recalls from 0 to 1. Their rounding is part of a rule: where 0.1 * 3 is a little above 0.3,
# a recall of 3/10 does not reach the fourth point.
MULTIPLES = np.arange(0.0, 1.1, 0.1)
"""0.1 * i, as NumPy's `arange` has them: the points of 3/10, 6/10 and 7/10 are a little above."""
FROM_ENDS = np.array([0.1 * i for i in range(6)] + [1 - 0.1 * i for i in range(4, -1, -1)])
"""Counted from the nearer end, as PyTorch's `linspace` does: only the point of 3/10 is above."""
TENTHS = np.arange(11) / 10
"""i / 10, as near as can be."""


def eleven_point(hits: np.ndarray, num_ground_truth: int, recalls: np.ndarray = MULTIPLES) -> float:
    """PASCAL VOC 2007: the mean over 11 recalls of the best precision at that recall or more.

    Args:
        hits: [m] bool, whether each prediction is a true positive, by descending score.
        num_ground_truth: positives of the class, at least 1.
        recalls: the 11 points, one of the constants above.
    """
    recall, precision = _curve(hits, num_ground_truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(recall, recalls, side="left")
    return float(best[first[first < len(best)]].sum() / 11.0)


def area_under_curve(hits: np.ndarray, num_ground_truth: int) -> float:
    """PASCAL VOC 2010: the area under the envelope of precision over recall.

    The envelope is the best precision at a recall or more, and so never goes up.

    Args:
        hits: [m] bool, whether each prediction is a true positive, by descending score.
        num_ground_truth: positives of the class, at least 1.
    """
    recall, precision = _curve(hits, num_ground_truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


def _curve(hits: np.ndarray, num_ground_truth: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision [m] after each prediction."""
    true_positives = np.cumsum(hits, dtype=np.float64)
    return true_positives / num_ground_truth, true_positives / np.arange(1, len(hits) + 1)
