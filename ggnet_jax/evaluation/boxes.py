"""Whether boxes are corners in image pixels, as they have to be."""

import numpy as np

from ggnet_jax.errors import UserError

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

    Raises:
        UserError: no box has an area, or all are as small as if they were divided by the image's
            size.
    """
    strange = ~(abs(boxes) <= LARGEST).all(axis=1)
    boxes = np.where(strange[:, None], 0.0, boxes)
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if len(boxes) and flat.all():
        raise UserError(
            f"the ground truth has {len(boxes)} boxes, and none of them has an area"
            f"{as_sizes(boxes, flat)}: corners (x1, y1, x2, y2) are expected"
        )
    forbid_unit_boxes("ground truth", boxes)
    return boxes, flat


def as_sizes(boxes: np.ndarray, bad: np.ndarray) -> str:
    """A guess for a message about bad corners: whether all boxes make sense with a size."""
    sized = len(boxes) > 0 and bad.any() and (boxes[:, 2:] >= 0).all()
    return " (as x, y, width, height all boxes would fit)" if sized else ""


def forbid_unit_boxes(what: str, boxes: np.ndarray) -> None:
    """Raise a UserError if all boxes lie within 0..1."""
    area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if area.any() and boxes.min() >= 0 and boxes.max() <= 1:
        raise UserError(
            f"{what}: the coordinates of all {len(boxes)} boxes lie within 0..1, as if they were "
            "divided by the image's size; multiply them by its width and height"
        )
