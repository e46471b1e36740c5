"""Annotation entries as the field writes them -> boxes, classes and relations one can train on.

An entry is PPDM's: `file_name`, `annotations` (`bbox`, `category_id`) and `hoi_annotation`
(`subject_id`, `object_id`, `category_id`), with `width` and `height` where the file has them.

Pixel convention: the pixel (0, 0) of the picture lies at the coordinate (0, 0), with no half-pixel
term, and a box is (x1, y1, x2, y2) in the picture's own pixels. Files that count from 1 are
shifted by one on all four numbers; COCO's floats (x2 = x + width) stay as they are. Boxes are
clipped to [0, width] x [0, height].

Whatever is wrong with an entry is treated as TREATMENTS says and counted in a `Report`; nothing is
left out silently. Evaluation never sees cleaned boxes: it reads `evaluation_entry`.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

TREATMENTS: Mapping[str, str] = {
    "entry_malformed": "left out: no object with a file_name and lists of boxes and relations",
    "picture_twice": "left out: the split has an entry of that picture already",
    "string_id": "read as the number in the string",
    "box_malformed": "left out: not four finite numbers",
    "unknown_category": "left out: the category id is none of the vocabulary's",
    "box_without_area": "left out",
    "crowd_region": "left out: COCO's outline of a crowd is no single object",
    "box_outside": "left out: no part of it in the picture",
    "box_clipped": "clipped to the picture",
    "relation_malformed": "left out: ids that are no numbers",
    "relation_without_object": "left out: an action that has no object (object_id -1)",
    "relation_nowhere": "left out: a subject or object that the entry does not have",
    "relation_lost_box": "left out with its box",
    "unknown_verb": "left out: the verb id is none of the vocabulary's",
    "subject_no_person": "left out: only people act",
    "relation_twice": "kept once",
    "pair_no_class": "kept: the pair is no class of the vocabulary, so it is never predicted",
    "picture_missing": "left out of training; evaluation counts its pairs as missed",
    "picture_unreadable": "left out of training; evaluation counts its pairs as missed",
    "picture_truncated": "kept: decoded as far as it goes, the rest grey",
    "picture_rotated": "turned as its EXIF entry says, where the annotation is of that size",
    "picture_not_turned": "EXIF entry ignored: the annotation is of the picture as stored",
    "picture_cmyk": "converted to RGB",
    "picture_grey": "grey repeated as R, G and B",
    "picture_converted": "converted to RGB (palette, alpha, 16 bits, or neither JPEG nor PNG)",
    "picture_resized": "resized to the annotation's size, which has the same shape",
    "size_mismatch": "the picture's own size is used, the boxes are clipped to it",
}
_EXAMPLES = 5  # places that a report names for each kind


class Report:
    """Counts of every kind of dirt in one split, and the first places it was found."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.entries = 0

    def add(self, kind: str, where: str, number: int = 1) -> None:
        """Count `number` findings of `kind` (a key of TREATMENTS) at `where`."""
        if kind not in TREATMENTS:
            raise ValueError(f"unknown kind {kind!r}; it needs a line in TREATMENTS")
        if number:
            self.counts[kind] += number
            places = self.examples.setdefault(kind, [])
            if len(places) < _EXAMPLES:
                places.append(where)

    def merge(self, other: "Report") -> None:
        """Add the findings of another report."""
        self.entries += other.entries
        for kind, number in other.counts.items():
            places = self.examples.setdefault(kind, [])
            places.extend(other.examples[kind][: _EXAMPLES - len(places)])
            self.counts[kind] += number

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `Report.from_dict` is the inverse."""
        return {
            "entries": self.entries,
            "findings": {
                kind: {
                    "count": self.counts[kind],
                    "treatment": TREATMENTS[kind],
                    "examples": list(self.examples[kind]),
                }
                for kind in TREATMENTS
                if self.counts[kind]
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        report = cls()
        report.entries = int(fields["entries"])
        for kind, finding in fields["findings"].items():
            report.counts[kind] = int(finding["count"])
            report.examples[kind] = list(finding["examples"])
        return report

    def table(self, title: str) -> str:
        """The findings as lines to read."""
        if not self.counts:
            return f"{title}: {self.entries} entries, nothing to report"
        lines = [f"{title}: {self.entries} entries"]
        for kind, finding in self.to_dict()["findings"].items():
            lines.append(f"  {finding['count']:>7} {kind}: {finding['treatment']}")
            lines.append(f"          e.g. {finding['examples'][0]}")
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """What is left of an entry.

    Attributes:
      boxes: [n, 4] float32, (x1, y1, x2, y2), 0-based picture pixels, inside the picture.
      classes: [n] int64 object index.
      relations: [m, 3] int64 (human box, object box, verb index).
    """

    boxes: np.ndarray
    classes: np.ndarray
    relations: np.ndarray


def read_entries(path: str | Path) -> list[Any]:
    """The list in an annotation file, `.json`, `.json.gz` or `.jsonl`.

    Raises:
      UserError: the file is missing, not JSON, or not a list.
    """
    content = io.read_json(path, allow_nan=True)  # cleaning counts what is not finite
    if not isinstance(content, list):
        raise UserError(f"{path} holds a {type(content).__name__}, not a list of pictures")
    return content


def picture_name(entry: Any) -> str | None:
    """The entry's file name without stray white space; None if the entry is malformed."""
    if not isinstance(entry, Mapping):
        return None
    name = entry.get("file_name")
    boxes = entry.get("annotations", [])
    relations = entry.get("hoi_annotation", [])
    if not isinstance(name, str) or not name.strip():
        return None
    if not isinstance(boxes, list) or not isinstance(relations, list):
        return None
    return name.strip()


