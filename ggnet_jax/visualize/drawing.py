"""Interactions drawn over their picture: boxes, the line between them, and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.visualize.canvas import PALETTE, Canvas, fit, tag_size
from ggnet_jax.visualize.labels import place_labels

BOUNDS = (1080, 800)  # final pixels of the main drawing
MAX_PAIRS = 10  # more than this on one picture can't be read
MAX_VERBS = 4  # on one label
TEXT = 19.0  # letter height of labels, final pixels


@dataclass(frozen=True)
class Pair:
    """One person and one object with everything the person does to it, strongest first."""

    interactions: tuple[Interaction, ...]
    colour: str

    @property
    def best(self) -> Interaction:
        return self.interactions[0]


def group_pairs(interactions: Sequence[Interaction]) -> list[Pair]:
    """Gather the verbs of every (person, object) pair, strongest pair first, and colour them."""
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
    picture: Image.Image | np.ndarray,
    interactions: Sequence[Interaction],
    *,
    bounds: tuple[int, int] = BOUNDS,
    max_pairs: int = MAX_PAIRS,
    note: str = "",
) -> Image.Image:
    """Draw people (solid boxes), objects (dashed boxes), the line between them, and labels.

    Args:
        picture: Pillow picture or uint8 [H, W, 3].
        interactions: what to draw, in the picture's pixels.
        bounds: (width, height) that the drawing fills as far as its shape allows; small
            pictures are enlarged.
        max_pairs: the strongest so many pairs are drawn, the others are counted.
        note: written into a corner.

    Returns:
        An RGB picture.
    """
    size = picture.size if isinstance(picture, Image.Image) else np.shape(picture)[1::-1]
    canvas = Canvas(picture, fit(*size, bounds))
    pairs = group_pairs(interactions)
    shown, hidden = pairs[:max_pairs], len(pairs) - max_pairs
    # A person in two pairs has two boxes: each next one is drawn just around the one before.
    seen: dict[tuple, int] = {}
    for pair in reversed(shown):  # the strongest is drawn last, on top
        one = pair.best
        for box, dashed in ((one.human_box, False), (one.object_box, True)):
            key = tuple(round(v, 1) for v in box)
            canvas.box(box, pair.colour, dashed=dashed, grow=5.0 * seen.get(key, 0))
            seen[key] = seen.get(key, 0) + 1
    for pair in reversed(shown):
        draw_link(canvas, pair.best, pair.colour)
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


def draw_link(canvas: Canvas, one: Interaction, colour: str) -> None:
    """The line between a pair: a round end at the person, a square one at the object."""
    human, thing = canvas.inside(one.human_point), canvas.inside(one.object_point)
    canvas.line(human, thing, colour)
    canvas.dot(human, colour, 5.0)
    canvas.square(thing, colour, 5.0)


def _draw_labels(canvas: Canvas, pairs: Sequence[Pair]) -> None:
    """A plate for each pair near the middle of its line, with a leader where it had to move."""
    if not pairs:
        return
    texts, anchors, faces, things = [], [], [], []
    for pair in pairs:
        lines = [one.label for one in pair.interactions[:MAX_VERBS]]
        texts.append(lines)
        middle = canvas.inside(pair.best.human_point) + canvas.inside(pair.best.object_point)
        anchors.append(tuple(canvas.place(middle / 2)))
        human = canvas.place(np.reshape(pair.best.human_box, (2, 2))).ravel()
        third = (human[3] - human[1]) / 3
        faces.append((human[0], human[1], human[2], human[1] + third))
        things.append(canvas.place(np.reshape(pair.best.object_box, (2, 2))).ravel())
    points = [
        canvas.place(canvas.inside(p))
        for pair in pairs
        for p in (pair.best.human_point, pair.best.object_point)
    ]
    ends = [(*(p - 8), *(p + 8)) for p in points]
    sizes = [tag_size(lines, TEXT) for lines in texts]
    corners = place_labels(
        anchors,
        sizes,
        bounds=canvas.size,
        avoid=np.array(faces + things + ends),
        avoid_weight=np.array([1.5] * len(faces) + [0.7] * len(things) + [40.0] * len(ends)),
    )
    for pair, lines, anchor, corner, size in zip(
        pairs, texts, anchors, corners, sizes, strict=True
    ):
        near = np.clip(anchor, corner, np.add(corner, size))
        ends = canvas.place(
            [canvas.inside(pair.best.human_point), canvas.inside(pair.best.object_point)]
        )
        on_line = ends[0] + np.linspace(0, 1, 33)[:, None] * (ends[1] - ends[0])
        gap = np.hypot(*(np.clip(on_line, corner, np.add(corner, size)) - on_line).T).min()
        if gap > 6:
            back = [(np.array(p) + 0.5) / canvas.scale - 0.5 for p in (anchor, near)]
            canvas.line(*back, pair.colour, width=1.5)
        canvas.tag(corner, lines, pair.colour, size=TEXT)
