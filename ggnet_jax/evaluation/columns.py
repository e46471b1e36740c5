"""Entries of annotation and prediction files -> flat columns, one image after the other."""

import itertools
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ggnet_jax.errors import UserError
from ggnet_jax.key_names import nearest_key

UNKNOWN = -(1 << 62)
"""Stands for what is no id; no vocabulary has it."""
_KINDS = "dqqqqd"  # of corners, category, subject, object, verb, score
_NO_NUMBERS = {bool, np.bool_}  # which `array` takes for 0 and 1
_Lists = tuple[list[Any], ...]  # what one entry adds to each


class Columns(NamedTuple):
    """n boxes and m pairs of I entries as they stand in the file.

    Attributes:
        boxes: [n, 4] float64.
        category: [n] int64 `category_id` of each box.
        box_entry: [n] entry of each box.
        subject, object: [m] int64 `subject_id` and `object_id`, counted inside of the entry.
        verb: [m] int64 `category_id` of each pair.
        score: [m] float64, zeros in ground truth.
        pair_entry: [m] entry of each pair.
        first_box: [m] row of the first box of that entry.
        num_boxes: [m] number of boxes in that entry.
    """

    boxes: np.ndarray
    category: np.ndarray
    box_entry: np.ndarray
    subject: np.ndarray
    object: np.ndarray
    verb: np.ndarray
    score: np.ndarray
    pair_entry: np.ndarray
    first_box: np.ndarray
    num_boxes: np.ndarray


