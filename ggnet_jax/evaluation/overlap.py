"""The overlap of two boxes (IoU) as each protocol measures it.

Every function takes two arrays of boxes [n, 4], (x1, y1, x2, y2) in image pixels, and returns [n]
float64: the intersection over union of row i with row i. They differ in whether a box includes
its last pixel ("+1") and in what they do with empty ones, which is enough to change a match.
"""

import numpy as np


def at_least_half(overlaps: np.ndarray) -> np.ndarray:
    """Which overlaps match: 0.5 or more."""
    return overlaps >= 0.5


def more_than_half(overlaps: np.ndarray) -> np.ndarray:
    """Which overlaps match: more than 0.5."""
    return overlaps > 0.5


def no_frills(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; a box or intersection without extent has area 0; union + 1e-6."""
    intersection = _area_no_frills(*_intersection(a, b))
    union = _area_no_frills(*a.T) + _area_no_frills(*b.T) - intersection
    return intersection / (union + 1e-6)


def _area_no_frills(x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> np.ndarray:
    width, height = x2 - x1, y2 - y1
    return np.where((width <= 0) | (height <= 0), 0.0, (width + 1) * (height + 1))


def ppdm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; the intersection must have an extent before 1 is added to it."""
    x1, y1, x2, y2 = _intersection(a, b)
    intersection = np.where((x2 > x1) & (y2 > y1), (x2 - x1 + 1) * (y2 - y1 + 1), 0.0)
    return _ratio(intersection, _area(a, 1) + _area(b, 1) - intersection)


def vsrl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; each side of the intersection is max(0, min - max + 1)."""
    x1, y1, x2, y2 = _intersection(a, b)
    intersection = np.maximum(0, x2 - x1 + 1) * np.maximum(0, y2 - y1 + 1)
    return _ratio(intersection, _area(a, 1) + _area(b, 1) - intersection)


def plain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Real-valued boxes whose x2 and y2 are exclusive."""
    x1, y1, x2, y2 = _intersection(a, b)
    intersection = np.maximum(0, x2 - x1) * np.maximum(0, y2 - y1)
    return _ratio(intersection, _area(a, 0) + _area(b, 0) - intersection)


def _intersection(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    """x1, y1, x2, y2 of the boxes' intersections, each [n]; x2 < x1 or y2 < y1 where none."""
    return (
        np.maximum(a[:, 0], b[:, 0]),
        np.maximum(a[:, 1], b[:, 1]),
        np.minimum(a[:, 2], b[:, 2]),
        np.minimum(a[:, 3], b[:, 3]),
    )


def _area(boxes: np.ndarray, extra: float) -> np.ndarray:
    """Areas with `extra` added to both sides."""
    return (boxes[:, 2] - boxes[:, 0] + extra) * (boxes[:, 3] - boxes[:, 1] + extra)


def _ratio(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """intersection / union, 0 where the union is empty."""
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
