"""Whether boxes are corners in image pixels, as they have to be."""

import numpy as np

LARGEST = 2.0**30
"""Larger coordinates, of either sign, are no pixels; areas of smaller ones are exact enough."""


def clean_boxes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ground-truth boxes as the overlaps take them, and which of them nobody can find.

    Args:
        boxes: [n, 4] float64, as the file has them.

    Returns:
        boxes: [n, 4], with four zeros for a box that has a coordinate beyond reason (NaN, an
            infinite or a huge one).
        flat: [n] bool, whether a box has no area: such a one, or one whose corners are swapped.
    """
    usual = np.all(abs(boxes) <= LARGEST, axis=1, keepdims=True)
    boxes = np.where(usual, boxes, 0.0)
    return boxes, np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)


def box_problem(boxes: np.ndarray, flat: np.ndarray) -> str:
    """What is wrong with most boxes of a file, with the likeliest cause; "" if nothing is.

    Args:
        boxes: [n, 4] float64.
        flat: [n] bool, whether a box has no area.
    """
    number = len(boxes)
    if 2 * flat.sum() > number:
        return (
            f"only {number - flat.sum():,} of {number:,} boxes have an area{as_sizes(boxes)}: "
            "corners (x1, y1, x2, y2) are expected"
        )
    if not flat.all() and boxes.min() >= 0 and boxes.max() <= 1:
        return (
            f"the coordinates of all {number:,} boxes lie within 0..1, as if they were divided "
            "by the image's size: multiply them by its width and height"
        )
    return ""


def as_sizes(boxes: np.ndarray) -> str:
    """A guess for a message about bad corners: whether all boxes make sense with a size."""
    fits = len(boxes) > 0 and (boxes[:, 2:] >= 0).all()
    return " (as x, y, width, height all would fit)" if fits else ""