def annotated_size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) as the entry gives it, None where it doesn't."""
    try:
        width, height = int(entry["width"]), int(entry["height"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (width, height) if 0 < width < 2**31 and 0 < height < 2**31 else None


def clean(
    entry: Mapping[str, Any],
    vocabulary: Vocabulary,
    report: Report,
    *,
    one_based: bool = False,
    size: tuple[int, int] | None = None,
) -> Cleaned:
    """The usable part of an entry that `picture_name` accepts; every repair goes to `report`.

    Args:
      entry: PPDM's format.
      vocabulary: turns category ids into indices.
      report: takes the findings.
      one_based: the file's first pixel is (1, 1).
      size: (width, height) of the picture; None takes the annotation's, or clips nothing.
    """
    name = picture_name(entry)
    if name is None:
        raise ValueError(f"not an annotation entry: {entry!r:.200}")
    size = size or annotated_size(entry)
    objects = {category: index for index, category in enumerate(vocabulary.object_ids)}
    boxes, classes, kept = [], [], {}
    annotations = entry.get("annotations", [])
    for index, annotation in enumerate(annotations):
        where = f"{name}: box {index}"
        if isinstance(annotation, Mapping) and annotation.get("iscrowd"):
            report.add("crowd_region", where)
            continue
        box = _clean_box(annotation, one_based, size, report, where)
        if box is None:
            continue
        category = _read_id(annotation.get("category_id"), report, where)
        if category not in objects:
            report.add("unknown_category", f"{where}, {annotation.get('category_id')!r}")
            continue
        kept[index] = len(boxes)
        boxes.append(box)
        classes.append(objects[category])
    relations = _clean_relations(entry, vocabulary, report, name, kept, classes)
    report.entries += 1
    return Cleaned(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(relations, np.int64).reshape(-1, 3),
    )


def _clean_box(
    annotation: Any,
    one_based: bool,
    size: tuple[int, int] | None,
    report: Report,
    where: str,
) -> tuple[float, float, float, float] | None:
    """The box in 0-based pixels inside the picture, or None with the reason reported."""
    box = annotation.get("bbox") if isinstance(annotation, Mapping) else None
    if not is_box(box):
        report.add("box_malformed", f"{where}, {box!r:.80}")
        return None
    x1, y1, x2, y2 = (float(value) - (1.0 if one_based else 0.0) for value in box)
    if x2 <= x1 or y2 <= y1:
        report.add("box_without_area", f"{where}, {box}")
        return None
    if size is None:
        return x1, y1, x2, y2
    width, height = size
    clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        report.add("box_outside", f"{where}, {box} in {width} x {height}")
        return None
    if clipped != (x1, y1, x2, y2):
        report.add("box_clipped", f"{where}, {box} in {width} x {height}")
    return clipped


def _clean_relations(
    entry: Mapping[str, Any],
    vocabulary: Vocabulary,
    report: Report,
    name: str,
    kept: Mapping[int, int],
    classes: list[int],
) -> list[tuple[int, int, int]]:
    """(human, object, verb) triples over the kept boxes; `kept` maps old box indices to new."""
    verbs = {category: index for index, category in enumerate(vocabulary.verb_ids)}
    pairs = set(vocabulary.classes)
    number = len(entry.get("annotations", []))
    relations: dict[tuple[int, int, int], None] = {}
    for index, relation in enumerate(entry.get("hoi_annotation", [])):
        where = f"{name}: relation {index}"
        fields = relation if isinstance(relation, Mapping) else {}
        keys = ("subject_id", "object_id", "category_id")
        human, thing, category = (_read_id(fields.get(key), report, where) for key in keys)
        if human is None or category is None or (thing is None and "object_id" in fields):
            report.add("relation_malformed", f"{where}, {relation!r:.80}")
            continue
        if thing is None or thing == -1:
            report.add("relation_without_object", where)
            continue
        if not (0 <= human < number and 0 <= thing < number):
            report.add("relation_nowhere", f"{where}, {human} -> {thing} of {number} boxes")
            continue
        if category not in verbs:
            report.add("unknown_verb", f"{where}, {fields.get('category_id')!r}")
            continue
        if human not in kept or thing not in kept:
            report.add("relation_lost_box", where)
            continue
        triple = (kept[human], kept[thing], verbs[category])
        if classes[triple[0]] != 0:
            report.add("subject_no_person", f"{where}, a {vocabulary.objects[classes[triple[0]]]}")
            continue
        if triple in relations:
            report.add("relation_twice", where)
            continue
        if (triple[2], classes[triple[1]]) not in pairs:
            phrase = vocabulary.verb_phrase(triple[2], classes[triple[1]])
            report.add("pair_no_class", f"{where}, {phrase}")
        relations[triple] = None
    return list(relations)


def evaluation_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as evaluators take it: boxes untouched, ids as numbers, no dangling relations.

    Ids that are no numbers become -1, which no vocabulary has; something that is no box at all
    becomes an empty one of that category. A relation that points at no box of the entry, or at
    none at all, is left out, since an evaluator could not place it.
    """
    silent = Report()
    boxes = []
    for box in entry.get("annotations", []):
        if isinstance(box, Mapping) and is_box(box.get("bbox")):
            boxes.append({**box, "category_id": _id_or(box.get("category_id"), silent)})
        else:
            boxes.append({"bbox": [0.0, 0.0, 0.0, 0.0], "category_id": -1})
    relations = []
    for relation in entry.get("hoi_annotation", []):
        fields = relation if isinstance(relation, Mapping) else {}
        ids = {
            key: _id_or(fields.get(key), silent)
            for key in ("subject_id", "object_id", "category_id")
        }
        if 0 <= ids["subject_id"] < len(boxes) and 0 <= ids["object_id"] < len(boxes):
            relations.append({**fields, **ids})
    return {
        **entry,
        "file_name": picture_name(entry),
        "annotations": boxes,
        "hoi_annotation": relations,
    }


def _id_or(value: Any, report: Report) -> int:
    number = _read_id(value, report, "")
    return -1 if number is None else number


def _read_id(value: Any, report: Report, where: str) -> int | None:
    """An id as a number; strings ("12\\n") are read and counted, anything else is None."""
    if isinstance(value, str):
        try:
            number = int(value.strip())
        except ValueError:
            return None
        report.add("string_id", f"{where}, {value!r}")
        return number
    if _is_number(value) and float(value).is_integer():
        return int(value)
    return None


def is_box(box: Any) -> bool:
    """Whether it is a list of four finite numbers."""
    return isinstance(box, list | tuple) and len(box) == 4 and all(_is_number(v) for v in box)


def _is_number(value: Any) -> bool:
    """Whether it is finite, and small enough for float64 to tell it from its neighbours."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
