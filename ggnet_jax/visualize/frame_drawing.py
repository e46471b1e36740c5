"""Interactions on a frame of a video: quick to draw, and steady from one frame to the next.

Boxes and labels are drawn in the frame's own pixels. An object class keeps its color, verbs keep
their order, scores have one digit, and a label stands at the corner of a box, so that what does not
move in the video does not move in the drawing.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ggnet_jax.inference.interactions import Box, Interaction
from ggnet_jax.visualize import fonts
from ggnet_jax.visualize.canvas import INK, LEADING, PALETTE, text_color
from ggnet_jax.visualize.drawing import Pair, group_pairs

MOST_PAIRS = 5  # the strongest; more hide what goes on
MOST_VERBS = 3  # on one label


def draw_on_frame(
    image: np.ndarray, interactions: Sequence[Interaction], objects: Sequence[str]
) -> np.ndarray:
    """Draw people (solid boxes), objects (dashed boxes), the line between them, and labels.

    Args:
        image: RGB uint8 [H, W, 3].
        interactions: by descending score, in the image's pixels.
        objects: all names of objects; the place of one's gives its color.

    Returns:
        A copy of the image with the strongest pairs drawn.
    """
    pairs = group_pairs(interactions)[:MOST_PAIRS]
    if not pairs:
        return image
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(image.shape[0] / 180))
    placed: list[Box] = []
    for pair in reversed(pairs):  # the strongest is drawn last, on top
        color = PALETTE[objects.index(pair.best.object) % len(PALETTE)]
        _draw_boxes(draw, pair, color, width)
    for pair in pairs:
        color = PALETTE[objects.index(pair.best.object) % len(PALETTE)]
        placed.append(_draw_label(draw, pair, color, placed, canvas.size))
    return np.asarray(canvas)


def _draw_boxes(draw: ImageDraw.ImageDraw, pair: Pair, color: str, width: int) -> None:
    one = pair.best
    draw.rectangle(one.human_box, outline=INK, width=width + 2)
    draw.rectangle(_grown(one.human_box, -1), outline=color, width=width)
    _dashed(draw, one.object_box, color, width)
    ends = [one.human_point, one.object_point]
    draw.line([*ends[0], *ends[1]], fill=INK, width=width + 2)
    draw.line([*ends[0], *ends[1]], fill=color, width=width)
    (x, y), (u, v) = ends
    r = width + 2
    draw.ellipse((x - r, y - r, x + r, y + r), fill=color, outline=INK)
    draw.rectangle((u - r, v - r, u + r, v + r), fill=color, outline=INK)


def _grown(box: Box, by: float) -> Box:
    """A box with its sides moved outward, or inward as far as it has room."""
    x1, y1, x2, y2 = box
    by = max(by, (x1 - x2) / 2, (y1 - y2) / 2)
    return x1 - by, y1 - by, x2 + by, y2 + by


def _dashed(draw: ImageDraw.ImageDraw, box: Box, color: str, width: int) -> None:
    """A rectangle of dashes on a dark one."""
    x1, y1, x2, y2 = box
    draw.rectangle(box, outline=INK, width=width + 2)
    inset = 1 + width / 2
    x1, y1, x2, y2 = x1 + inset, y1 + inset, x2 - inset, y2 - inset
    for start, end in (
        ((x1, y1), (x2, y1)),
        ((x1, y2), (x2, y2)),
        ((x1, y1), (x1, y2)),
        ((x2, y1), (x2, y2)),
    ):
        length = np.hypot(end[0] - start[0], end[1] - start[1])
        pieces = max(1, round(length / (5 * width)))
        pieces += 1 - pieces % 2  # dashes at both ends
        stops = np.linspace(start, end, pieces + 1)
        for a, b in zip(stops[:-1:2], stops[1::2], strict=True):
            draw.line([*a, *b], fill=color, width=width)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    pair: Pair,
    color: str,
    placed: Sequence[Box],
    bounds: tuple[int, int],
) -> Box:
    """The verbs of a pair at a corner of its boxes, where no other label is; gives its place."""
    size = float(max(12, round(bounds[1] / 30)))
    strongest = sorted(pair.interactions[:MOST_VERBS], key=lambda one: one.verb)
    lines = [f"{one.phrase} {one.score:.1f}" for one in strongest]
    pad = size / 4
    width = max(fonts.length(line, size) for line in lines) + 2 * pad
    height = len(lines) * size * LEADING + pad
    boxes = (pair.best.human_box, pair.best.object_box)
    corners = [(x1, y1 - height) for x1, y1, _, _ in boxes] + [(x1, y2) for x1, _, _, y2 in boxes]
    places = []
    for x, y in corners:
        x = min(max(x, 0.0), max(bounds[0] - 1 - width, 0.0))
        y = min(max(y, 0.0), max(bounds[1] - 1 - height, 0.0))
        places.append((x, y, x + width, y + height))
    free = (place for place in places if not any(_meet(place, other) for other in placed))
    place = next(free, places[0])
    draw.rectangle(place, fill=color, outline=INK)
    for number, line in enumerate(lines):
        at = place[0] + pad, place[1] + pad / 2 + number * size * LEADING
        fonts.write(draw, at, line, fill=text_color(color), size=size)
    return place


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
