"""Interactions drawn over their image: boxes, the line between them, and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.visualize.canvas import PALETTE, Canvas, fit, tag_size, to_pillow
from ggnet_jax.visualize.labels import place_labels

BOUNDS = (1080, 800)  # final pixels of the main drawing
MAX_PAIRS = 10  # more than this on one image can't be read
MAX_VERBS = 4  # on one label
TEXT = 19.0  # letter height of labels, final pixels


@dataclass(frozen=True)
class Pair:
    """One person and one object with every verb between them, strongest first."""

    interactions: tuple[Interaction, ...]
    color: str

    @property
    def best(self) -> Interaction:
        """The interaction that scores most."""
        return self.interactions[0]


def group_pairs(interactions: Sequence[Interaction]) -> list[Pair]:
    """Gather the verbs of every (person, object) pair, strongest pair first, and color them."""
    groups: dict[tuple, list[Interaction]] = {}
    for one in sorted(interactions, key=lambda i: -i.score):
        corners = (*one.human_box, *one.object_box)
        key = (one.object, *(round(v, 1) for v in corners))
        groups.setdefault(key, []).append(one)
    return [
        Pair(tuple(group), PALETTE[number % len(PALETTE)])
        for number, group in enumerate(groups.values())
    ]


def draw_interactions(
    image: Image.Image | np.ndarray,
    interactions: Sequence[Interaction],
    *,
    bounds: tuple[int, int] = BOUNDS,
    note: str = "",
) -> Image.Image:
    """Draw people (solid boxes), objects (dashed boxes), the line between them, and labels.

    The line has a round end at the person and a square one at the object.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        interactions: what to draw, in the image's pixels; the strongest ten pairs are drawn, the
            others are counted.
        bounds: (width, height) that the drawing fills as far as its shape allows; small
            images are enlarged.
        note: written into a corner.

    Returns:
        An RGB image.
    """
    image = to_pillow(image)
    canvas = Canvas(image, fit(image.size, bounds))
    pairs = group_pairs(interactions)
    shown, hidden = pairs[:MAX_PAIRS], len(pairs) - MAX_PAIRS
    # A person in two pairs has two boxes: each next one is drawn just around the one before.
    seen: dict[tuple, int] = {}
    for pair in reversed(shown):  # the strongest is drawn last, on top
        one = pair.best
        for box, dashed in ((one.human_box, False), (one.object_box, True)):
            key = tuple(round(v, 1) for v in box)
            canvas.box(box, pair.color, dashed=dashed, grow=5.0 * seen.get(key, 0))
            seen[key] = seen.get(key, 0) + 1
    for pair in reversed(shown):
        human, obj = _ends(canvas, pair)
        canvas.line(human, obj, pair.color)
        canvas.dot(human, pair.color, 5.0)
        canvas.square(obj, pair.color, 5.0)
    _draw_labels(canvas, shown)
    notes = [note] if note else []
    if hidden > 0:
        notes.append(f"and {hidden} weaker pair{'s' if hidden > 1 else ''}")
    elif not pairs and not note:
        notes.append("no interaction found")
    if notes:
        corner = (6, canvas.size[1] - tag_size(notes, 15)[1] - 6)
        canvas.tag(corner, notes, "#FFFFFF", size=15)
    return canvas.finish()


def _ends(canvas: Canvas, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The points of the person and the object, moved inside what is shown."""
    return canvas.inside(pair.best.human_point), canvas.inside(pair.best.object_point)


def _draw_labels(canvas: Canvas, pairs: Sequence[Pair]) -> None:
    """A label for each pair near the middle of its line, and a line to it where it had to move."""
    if not pairs:
        return
    texts = [[one.label for one in pair.interactions[:MAX_VERBS]] for pair in pairs]
    sizes = [tag_size(lines, TEXT) for lines in texts]
    links = [_ends(canvas, pair) for pair in pairs]
    anchors = [canvas.place((human + obj) / 2) for human, obj in links]
    faces, objects, ends = [], [], []  # to leave free, in final pixels
    for pair, link in zip(pairs, links, strict=True):
        x1, y1, x2, y2 = canvas.place(np.reshape(pair.best.human_box, (2, 2))).ravel()
        faces.append((x1, y1, x2, y1 + (y2 - y1) / 3))
        objects.append(canvas.place(np.reshape(pair.best.object_box, (2, 2))).ravel())
        ends += [(*(point - 8), *(point + 8)) for point in canvas.place(link)]
    corners = place_labels(
        anchors,
        sizes,
        bounds=canvas.size,
        avoid=np.array(faces + objects + ends),
        avoid_weight=np.array([1.5] * len(faces) + [0.7] * len(objects) + [40.0] * len(ends)),
    )
    for pair, lines, link, anchor, corner, size in zip(
        pairs, texts, links, anchors, corners, sizes, strict=True
    ):
        opposite = np.add(corner, size)
        first, last = canvas.place(link)
        on_line = first + np.linspace(0, 1, 33)[:, None] * (last - first)
        gap = np.hypot(*(np.clip(on_line, corner, opposite) - on_line).T).min()
        if gap > 6:
            nearest = np.clip(anchor, corner, opposite)
            start, end = ((point + 0.5) / canvas.scale - 0.5 for point in (anchor, nearest))
            canvas.line(start, end, pair.color, width=1.5)
        canvas.tag(corner, lines, pair.color, size=TEXT)
