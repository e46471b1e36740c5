"""Whether boxes are corners in pixels, and what else they can be if they are not."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_pipelines.raw_columns import ACCEPT, FEW, RESCUES, Columns
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies.numbering import FITS

_MARGIN = 2.0  # pixels that a box may reach beyond its image

# Each turns [n, 4] numbers and [n, 2] image sizes into corners.
_FORMATS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "x, y, width, height": lambda b, _: np.c_[b[:, :2], b[:, :2] + b[:, 2:]],
    "center x, center y, width, height": lambda b, _: np.c_[
        b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    ],
    "y1, x1, y2, x2": lambda b, _: b[:, [1, 0, 3, 2]],
    "y, x, height, width": lambda b, _: np.c_[b[:, [1, 0]], b[:, [1, 0]] + b[:, [3, 2]]],
    "x1, x2, y1, y2": lambda b, _: b[:, [0, 2, 1, 3]],
    "y1, y2, x1, x2": lambda b, _: b[:, [2, 0, 3, 1]],
    "x2, y2, x1, y1": lambda b, _: b[:, [2, 3, 0, 1]],
    "x1, y1, x1 + x2, y1 + y2 (converted twice)": lambda b, _: np.c_[b[:, :2], b[:, 2:] - b[:, :2]],
}
# What fits with its axes exchanged fits as well in an image turned by a quarter.
_EXCHANGED = ("y1, x1, y2, x2", "y, x, height, width")
# The same, for numbers that reach to about 1000 along both axes where nothing above fits.
_THOUSANDTHS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "x1, y1, x2, y2 in thousandths of the image's size": lambda b, s: b * np.c_[s, s] / 1000,
    "y1, x1, y2, x2 in thousandths of the image's size": lambda b, s: (
        b[:, [1, 0, 3, 2]] * np.c_[s, s] / 1000
    ),
}


def check_units(columns: Columns, where: str) -> None:
    """Raise a UserError where coordinates are within 0..1, or certainly percent."""
    boxes = columns.boxes[np.isfinite(columns.boxes).all(axis=1) & columns.boxes.any(axis=1)]
    unit = (abs(boxes) <= 1.05).all(axis=1)
    if 2 * unit.sum() > len(boxes):
        raise UserError(
            f"{where}: the coordinates of {unit.sum()} of {len(boxes)} boxes are all within 0..1, "
            "as if they were divided by the image's size; bbox is x1, y1, x2, y2 in pixels"
        )
    known = np.isfinite(columns.boxes).all(axis=1) & np.isfinite(columns.size).all(axis=1)
    boxes, size = columns.boxes[known], columns.size[known]
    large = len(boxes) >= 10 and (size >= 200).all(axis=1).mean() > FITS
    if large and 50 < boxes.max() <= 100.5 and boxes.min() >= 0:
        raise UserError(
            f"{where}: the coordinates of all {len(boxes)} boxes are within 0..100 in images of "
            f"{np.median(size):.0f} pixels a side, as if they were percent; bbox is x1, y1, x2, y2 "
            "in pixels"
        )


def check_boxes(columns: Columns, where: str, accept_losses: bool) -> None:
    """Raise a UserError where most boxes are lost, or many don't fit that would in another format.

    Losses that leave some boxes are let through with `accept_losses`.
    """
    number = len(columns.boxes)
    if not number:
        return
    boxes, size = columns.boxes, columns.size
    fits = _fits(boxes, size)
    with np.errstate(invalid="ignore"):
        flat = ~((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        outside = ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= size)).any(axis=1) & ~flat
    lost = int((flat | outside).sum())
    misfits = number - int(fits.sum())
    doubtful = misfits >= FEW and misfits > (1 - FITS) * number
    if 2 * lost <= number and not doubtful:
        return
    found = _try_formats(_FORMATS, boxes, size)
    reach = np.nanmax(boxes, axis=0, initial=0)[2:]
    if max(found.values()) < RESCUES * number and 800 < reach.min() and reach.max() <= 1001:
        found = _try_formats(_THOUSANDTHS, boxes, size)
    rescued = max(found.values())
    malformed = np.isnan(boxes).any(axis=1)
    told = []
    if malformed.any():
        told.append(f"{malformed.sum()} are not four finite numbers but like {columns.malformed}")
    if (flat & ~malformed).any():
        told.append(f"{(flat & ~malformed).sum()} have no area")
    if misfits > flat.sum():
        beyond = misfits - flat.sum()
        told.append(f"{beyond} reach beyond their image (was it resized or rotated since?)")
    message = f"{where}: of {number} boxes {' and '.join(told)}"
    if rescued >= RESCUES * number:
        causes = [name for name, count in found.items() if count == rescued]
        every = "all" if rescued == number else f"{rescued}"
        message += f"; as {_either(causes)} {every} would fit, but bbox is x1, y1, x2, y2 in pixels"
        if causes[0] in _THOUSANDTHS:
            message += " (or were the images made smaller since?)"
        if causes[0] in _EXCHANGED:
            message += " (or are the annotated width and height of the images exchanged?)"
    elif 2 * max(lost, misfits) <= number:
        return
    elif 2 * lost <= number:
        message += (
            f"; {lost} would be left out and the others cut to the image. bbox is x1, y1, x2, y2 "
            "in pixels of the image"
        )
    else:
        message += f"; {lost} would be left out. bbox is x1, y1, x2, y2 in pixels of the image"
    if lost < number:
        if accept_losses:
            return
        message += f"; {ACCEPT}"
    raise UserError(message)


def _try_formats(
    formats: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
    boxes: np.ndarray,
    size: np.ndarray,
) -> dict[str, int]:
    """How many boxes fit in each format."""
    return {name: int(_fits(as_in(boxes, size), size).sum()) for name, as_in in formats.items()}


def _either(causes: list[str]) -> str:
    """The likeliest of several, and those others that have x before y."""
    others = [name for name in causes[1:] if name.startswith(("x", "center"))]
    return f"{causes[0]} (or {' or '.join(others)})" if others else causes[0]


def _fits(corners: np.ndarray, size: np.ndarray) -> Any:
    """[n] bool: whether boxes have an area and lie in their image, as far as its size is known."""
    with np.errstate(invalid="ignore"):
        beyond = (corners[:, 2:] > size + _MARGIN) | (corners[:, :2] < -_MARGIN)
        return np.all((corners[:, 2:] > corners[:, :2]) & ~beyond, axis=1)
