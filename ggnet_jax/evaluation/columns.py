"""Entries of annotation and prediction files -> flat columns, one image after the other."""

import difflib
import itertools
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ggnet_jax.errors import UserError

UNKNOWN = -(1 << 62)
"""Stands for what is no id; no vocabulary has it."""
_KINDS = "dqqqqd"  # of the columns of an `_Entry`
_NOT_NUMBERS = {bool, np.bool_}  # which `array` takes for 0 and 1


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


class _Entry(NamedTuple):
    """What one image adds to the columns."""

    name: str
    corners: array
    category: array
    subject: array
    object: array
    verb: array
    score: array


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
        try:
            read = self._read_fast(entry)
        except (KeyError, TypeError, AttributeError, OverflowError):
            read = self._read_slowly(entry)
        self.names.append(read.name)
        for count, column in zip(self._counts, (read.category, read.verb), strict=True):
            count.append(len(column))
        for part, column in zip(self._parts, read[1:], strict=True):
            part.extend(column)
        return read.name

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
                f"{self._what}: image {self.names[entry]!r}, {self._keys[kind]}[{place}] {why}: "
                f"{values[row].tolist()}"
            )

    def _read_fast(self, entry: Any) -> _Entry:
        """An entry that is as it should be; `array` refuses whatever is not a number."""
        boxes, pairs = (entry[key] for key in self._keys)
        corners = [box["bbox"] for box in boxes]
        numbers = [*itertools.chain.from_iterable(corners)]
        category = [box["category_id"] for box in boxes]
        subject = [pair["subject_id"] for pair in pairs]
        obj = [pair["object_id"] for pair in pairs]
        verb = [pair["category_id"] for pair in pairs]
        score = [0.0] * len(verb) if self._truth else [pair["score"] for pair in pairs]
        columns = (numbers, category, subject, obj, verb, score)
        read = _Entry(entry["file_name"], *map(array, _KINDS, columns))
        fours = len(numbers) == 4 * len(corners) and all(len(box) == 4 for box in corners)
        if not (fours and isinstance(read.name, str) and isinstance(boxes, list)):
            raise TypeError
        values = itertools.chain.from_iterable(columns)
        if not (isinstance(pairs, list) and _NOT_NUMBERS.isdisjoint(map(type, values))):
            raise TypeError
        return read

    def _read_slowly(self, entry: Any) -> _Entry:
        """The same, value by value: ids written as text pass, anything else is an error."""
        where = f"{self._what}: entry {len(self.names)}"
        if not isinstance(entry, Mapping):
            raise UserError(f"{where} is not a JSON object but {entry!r:.60}")
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise UserError(f"{where} has no 'file_name' {_instead(entry, 'file_name')}")
        where = f"{self._what}: image {name!r}"
        read = _Entry(name, *(array(part.typecode) for part in self._parts))
        boxes_key, pairs_key = self._keys
        for index, box in enumerate(self._list(entry, boxes_key, where)):
            at = f"{where}, {boxes_key}[{index}]"
            read.corners.extend(_corners(box.get("bbox"), at))
            read.category.append(self._id(box, "category_id", at))
        for index, pair in enumerate(self._list(entry, pairs_key, where)):
            at = f"{where}, {pairs_key}[{index}]"
            read.subject.append(self._id(pair, "subject_id", at))
            read.object.append(self._id(pair, "object_id", at))
            read.verb.append(self._id(pair, "category_id", at))
            read.score.append(0.0 if self._truth else _score(pair.get("score"), at))
        return read

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
    close = difflib.get_close_matches(key, keys, 1)
    there = ", ".join(map(repr, keys[:8])) or "nothing"
    return f"(it has {there:.160}{f'; rename {close[0]!r}' if close else ''})"


def _corners(value: Any, where: str) -> array:
    try:
        corners = array("d", [] if bool in set(map(type, value)) else value)
    except (TypeError, OverflowError):
        corners = array("d")
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
