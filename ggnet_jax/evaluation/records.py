"""Annotation and prediction files -> checked columns; beyond this file nothing is a dictionary.

Files are read picture by picture, so that a large one never stands in memory as Python objects.
"""

import dataclasses
import itertools
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.reading import Progress, Source, iterate

_UNKNOWN = -(1 << 62)  # an id that no vocabulary has


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Boxes and human-object pairs of I pictures.

    Attributes:
        file_names: I names.
        box_picture: [n] picture of each box.
        boxes: [n, 4] float64, (x1, y1, x2, y2) in picture pixels as the file has them.
        box_object: [n] object index in the vocabulary, -1 if it is none (ground truth only).
        picture: [m] picture of each pair.
        human, object: [m] rows of `boxes`.
        verb: [m] index into the verb ids asked for.
        score: [m] float64, zeros in ground truth.
        dropped: what was left out, and how often.
    """

    file_names: tuple[str, ...]
    box_picture: np.ndarray
    boxes: np.ndarray
    box_object: np.ndarray
    picture: np.ndarray
    human: np.ndarray
    object: np.ndarray
    verb: np.ndarray
    score: np.ndarray
    dropped: Mapping[str, int]


def read_predictions(
    source: Source,
    pictures: Mapping[Any, int],
    *,
    object_ids: Sequence[int],
    verb_ids: Sequence[int],
    key: Callable[[str], Any] = str,
    unknown_pictures: str = "error",
    missing_object: bool = False,
    progress: Progress | None = None,
) -> Interactions:
    """Predictions in PPDM's format, checked to the last entry.

    Args:
        source: path or entries.
        pictures: number of each ground-truth picture by its key; `picture` holds these numbers.
            A negative one is known, but predictions for it don't count.
        object_ids: `category_id` of each object.
        verb_ids: `category_id` of each verb.
        key: file name -> key of `pictures`.
        unknown_pictures: "error", or "ignore" to leave out predictions for pictures without ground
            truth (a split scored by a part of its annotation, say).
        missing_object: V-COCO's way to say that there is no object: `object_id` -1 or a box of four
            NaN; both become the box (0, 0, 0, 0), in a row of its own after all others.
        progress: told how far the reading is.

    Raises:
        UserError: names the picture and the entry that is wrong: a field missing or of the wrong
            type, an unknown category, a subject or object out of range, a coordinate or score that is
            no finite number, a box of negative size, an unknown picture, the same picture twice.
    """
    if unknown_pictures not in ("error", "ignore"):
        raise UserError(f"unknown_pictures must be 'error' or 'ignore', not {unknown_pictures!r}")
    columns = _Columns("predictions", "predictions", "hoi_prediction", truth=False)
    numbers, seen, unknown = [], set(), 0
    for entry in iterate(source, "predictions", progress, allow_nan=True):
        columns.add(entry)
        name = columns.names[-1]
        number = key(name)
        if number in seen:
            raise UserError(f"predictions: picture {name!r} occurs twice; merge its entries")
        seen.add(number)
        if number not in pictures:
            if unknown_pictures == "error":
                raise UserError(
                    f"predictions: picture {name!r} (entry {len(numbers)}) is not in the ground "
                    "truth; check the split, or set unknown_pictures to 'ignore'"
                )
            unknown += 1
        numbers.append(pictures.get(number, -1))
    fields = columns.arrays()
    boxes = fields["boxes"]
    if missing_object:
        boxes[np.isnan(boxes).all(axis=1)] = 0.0
    columns.forbid_box(~np.isfinite(boxes).all(axis=1), "has a coordinate that is no finite number")
    columns.forbid_box((boxes[:, 2:] < boxes[:, :2]).any(axis=1), "has a negative size")
    box_object = _index(fields["category"], object_ids)
    columns.forbid_box(box_object < 0, "has an unknown category_id", fields["category"])
    absent = missing_object & (fields["object"] == -1)
    for end in ("subject", "object"):
        outside = (fields[end] < 0) | (fields[end] >= fields["pair_boxes"])
        if end == "object":
            outside &= ~absent
        columns.forbid_pair(outside, f"has its {end}_id out of range", fields[end])
    verb = _index(fields["verb"], verb_ids)
    columns.forbid_pair(verb < 0, "has an unknown category_id", fields["verb"])
    columns.forbid_pair(
        ~np.isfinite(fields["score"]), "has a score that is no finite number", fields["score"]
    )
    numbers = np.asarray(numbers, np.int64)
    picture = numbers[fields["pair_entry"]]
    known = picture >= 0
    target = np.where(absent, len(boxes), fields["object"] + fields["pair_first"])
    box_picture = numbers[fields["box_entry"]]
    if missing_object:
        boxes = np.vstack([boxes, np.zeros((1, 4))])
        box_object, box_picture = np.append(box_object, -1), np.append(box_picture, -1)
    return Interactions(
        file_names=tuple(columns.names),
        box_picture=box_picture,
        boxes=boxes,
        box_object=box_object,
        picture=picture[known],
        human=(fields["subject"] + fields["pair_first"])[known],
        object=target[known],
        verb=verb[known],
        score=fields["score"][known],
        dropped={
            "unknown_pictures": unknown,
            "predictions_in_pictures_without_ground_truth": int((~known).sum()),
        },
    )


def read_ground_truth(
    source: Source,
    *,
    object_ids: Sequence[int],
    verb_ids: Sequence[int],
    progress: Progress | None = None,
) -> Interactions:
    """Annotation in PPDM's format; boxes stay as they are.

    Real annotation is dirty. A pair that points nowhere, or whose verb or object category is
    unknown, can't be found by anybody: it is left out and counted in `dropped`.

    Raises:
        UserError: a picture has no name, occurs twice, or has a box that is not four numbers.
    """
    columns = _Columns("ground truth", "annotations", "hoi_annotation", truth=True)
    seen = set()
    for entry in iterate(source, "ground truth", progress):
        columns.add(entry)
        name = columns.names[-1]
        if name in seen:
            raise UserError(f"ground truth: picture {name!r} occurs twice; remove one")
        seen.add(name)
    if not seen:
        raise UserError("the ground truth has no picture")
    fields = columns.arrays()
    inside = np.ones(len(fields["verb"]), bool)
    for end in ("subject", "object"):
        inside &= (fields[end] >= 0) & (fields[end] < fields["pair_boxes"])
    box_object = _index(fields["category"], object_ids)
    verb = _index(fields["verb"], verb_ids)
    human = np.where(inside, fields["subject"] + fields["pair_first"], 0)
    target = np.where(inside, fields["object"] + fields["pair_first"], 0)
    known = inside & (verb >= 0)
    if len(box_object):
        known &= box_object[target] >= 0
    return Interactions(
        file_names=tuple(columns.names),
        box_picture=fields["box_entry"],
        boxes=fields["boxes"],
        box_object=box_object,
        picture=fields["pair_entry"][known],
        human=human[known],
        object=target[known],
        verb=verb[known],
        score=fields["score"][known],
        dropped={
            "ground_truth_pairs_pointing_nowhere": int((~inside).sum()),
            "ground_truth_pairs_of_unknown_category": int((inside & ~known).sum()),
        },
    )


def _index(ids: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Position of every id in `known`, -1 where it is not there."""
    order = np.argsort(known, kind="stable")
    ordered = np.asarray(known, np.int64)[order]
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.where(ordered[at] == ids, order[at], -1)


