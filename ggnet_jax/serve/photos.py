"""A visitor's photo and what the network found in it: computed once, shown at any threshold.

No Gradio here. A `Photo` is what a session keeps; everything else is drawn from it.
"""

import dataclasses
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ggnet_jax.cli.image_paths import EXPLAINED, drawing_names
from ggnet_jax.cli.predict import nothing_above
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import Detector, Explanation
from ggnet_jax.inference.interactions import Interaction, prediction_line
from ggnet_jax.visualize.drawing import Pair, group_pairs

EXPLAINABLE = 30
"""The best interactions, which get heatmaps: as many as the table has rows."""

LARGEST_SIDE = 2560
"""Of the copy that drawings are made from, in pixels: enough for a part of it to fill a panel."""

_LONGEST_NAME = 120


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
    """What a session remembers.

    Attributes:
        name: of the visitor's file, without what could harm.
        size: (width, height) of the photo in pixels, upright.
        found: every interaction by descending score, in the photo's pixels.
        view: the photo for the screen, which is smaller if the photo is large; the same
            interactions in the pixels of that, and the heatmaps of the first `EXPLAINABLE`.
    """

    name: str
    size: tuple[int, int]
    found: Sequence[Interaction]
    view: Explanation

    def count(self, threshold: float) -> int:
        """How many interactions score at least so much; they are the first ones."""
        return sum(one.score >= threshold for one in self.found)

    def shown(self, threshold: float) -> list[Interaction]:
        """The interactions that score at least so much, in the pixels of `view.image`."""
        return self.view.interactions[: self.count(threshold)]

    def note(self, threshold: float) -> str:
        """What to say if no interaction scores so much; empty if one does."""
        return "" if self.count(threshold) else nothing_above(threshold, self.found)

    def explained(self, threshold: float) -> list[tuple[Interaction, str]]:
        """The rows of the table: interactions that can be explained, and their pairs' colors."""
        shown = self.shown(threshold)
        colors = {id(one): pair.color for pair in group_pairs(shown) for one in pair.interactions}
        return [(one, colors[id(one)]) for one in shown[:EXPLAINABLE]]

    def pair(self, threshold: float, row: int) -> Pair | None:
        """A row of the table for `visualize.explain_interaction`; None if there is no such row."""
        rows = self.explained(threshold)
        if not 0 <= row < len(rows):
            return None
        one, color = rows[row]
        return Pair((one,), color)

    @property
    def drawing_name(self) -> str:
        """What the drawing's file is called, without ending."""
        return drawing_names([Path(self.name)])[0]

    def json_line(self, threshold: float) -> str:
        """The line that `--mode=predict` writes for the photo."""
        shown = self.found[: self.count(threshold)]
        drawings = [f"{self.drawing_name}.png"]
        if shown:
            drawings.append(f"{self.drawing_name}{EXPLAINED}.png")
        width, height = self.size
        entry = prediction_line(self.name, width, height, shown, drawings)
        return json.dumps(entry) + "\n"


def look_at(detector: Detector, content: bytes, name: str, *, max_pixels: int) -> Photo:
    """Run the network on a file.

    Args:
        detector: the network.
        content: of the file.
        name: that the visitor gave it.
        max_pixels: that the detector reads; for the message.

    Raises:
        UserError: it is no image that can be read; in a visitor's words.
    """
    name = clean_name(name)
    try:
        found = detector.explain(content, threshold=0.0, top_k=EXPLAINABLE)
    except (UserError, MemoryError) as error:
        raise UserError(_for_visitors(str(error) or "out of memory", name, max_pixels)) from error
    height, width = found.image.shape[:2]
    return Photo(name, (width, height), found.interactions, reduce(found, LARGEST_SIDE))


def reduce(found: Explanation, largest_side: int) -> Explanation:
    """A copy for the screen: image and interactions at a smaller scale if the image is larger."""
    height, width = found.image.shape[:2]
    scale = largest_side / max(height, width)
    if scale >= 1:
        return found
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(found.image).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    interactions = [_scaled(one, size[0] / width, size[1] / height) for one in found.interactions]
    return Explanation(np.asarray(image), interactions, found.heatmaps)


def _scaled(one: Interaction, x: float, y: float) -> Interaction:
    """An interaction in an image that was scaled by (x, y); pixels are squares around points."""

    def move(values: Sequence[float]) -> tuple:
        points = np.reshape(np.asarray(values, np.float64), (-1, 2))
        return tuple(float(v) for v in ((points + 0.5) * (x, y) - 0.5).ravel())

    fields = (
        "human_box", "object_box", "interaction_point", "human_point", "object_point",
        "human_target", "object_target",
    )  # fmt: skip
    steps = tuple(((p + 0.5) * (x, y) - 0.5, weight) for p, weight in one.act_points)
    moved = {name: move(getattr(one, name)) for name in fields}
    return dataclasses.replace(one, act_points=steps, **moved)


def clean_name(name: str) -> str:
    """A visitor's file name, to be shown and written: no folders, no control characters, short."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(c for c in name if not unicodedata.category(c).startswith("C"))
    name = " ".join(name.split()).lstrip(".")
    if len(name) > _LONGEST_NAME:
        _, dot, ending = name.rpartition(".")
        ending = dot + ending if dot and len(ending) <= 5 else ""
        name = name[: _LONGEST_NAME - len(ending)] + ending
    return name or "photo"


def _for_visitors(message: str, name: str, max_pixels: int) -> str:
    """What the reader of images says, without what only the owner of the server can do."""
    message = re.sub(r"^image of \d+ bytes: ", "", message)
    message = re.sub(
        r"max_pixels is [\d,]+, set it higher to read the image",
        f"up to {max_pixels:,} are taken",
        message,
    )
    if "pillow-heif" in message:
        message = "a HEIF photo, which is not read here; save it as JPEG"
    return f"{name}: {message}"
