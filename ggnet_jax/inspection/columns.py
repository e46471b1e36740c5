"""The annotations of whole splits as arrays, which is what statistics are computed from."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ggnet_jax.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Columns:
    """Every box and relation of a split: n images, m boxes, r relations.

    Attributes:
        file_names: of the images.
        sizes: [n, 2] int64 (width, height) in pixels; 0 where it is not known.
        boxes: [m, 4] float32 (x1, y1, x2, y2) in image pixels, cleaned as they are trained on.
        classes: [m] int64 object index.
        box_image: [m] int64 image of each box, ascending.
        relations: [r, 3] int64 (human's row, object's row of `boxes`, verb index).
        hashes: [n] int64, equal for files of the same content; None where no image was read.
    """

    file_names: list[str]
    sizes: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    box_image: np.ndarray
    relations: np.ndarray
    hashes: np.ndarray | None = None

    @property
    def relation_image(self) -> np.ndarray:
        """[r] int64: the image of each relation."""
        return self.box_image[self.relations[:, 0]]

    @property
    def pair_of_relation(self) -> np.ndarray:
        """[r] int64: relations of the same human-object pair have the same number, from 0."""
        key = self.relations[:, 0] * max(len(self.boxes), 1) + self.relations[:, 1]
        return np.unique(key, return_inverse=True)[1].reshape(-1)

    def select(self, images: np.ndarray) -> "Columns":
        """The split with these images alone, [k] ascending positions."""
        place = np.full(len(self.file_names), -1)
        place[images] = np.arange(len(images))
        box = place[self.box_image] >= 0
        row = np.cumsum(box) - 1
        relations = self.relations[box[self.relations[:, 0]]] if len(box) else self.relations
        return Columns(
            [self.file_names[image] for image in images.tolist()],
            self.sizes[images],
            self.boxes[box],
            self.classes[box],
            place[self.box_image[box]],
            np.concatenate([row[relations[:, :2]], relations[:, 2:]], axis=1),
            None if self.hashes is None else self.hashes[images],
        )


@dataclasses.dataclass(frozen=True)
class Finding:
    """A line of the data report.

    Attributes:
        count: how often.
        what: was found.
        treatment: what was done about it.
        examples: the first places.
    """

    count: int
    what: str
    treatment: str
    examples: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """A split and what was found wrong with it.

    Attributes:
        role: what it is for: "training", "validation" or "test".
        name: the expression that chooses it, "train[:90%]".
        columns: what it holds.
        entries: annotation entries that it was made of.
        findings: of the data report.
        notes: how its files were read.
        lost: images that could not be used.
        images: gives file names and RGB uint8 images [h, w, 3] at positions of `columns`; None
            where the annotations are inspected alone.
    """

    role: str
    name: str
    columns: Columns
    entries: int
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    lost: int = 0
    images: Callable[[Sequence[int]], Iterator[tuple[str, np.ndarray]]] | None = None


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A data set to describe.

    Attributes:
        name: of the data set.
        place: where it lies.
        vocabulary: what the indices refer to.
        splits: the training split first, where there is one.
        dataset: gives batches; None where the annotations are inspected alone.
    """

    name: str
    place: str
    vocabulary: Vocabulary
    splits: tuple[Split, ...]
    dataset: Any = None

    @property
    def training(self) -> Split | None:
        """The split that is trained on, if there is one."""
        return next((split for split in self.splits if split.role == "training"), None)
