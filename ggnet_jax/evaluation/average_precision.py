"""Average precision of ranked predictions, by the two rules this field uses."""

import numpy as np

# Their rounding is part of the protocol: 0.1 * 3 is a little above 0.3, so that a recall of 3/10
# does not reach the fourth point (nor 6/10 and 7/10 theirs).
_THRESHOLDS = np.arange(0.0, 1.1, 0.1)


def eleven_point(hits: np.ndarray, num_ground_truth: int) -> float:
    """PASCAL VOC 2007: the mean over 11 recalls of the best precision at that recall or more.

    Args:
        hits: [m] bool, whether each prediction is a true positive, by descending score.
        num_ground_truth: positives of the class, at least 1.
    """
    recall, precision = _curve(hits, num_ground_truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(recall, _THRESHOLDS, side="left")
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
