"""A mistake over its image: what was predicted, and beside it what is annotated."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from ggnet_jax.visualize.canvas import INK, PALETTE, PAPER, Canvas, fit, tag_size, to_pillow
from ggnet_jax.visualize.labels import place_labels

PANEL = (560, 480)  # final pixels of one side
TEXT = 17.0
GAP = 10


class Pair(Protocol):
    """Boxes (x1, y1, x2, y2) in image pixels and a text."""

    @property
    def human(self) -> Sequence[float]: ...
    @property
    def object(self) -> Sequence[float]: ...
    @property
    def label(self) -> str: ...


def draw_mistake(
    image: Image.Image | np.ndarray,
    predicted: Sequence[Pair],
    annotated: Sequence[Pair],
) -> Image.Image:
    """Two panels side by side: predicted on the left, annotated on the right.

    People have solid boxes, objects dashed ones; a pair has one color and a line between its boxes.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        predicted, annotated: the pairs of either side.

    Returns:
        An RGB image.
    """
    image = to_pillow(image)
    sides = [
        _panel(image, pairs, title)
        for pairs, title in ((predicted, "predicted"), (annotated, "annotated"))
    ]
    both = Image.new("RGB", (sum(s.width for s in sides) + GAP, sides[0].height), PAPER)
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width + GAP, 0))
    return both


def _panel(image: Image.Image, pairs: Sequence[Pair], title: str) -> Image.Image:
    canvas = Canvas(image, fit(image.size, PANEL), fade=0.15)
    seen: dict[tuple[float, ...], int] = {}
    merged: dict[tuple[tuple[float, ...], tuple[float, ...]], list[str]] = {}
    for pair in pairs:
        key = tuple(map(float, pair.human)), tuple(map(float, pair.object))
        merged.setdefault(key, []).append(pair.label)
    colors = [PALETTE[number % len(PALETTE)] for number in range(len(merged))]
    anchors, sizes = [], []
    for (human, target), color in zip(merged, colors, strict=True):
        for box, dashed in ((human, False), (target, True)):
            if box[2] > box[0] and box[3] > box[1]:  # V-COCO's missing object has no area
                canvas.box(box, color, dashed=dashed, grow=4.0 * seen.get(box, 0))
                seen[box] = seen.get(box, 0) + 1
        ends = [canvas.inside(np.reshape(box, (2, 2)).mean(axis=0)) for box in (human, target)]
        canvas.line(ends[0], ends[1], color, width=2.0)
        canvas.dot(ends[0], color, 5.0)
        canvas.square(ends[1], color, 5.0)
        anchors.append(canvas.place((ends[0] + ends[1]) / 2))
    heading = tag_size([title], TEXT)
    sizes = [tag_size(labels, TEXT) for labels in merged.values()]
    corners = place_labels(
        anchors or np.zeros((0, 2)), sizes or np.zeros((0, 2)), bounds=canvas.size,
        avoid=np.array([[0.0, 0.0, heading[0] + 8, heading[1] + 8]]), avoid_weight=np.array([20.0]),
    )  # fmt: skip
    for corner, labels, color in zip(corners, merged.values(), colors, strict=True):
        canvas.tag(corner, labels, color, size=TEXT)
    canvas.tag((4, 4), [title if pairs else f"nothing {title}"], INK, size=TEXT)
    return canvas.finish()
