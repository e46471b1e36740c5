"""Average precision of ranked predictions, in the two forms this field uses."""

import numpy as np

# The rounding is part of the protocol: 0.1 * 3 is a little above 0.3, so that a recall of 3 out of
# 10 doesn't reach the fourth point (0.6 and 0.7 alike).
_THRESHOLDS = np.arange(0.0, 1.1, 0.1)


def eleven_point(hits: np.ndarray, num_ground_truth: int) -> float:
    """PASCAL VOC 2007's: the mean over 11 recalls of the best precision at that recall or more.

    Args:
        hits: [m] bool, whether each prediction is right, by falling score.
        num_ground_truth: what there is to find, at least 1.
    """
    recall, precision = _curve(hits, num_ground_truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(recall, _THRESHOLDS, side="left")
    return float(best[first[first < len(best)]].sum() / 11.0)


def area_under_curve(hits: np.ndarray, num_ground_truth: int) -> float:
    """PASCAL VOC 2010's: the area under the falling envelope of precision over recall.

    Args:
        hits: [m] bool, whether each prediction is right, by falling score.
        num_ground_truth: what there is to find, at least 1.
    """
    recall, precision = _curve(hits, num_ground_truth)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * best))


def _curve(hits: np.ndarray, num_ground_truth: int) -> tuple[np.ndarray, np.ndarray]:
    true_positives = np.cumsum(hits, dtype=np.float64)
    return true_positives / num_ground_truth, true_positives / np.arange(1, len(hits) + 1)
