"""Annotations over their image, and the targets that training makes of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ggnet_jax.visualize.canvas import INK, PALETTE, PAPER, Canvas, fit, tag_size, to_pillow
from ggnet_jax.visualize.labels import place_labels
from ggnet_jax.visualize.panels import heat_over_image

BOUNDS = (560, 460)  # final pixels of one panel
TEXT = 16.0
MAX_PAIRS = 8  # more than this on one image can't be read
MAX_VERBS = 4  # on one label
LONE = "#C8C8C8"  # boxes that are in no pair
POSITIVE, NEGATIVE, CENTER = "#E69F00", "#0072B2", "#009E73"
GAP = 8
_AWAY = 24.0  # final pixels from which a line leads to a label


class Scene(NamedTuple):
    """What is annotated in an image.

    Attributes:
        boxes: [n, 4] (x1, y1, x2, y2) in the image's pixels.
        names: of their objects.
        relations: (human box, object box, phrase), "ride bicycle".
    """

    boxes: np.ndarray
    names: Sequence[str]
    relations: Sequence[tuple[int, int, str]]


def draw_annotated(
    image: Image.Image | np.ndarray,
    scene: Scene,
    *,
    bounds: tuple[int, int] = BOUNDS,
    points: ArrayLike | None = None,
) -> Image.Image:
    """Draw people (solid boxes), objects (dashed boxes), the line between them, and verbs.

    Every pair has a color; boxes that are in no pair are gray and have their object's name.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        scene: what is annotated; at most eight pairs are drawn, the others are counted.
        bounds: (width, height) that the drawing fills as far as its shape allows.
        points: [r, 2] where the interaction point of each relation is marked.
    """
    image = to_pillow(image)
    canvas = Canvas(image, fit(image.size, bounds))
    pairs: dict[tuple[int, int], list[int]] = {}
    for number, (human, obj, _) in enumerate(scene.relations):
        pairs.setdefault((human, obj), []).append(number)
    shown = list(pairs.items())[:MAX_PAIRS]
    used = {box for pair in pairs for box in pair}
    anchors, labels, colors = [], [], []
    for box in range(len(scene.boxes)):
        if box not in used:
            canvas.box(scene.boxes[box], LONE, width=1.5)
    seen: dict[int, int] = {}
    for k, ((human, obj), _) in enumerate(shown):
        for box, dashed in ((human, False), (obj, True)):
            grow = 4.0 * seen.get(box, 0)
            color = PALETTE[k % len(PALETTE)]
            canvas.box(scene.boxes[box], color, width=2.5, dashed=dashed, grow=grow)
            seen[box] = seen.get(box, 0) + 1
    taken = []
    for k, ((human, obj), numbers) in enumerate(shown):
        color = PALETTE[k % len(PALETTE)]
        ends = [canvas.inside(_center(scene.boxes[box])) for box in (human, obj)]
        canvas.line(ends[0], ends[1], color, width=2.0)
        canvas.dot(ends[0], color, 4.5)
        canvas.square(ends[1], color, 4.5)
        verbs = [scene.relations[number][2] for number in numbers]
        more = len(verbs) - MAX_VERBS
        labels.append(verbs[:MAX_VERBS] + [f"and {more} more"] * (more > 0))
        anchors.append(canvas.place((ends[0] + ends[1]) / 2))
        colors.append(color)
        taken += list(canvas.place(np.stack(ends)))
    if points is not None:
        marked = np.asarray(points, np.float64).reshape(-1, 2)
        for _, numbers in shown:
            canvas.cross(canvas.inside(marked[numbers[0]]), PAPER, 6, width=2.0)
            taken.append(canvas.place(canvas.inside(marked[numbers[0]])))
    for box in range(len(scene.boxes)):
        if box not in used:
            x1, y1, x2, _ = scene.boxes[box]
            labels.append([scene.names[box]])
            anchors.append(canvas.place(canvas.inside(((x1 + x2) / 2, y1))))
            colors.append(LONE)
    sizes = [tag_size(lines, TEXT) for lines in labels]
    avoid = np.array([(*(point - 8), *(point + 8)) for point in taken]).reshape(-1, 4)
    corners = place_labels(
        anchors or np.zeros((0, 2)), sizes or np.zeros((0, 2)), bounds=canvas.size,
        avoid=avoid, avoid_weight=np.full(len(avoid), 20.0),
    )  # fmt: skip
    for corner, lines, color, anchor, size in zip(
        corners, labels, colors, anchors, sizes, strict=True
    ):
        nearest = np.clip(anchor, corner, np.add(corner, size))
        if np.hypot(*(nearest - anchor)) > _AWAY:
            start, end = ((point + 0.5) / canvas.scale - 0.5 for point in (anchor, nearest))
            canvas.line(start, end, color, width=1.5)
        canvas.tag(corner, lines, color, size=TEXT)
    hidden = len(pairs) - len(shown)
    note = f"and {hidden} more pair{'s' if hidden > 1 else ''}" if hidden > 0 else ""
    if not len(scene.boxes):
        note = "nothing annotated"
    if note:
        canvas.tag((4, canvas.size[1] - tag_size([note], 13)[1] - 4), [note], PAPER, size=13)
    return canvas.finish()


def draw_targets(
    image: np.ndarray,
    scene: Scene,
    points: ArrayLike,
    mask: np.ndarray,
    centers: np.ndarray,
    *,
    bounds: tuple[int, int] = BOUNDS,
) -> Image.Image:
    """An image of a batch with its boxes and points, and beside it the heatmaps of its targets.

    Args:
        image: uint8 [H, W, 3], the network's input.
        scene: in its pixels.
        points: [r, 2] interaction point of each relation, in its pixels.
        mask: [h, w, V], M of eq. (4): its positives are drawn orange, its hard negatives blue.
        centers: [h, w, O], the object heatmap, drawn green.
        bounds: (width, height) of each side.
    """
    left = draw_annotated(image, scene, bounds=bounds, points=points)
    picture = to_pillow(image)
    canvas = Canvas(picture, fit(picture.size, bounds), fade=1.0)
    layers = (
        (CENTER, centers.max(axis=-1)),
        (NEGATIVE, -mask.min(axis=-1)),
        (POSITIVE, mask.max(axis=-1)),
    )
    for color, heat in layers:
        values = heat_over_image(heat, picture.size, image.shape[:2], canvas.scale)
        ink = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
        opacity = 0.6 if color == CENTER else 0.9
        canvas.overlay(np.broadcast_to(ink, (*values.shape, 3)).copy(), opacity * values)
    for point in np.asarray(points, np.float64).reshape(-1, 2):  # a Gaussian may be a single cell
        canvas.ring(canvas.inside(point), POSITIVE, 9)
    right = canvas.finish()
    both = Image.new("RGB", (left.width + GAP + right.width, left.height), INK)
    both.paste(left, (0, 0))
    both.paste(right, (left.width + GAP, 0))
    return both


def _center(box: np.ndarray) -> np.ndarray:
    return np.reshape(np.asarray(box, np.float64), (2, 2)).mean(axis=0)