class ColumnReader:
    """Takes entries one by one; knows where in the file a row of the columns came from."""

    def __init__(self, what: str, boxes_key: str, pairs_key: str, *, truth: bool):
        """Start without any entry.

        Args:
            what: the file holds, for messages.
            boxes_key: under which an entry has its boxes.
            pairs_key: under which an entry has its pairs.
            truth: ground truth has no scores, and what is wrong with an id is left to the reader;
                in predictions it is an error.
        """
        self.names: list[str] = []
        self._what, self._keys, self._truth = what, (boxes_key, pairs_key), truth
        self._counts = array("q"), array("q")  # boxes and pairs of each entry
        self._parts = tuple(array(kind) for kind in _KINDS)

    def add(self, entry: Any) -> str:
        """Add one image's entry and return its file name.

        Raises:
            UserError: a field is missing or of the wrong type.
        """
        lengths = [len(part) for part in self._parts]
        try:
            name, columns = self._read_fast(entry)
            for part, column in zip(self._parts, columns, strict=True):
                part.fromlist(column)
        except (KeyError, TypeError, AttributeError, OverflowError):
            for part, length in zip(self._parts, lengths, strict=True):
                del part[length:]
            name, columns = self._read_slowly(entry)
            for part, column in zip(self._parts, columns, strict=True):
                part.fromlist(column)
        self.names.append(name)
        for count, column in zip(self._counts, (columns[1], columns[4]), strict=True):
            count.append(len(column))
        return name

    def columns(self) -> Columns:
        """What was added, as arrays."""
        box_counts, pair_counts = (np.array(counts, np.int64) for counts in self._counts)
        first_box = np.cumsum(box_counts) - box_counts
        entries = np.arange(len(self.names))
        pair_entry = np.repeat(entries, pair_counts)
        corners, category, subject, obj, verb, score = (
            np.array(part, np.float64 if part.typecode == "d" else np.int64) for part in self._parts
        )
        return Columns(
            boxes=corners.reshape(-1, 4),
            category=category,
            box_entry=np.repeat(entries, box_counts),
            subject=subject,
            object=obj,
            verb=verb,
            score=score,
            pair_entry=pair_entry,
            first_box=first_box[pair_entry],
            num_boxes=box_counts[pair_entry],
        )

    def forbid_box(self, bad: ArrayLike, why: str, values: np.ndarray) -> None:
        """Raise a UserError for the first bad box ([n] bool), with its place and its value."""
        self._forbid(0, bad, why, values)

    def forbid_pair(self, bad: ArrayLike, why: str, values: np.ndarray) -> None:
        """Raise a UserError for the first bad pair ([m] bool), with its place and its value."""
        self._forbid(1, bad, why, values)

    def _forbid(self, kind: int, bad: ArrayLike, why: str, values: np.ndarray) -> None:
        if np.any(bad):
            row = int(np.argmax(bad))
            ends = np.cumsum(self._counts[kind])
            entry = int(np.searchsorted(ends, row, side="right"))
            place = row - (ends[entry] - self._counts[kind][entry])
            raise UserError(
                f"{self._what}: image {self.names[entry]!r:.80}, "
                f"{self._keys[kind]}[{place}] {why}: {values[row].tolist()}"
            )

    def _read_fast(self, entry: Any) -> tuple[str, _Lists]:
        """An entry that is as it should be; `array` refuses whatever is not a number."""
        boxes, pairs = (entry[key] for key in self._keys)
        corners = [box["bbox"] for box in boxes]
        columns = (
            [*itertools.chain.from_iterable(corners)],
            [box["category_id"] for box in boxes],
            [pair["subject_id"] for pair in pairs],
            [pair["object_id"] for pair in pairs],
            [pair["category_id"] for pair in pairs],
            [0.0] * len(pairs) if self._truth else [pair["score"] for pair in pairs],
        )
        name = entry["file_name"]
        right = isinstance(name, str) and isinstance(boxes, list) and isinstance(pairs, list)
        right = right and set(map(len, corners)) <= {4}
        if not (right and _NO_NUMBERS.isdisjoint(map(type, itertools.chain(*columns)))):
            raise TypeError
        return name, columns

    def _read_slowly(self, entry: Any) -> tuple[str, _Lists]:
        """The same, value by value: ids written as text pass, anything else is an error."""
        where = f"{self._what}: entry {len(self.names)}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where} is not a JSON object but {entry!r:.60}")
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{where} has no 'file_name' {_instead(entry, 'file_name')}")
        where = f"{self._what}: image {name!r:.80}"
        corners, category, subject, obj, verb, score = columns = tuple([] for _ in _KINDS)
        boxes_key, pairs_key = self._keys
        for index, box in enumerate(self._list(entry, boxes_key, where)):
            at = f"{where}, {boxes_key}[{index}]"
            corners += _corners(box.get("bbox"), at)
            category.append(self._id(box, "category_id", at))
        for index, pair in enumerate(self._list(entry, pairs_key, where)):
            at = f"{where}, {pairs_key}[{index}]"
            subject.append(self._id(pair, "subject_id", at))
            obj.append(self._id(pair, "object_id", at))
            verb.append(self._id(pair, "category_id", at))
            score.append(0.0 if self._truth else _score(pair.get("score"), at))
        return name, columns

    def _list(self, entry: Mapping[str, Any], key: str, where: str) -> Sequence[Mapping[str, Any]]:
        value = entry.get(key)
        if value is None and key in entry and self._truth:
            return []
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise UserError(f"{where} has no list {key!r} {_instead(entry, key)}")
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                raise UserError(f"{where}, {key}[{index}] is not a JSON object but {item!r:.60}")
        return value

    def _id(self, item: Mapping[str, Any], key: str, where: str) -> int:
        value: Any = item.get(key)
        try:
            if isinstance(value, str) or (
                value == int(value) and not isinstance(value, bool | np.bool_)
            ):
                number = int(value)
                if abs(number) < -UNKNOWN:
                    return number
        except (TypeError, ValueError, OverflowError):
            pass
        if self._truth:
            return UNKNOWN
        raise UserError(f"{where} needs a '{key}' that is a whole number (found {value!r:.60})")


def _instead(entry: Mapping[str, Any], key: str) -> str:
    """What an entry has instead of a key's value, in brackets."""
    if key in entry:
        return f"(found {entry[key]!r:.60})"
    keys = [str(name) for name in entry]
    close = nearest_key(keys, key)
    there = ", ".join(map(repr, keys[:8])) or "nothing"
    return f"(it has {there:.160}{f'; rename {close!r}' if close else ''})"


def _corners(value: Any, where: str) -> list[float]:
    try:
        good = _NO_NUMBERS.isdisjoint(map(type, value))
        corners = array("d", value if good else []).tolist()
    except (TypeError, OverflowError):
        corners = []
    if len(corners) != 4:
        raise UserError(f"{where} needs a 'bbox' of four numbers (found {value!r:.80})")
    return corners


def _score(value: Any, where: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise UserError(f"{where} needs a 'score' that is a number (found {value!r:.60})")
