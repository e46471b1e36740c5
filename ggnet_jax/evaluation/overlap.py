"""The overlap of two boxes, as each protocol measures it.

Every function takes two arrays of boxes [n, 4], (x1, y1, x2, y2) in picture pixels, and returns [n]
float64: the intersection over union of row i with row i. They differ in whether a box includes
its last pixel ("+1") and in what they do with empty ones, which is enough to move a match.
"""

import numpy as np


def ho_rcnn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; a box or intersection without extent has area 0; union + 1e-6."""
    shared = _area_ho_rcnn(*_intersection(a, b))
    union = _area_ho_rcnn(*a.T) + _area_ho_rcnn(*b.T) - shared
    return shared / (union + 1e-6)


def _area_ho_rcnn(x1, y1, x2, y2) -> np.ndarray:
    width, height = x2 - x1, y2 - y1
    return np.where((width <= 0) | (height <= 0), 0.0, (width + 1) * (height + 1))


def ppdm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; the intersection must have an extent before 1 is added to it."""
    x1, y1, x2, y2 = _intersection(a, b)
    shared = np.where((x2 > x1) & (y2 > y1), (x2 - x1 + 1) * (y2 - y1 + 1), 0.0)
    return _ratio(shared, _area(a, 1) + _area(b, 1) - shared)


def vsrl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inclusive boxes; each side of the intersection is max(0, min - max + 1)."""
    x1, y1, x2, y2 = _intersection(a, b)
    shared = np.maximum(0, x2 - x1 + 1) * np.maximum(0, y2 - y1 + 1)
    return _ratio(shared, _area(a, 1) + _area(b, 1) - shared)


def plain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Real-valued boxes whose x2 and y2 are exclusive."""
    x1, y1, x2, y2 = _intersection(a, b)
    shared = np.maximum(0, x2 - x1) * np.maximum(0, y2 - y1)
    return _ratio(shared, _area(a, 0) + _area(b, 0) - shared)


def _intersection(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (
        np.maximum(a[:, 0], b[:, 0]),
        np.maximum(a[:, 1], b[:, 1]),
        np.minimum(a[:, 2], b[:, 2]),
        np.minimum(a[:, 3], b[:, 3]),
    )


def _area(boxes: np.ndarray, extra: float) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0] + extra) * (boxes[:, 3] - boxes[:, 1] + extra)


def _ratio(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    """shared / union, 0 where the union is empty."""
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
