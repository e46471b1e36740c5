"""Entries of the same image -> one entry of the image.

Some files have an entry for every pair, others come in several parts. The entries of an image are
put together: equal boxes of the same category are one box, equal relations one relation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines import annotations
from data_pipelines.entries import Entries
from data_pipelines.report import Report

_NOWHERE = 10**6  # what pointed at no box of its entry must not point at one of another


def unique_entries(entries: Sequence[Any], report: Report) -> Entries:
    """An entry for each image, in the order of first entries; names without stray white space.

    Args:
        entries: PPDM's format, malformed ones included.
        report: takes the findings; what `annotations.clean` is not called for counts as an entry.
    """
    first: dict[str, int] = {}
    known: dict[str, _Places] = {}
    for index, entry in enumerate(entries):
        name = annotations.image_name(entry)
        if name is None:
            report.add("entry_malformed", f"entry {index}, {entry!r:.80}")
            report.entries += 1
            continue
        if name != entry["file_name"]:
            report.add("string_id", f"entry {index}, {entry['file_name']!r}")
        if name not in first:
            first[name] = index
            continue
        report.add("image_twice", f"entry {index}, {name}")
        report.entries += 1
        if name not in known:
            known[name] = _Places(_named(entries[first[name]], name))
        known[name].add(_named(entry, name))
    return Entries(
        known[name].entry if name in known else _named(entries[index], name)
        for name, index in first.items()
    )


def _named(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return entry if entry["file_name"] == name else {**entry, "file_name": name}


class _Places:
    """An entry that grows, and where its boxes and relations are."""

    def __init__(self, first: Mapping[str, Any]):
        self.entry: dict[str, Any] = {**first, "annotations": [], "hoi_annotation": []}
        self._boxes: dict[Any, int] = {}
        self._relations: set[Any] = set()
        self._take(first, unify=False)

    def add(self, other: Mapping[str, Any]) -> None:
        """Take what another entry of the image has; of other keys the first entry's count."""
        for key, value in other.items():
            self.entry.setdefault(key, value)
        self._take(other, unify=True)

    def _take(self, other: Mapping[str, Any], *, unify: bool) -> None:
        boxes, relations = self.entry["annotations"], self.entry["hoi_annotation"]
        place = []
        for box in other.get("annotations", []):
            key = _box_key(box)
            if unify and key in self._boxes:
                place.append(self._boxes[key])
                continue
            if key is not None:
                self._boxes.setdefault(key, len(boxes))
            place.append(len(boxes))
            boxes.append(box)
        for relation in other.get("hoi_annotation", []):
            if isinstance(relation, Mapping):
                ends = {
                    key: _moved(relation[key], place)
                    for key in ("subject_id", "object_id")
                    if key in relation
                }
                relation = {**relation, **ends}
            key = _relation_key(relation)
            if not (unify and key in self._relations):
                relations.append(relation)
            self._relations.add(key)


def _moved(value: Any, place: list[int]) -> Any:
    """A box's index in its own entry -> its index in the merged one."""
    index = annotations.read_id(value)
    if index is None or index == -1:  # malformed, or no object: as it is
        return value
    return place[index] if 0 <= index < len(place) else _NOWHERE


def _box_key(box: Any) -> Any:
    """What tells boxes apart; None for what is not a box."""
    corners = box.get("bbox") if isinstance(box, Mapping) else None
    if not annotations.is_box(corners):
        return None
    category = annotations.read_id(box.get("category_id"))
    return (*map(float, corners), category, bool(box.get("iscrowd")))


def _relation_key(relation: Any) -> Any:
    if not isinstance(relation, Mapping):
        return repr(relation)
    keys = ("subject_id", "object_id", "category_id")
    ids = tuple(annotations.read_id(relation.get(key)) for key in keys)
    return ids if None not in ids else repr(relation)
