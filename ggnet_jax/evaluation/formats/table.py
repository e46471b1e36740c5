"""Predictions of any file as columns, which are read like PPDM's entries or written as them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.columns import Columns

PERSON = 1
"""`category_id` of a person."""
NO_OBJECT = -1
"""`object_id` of a pair without an object, in V-COCO."""


class Table:
    """m human-object pairs in I images, with two boxes each; what `ColumnReader` is for entries.

    Attributes:
        names: I file names.
    """

    def __init__(
        self,
        names: Sequence[str],
        image: np.ndarray,
        boxes: np.ndarray,
        category: np.ndarray,
        verb: np.ndarray,
        score: np.ndarray,
        where: Callable[[int], str],
        has_object: np.ndarray | None = None,
    ):
        """Order the pairs by image.

        Args:
            names: of the I images.
            image: [m] image of each pair.
            boxes: [m, 8] float64, corners of the human box, then of the object box.
            category: [m] `category_id` of the object.
            verb: [m] `category_id` of the pair.
            score: [m] float64.
            where: pair -> its place in the file, for messages.
            has_object: [m] bool; None where all have one.
        """
        self.names = list(names)
        order = np.argsort(image, kind="stable")
        self._order, self._where = order, where
        self._image = image[order]
        self._boxes = boxes[order]
        self._category = category[order]
        self._verb = verb[order]
        self._score = score[order]
        self._has_object = np.ones(len(order), bool) if has_object is None else has_object[order]

    def columns(self) -> Columns:
        """The boxes and pairs with PPDM's ids."""
        number = len(self._image)
        per_image = np.bincount(self._image, minlength=len(self.names))
        first = np.cumsum(per_image) - per_image
        place = np.arange(number) - first[self._image]
        category = np.empty(2 * number, np.int64)
        category[::2], category[1::2] = PERSON, self._category
        return Columns(
            boxes=self._boxes.reshape(-1, 4).copy(),
            category=category,
            box_entry=np.repeat(self._image, 2),
            subject=2 * place,
            object=np.where(self._has_object, 2 * place + 1, NO_OBJECT),
            verb=self._verb,
            score=self._score,
            pair_entry=self._image,
            first_box=2 * first[self._image],
            num_boxes=2 * per_image[self._image],
        )

    def forbid_box(self, bad: ArrayLike, why: str, values: np.ndarray) -> None:
        """Raise a UserError for the first bad box ([2 m] bool), with its place and its value."""
        self._forbid(bad, why, values, 2)

    def forbid_pair(self, bad: ArrayLike, why: str, values: np.ndarray) -> None:
        """Raise a UserError for the first bad pair ([m] bool), with its place and its value."""
        self._forbid(bad, why, values, 1)

    def _forbid(self, bad: ArrayLike, why: str, values: np.ndarray, each: int) -> None:
        if np.any(bad):
            row = int(np.argmax(bad))
            pair = row // each
            raise UserError(
                f"predictions: image {self.names[self._image[pair]]!r}, "
                f"{self._where(int(self._order[pair]))} {why}: {values[row].tolist()}"
            )

    def entries(self) -> Iterator[dict[str, Any]]:
        """An entry in PPDM's format for each image, equal boxes once."""
        stop = np.searchsorted(self._image, np.arange(len(self.names)), side="right")
        start = 0
        for name, end in zip(self.names, stop.tolist(), strict=True):
            yield self._entry(name, slice(start, end))
            start = end

    def _entry(self, name: str, rows: slice) -> dict[str, Any]:
        places: dict[tuple[float, ...], int] = {}
        pairs = []
        columns = (self._boxes, self._category, self._verb, self._score, self._has_object)
        for box, category, verb, score, has_object in zip(
            *(column[rows].tolist() for column in columns), strict=True
        ):
            human = places.setdefault((*box[:4], PERSON), len(places))
            target = NO_OBJECT
            if has_object:
                target = places.setdefault((*box[4:], category), len(places))
            pairs.append(
                {"subject_id": human, "object_id": target, "category_id": verb, "score": score}
            )
        return {
            "file_name": name,
            "predictions": [{"bbox": key[:4], "category_id": key[4]} for key in places],
            "hoi_prediction": pairs,
        }