class _Columns:
    """Flat columns that grow by one picture's entry at a time."""

    def __init__(self, what: str, boxes_key: str, pairs_key: str, *, truth: bool):
        self.what, self.boxes_key, self.pairs_key, self.truth = what, boxes_key, pairs_key, truth
        self.names: list[str] = []
        self._box_counts, self._pair_counts = array("q"), array("q")
        self._corners, self._score = array("d"), array("d")
        self._category, self._subject, self._object, self._verb = (array("q") for _ in range(4))

    def add(self, entry: Any) -> None:
        """Take one picture in; `array` refuses whatever is no number."""
        try:
            boxes, pairs = entry[self.boxes_key], entry[self.pairs_key]
            four = [box["bbox"] for box in boxes]
            corners = array("d", itertools.chain.from_iterable(four))
            category = array("q", [box["category_id"] for box in boxes])
            subject = array("q", [pair["subject_id"] for pair in pairs])
            target = array("q", [pair["object_id"] for pair in pairs])
            verb = array("q", [pair["category_id"] for pair in pairs])
            if self.truth:
                score = array("d", bytes(8 * len(verb)))
            else:
                score = array("d", [pair["score"] for pair in pairs])
            name = entry["file_name"]
            if not isinstance(name, str) or not all(len(box) == 4 for box in four):
                raise TypeError
        except (KeyError, TypeError, AttributeError, OverflowError):
            name, corners, category, subject, target, verb, score = self._add_slowly(entry)
        self.names.append(name)
        self._box_counts.append(len(category))
        self._pair_counts.append(len(verb))
        self._corners.extend(corners)
        self._category.extend(category)
        self._subject.extend(subject)
        self._object.extend(target)
        self._verb.extend(verb)
        self._score.extend(score)

    def _add_slowly(self, entry: Any) -> tuple:
        """The same, value by value: ids written as text pass, anything else is named."""
        where = f"{self.what}: entry {len(self.names)}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where} is no object, but {entry!r:.60}")
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{where} has no 'file_name' (found {name!r:.60})")
        where = f"{self.what}: picture {name!r}"
        lists = []
        for key in (self.boxes_key, self.pairs_key):
            value = entry.get(key)
            value = [] if value is None and self.truth else value
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise UserError(f"{where} has no list {key!r} (found {value!r:.60})")
            for index, item in enumerate(value):
                if not isinstance(item, Mapping):
                    raise UserError(f"{where}, {key}[{index}] is no object, but {item!r:.60}")
            lists.append(value)
        corners, category = array("d"), array("q")
        for index, box in enumerate(lists[0]):
            at = f"{where}, {self.boxes_key}[{index}]"
            corner = box.get("bbox")
            try:
                corner = array("d", corner)
            except TypeError:
                corner = ()
            if len(corner) != 4:
                raise UserError(f"{at} needs a 'bbox' of four numbers (found {box.get('bbox')!r})")
            corners.extend(corner)
            category.append(self._whole(box, "category_id", at))
        subject, target, verb, score = array("q"), array("q"), array("q"), array("d")
        for index, pair in enumerate(lists[1]):
            at = f"{where}, {self.pairs_key}[{index}]"
            subject.append(self._whole(pair, "subject_id", at))
            target.append(self._whole(pair, "object_id", at))
            verb.append(self._whole(pair, "category_id", at))
            value = 0.0 if self.truth else pair.get("score")
            if not isinstance(value, int | float):
                raise UserError(f"{at} needs a 'score' that is a number (found {value!r:.60})")
            score.append(value)
        return name, corners, category, subject, target, verb, score

    def _whole(self, item: Mapping[str, Any], key: str, where: str) -> int:
        value = item.get(key)
        try:
            if isinstance(value, str) or value == int(value):
                number = int(value)
                if abs(number) < -_UNKNOWN:
                    return number
        except (TypeError, ValueError, OverflowError):
            pass
        if self.truth:
            return _UNKNOWN
        raise UserError(f"{where} needs a '{key}' that is a whole number (found {value!r:.60})")

    def arrays(self) -> dict[str, np.ndarray]:
        """The columns as arrays, with the entry of each box and pair."""
        box_counts = np.array(self._box_counts, np.int64)
        pair_counts = np.array(self._pair_counts, np.int64)
        first_box = np.cumsum(box_counts) - box_counts
        entries = np.arange(len(self.names))
        pair_entry = np.repeat(entries, pair_counts)
        self._first = {"box": first_box, "pair": np.cumsum(pair_counts) - pair_counts}
        return {
            "boxes": np.array(self._corners, np.float64).reshape(-1, 4),
            "category": np.array(self._category, np.int64),
            "box_entry": np.repeat(entries, box_counts),
            "subject": np.array(self._subject, np.int64),
            "object": np.array(self._object, np.int64),
            "verb": np.array(self._verb, np.int64),
            "score": np.array(self._score, np.float64),
            "pair_entry": pair_entry,
            "pair_first": first_box[pair_entry],
            "pair_boxes": box_counts[pair_entry],
        }

    def forbid_box(self, bad: np.ndarray, why: str, values: np.ndarray | None = None) -> None:
        """Raise for the first bad box, with its place and value."""
        if bad.any():
            row = int(np.argmax(bad))
            corners = list(self._corners[4 * row : 4 * row + 4])
            self._forbid("box", self.boxes_key, row, why, corners if values is None else values)

    def forbid_pair(self, bad: np.ndarray, why: str, values: np.ndarray) -> None:
        """Raise for the first bad pair, with its place and value."""
        if bad.any():
            self._forbid("pair", self.pairs_key, int(np.argmax(bad)), why, values)

    def _forbid(self, kind: str, key: str, row: int, why: str, values) -> None:
        first = self._first[kind]
        entry = int(np.searchsorted(first, row, side="right")) - 1
        value = values[row].item() if isinstance(values, np.ndarray) else values
        raise UserError(
            f"{self.what}: picture {self.names[entry]!r}, {key}[{row - first[entry]}] {why}: "
            f"{value}"
        )
