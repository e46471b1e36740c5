"""Where labels go: near what they name, clear of each other and of faces."""

import numpy as np
from numpy.typing import ArrayLike

RINGS = 14  # distances tried around an anchor
ANGLES = 16  # directions tried at each


def place_labels(
    anchors: ArrayLike,
    sizes: ArrayLike,
    *,
    bounds: tuple[int, int],
    avoid: np.ndarray | None = None,
    avoid_weight: np.ndarray | None = None,
) -> list[tuple[float, float]]:
    """Choose upper left corners for labels, first come, first served.

    Every label tries places on rings around its anchor and takes the cheapest: covering another
    label costs most, covering something to avoid costs by weight, distance costs a little.

    Args:
        anchors: [n, 2] (x, y) that each label should be near, final pixels.
        sizes: [n, 2] (width, height) of each label.
        bounds: (width, height) of the drawing; labels stay inside if they fit at all.
        avoid: boxes [n, 4] that labels should leave free, such as faces.
        avoid_weight: [n] cost of covering each box with a whole label; ones if left out.

    Returns:
        (x, y) of each label's upper left corner.
    """
    avoid = np.zeros((0, 4)) if avoid is None else np.asarray(avoid, np.float64).reshape(-1, 4)
    weight = np.ones(len(avoid)) if avoid_weight is None else np.asarray(avoid_weight, np.float64)
    diagonal = float(np.hypot(*bounds))
    placed = np.zeros((0, 4))
    corners = []
    anchors, sizes = np.asarray(anchors, np.float64), np.asarray(sizes, np.float64)
    for anchor, size in zip(anchors, sizes, strict=True):
        middle = anchor + _rings(size)
        limit = np.maximum(np.asarray(bounds, np.float64) - size - 2.0, 2.0)
        first = np.clip(middle - size / 2, 2.0, limit)
        boxes = np.concatenate([first, first + size], axis=1)
        area = float(np.prod(size))
        margin = np.array([-3.0, -3.0, 3.0, 3.0])
        cost = 50.0 * _overlap(boxes + margin, placed).sum(1) / area
        cost += (_overlap(boxes, avoid) * weight).sum(1) / area
        cost += 6.0 * np.hypot(*(first + size / 2 - anchor).T) / diagonal
        best = int(np.argmin(cost))
        placed = np.concatenate([placed, boxes[best : best + 1]])
        corners.append((float(first[best, 0]), float(first[best, 1])))
    return corners


def _rings(size: np.ndarray) -> np.ndarray:
    """Offsets [n, 2] from an anchor, nearest first, wider than high as labels are."""
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    circle = np.stack([np.cos(angles) * (size[0] / 2 + 8), np.sin(angles) * (size[1] / 2 + 8)], -1)
    grow = np.stack([np.cos(angles), np.sin(angles)], -1) * size[1]
    return np.concatenate([circle + grow * ring * 0.8 for ring in range(RINGS)])


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that boxes [n, 4] share with others [m, 4] -> [n, m]."""
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.prod(np.maximum(last - first, 0.0), axis=-1)
