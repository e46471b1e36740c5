"""PPDM-format annotation entries -> boxes, classes and relations one can train on.

An entry is PPDM's: `file_name`, `annotations` (`bbox`, `category_id`) and `hoi_annotation`
(`subject_id`, `object_id`, `category_id`), with `width` and `height` where the file has them.

Pixel convention: the pixel (0, 0) of the image lies at the coordinate (0, 0), with no half-pixel
term, and a box is (x1, y1, x2, y2) in the image's own pixels. Files that count from 1 are shifted
by one on all four numbers; COCO's floats (x2 = x + width) stay as they are. Boxes are clipped to
[0, width] x [0, height].

Malformed annotations are treated and counted as `report.KINDS` says. Evaluation never sees cleaned
boxes: it reads `evaluation_entry`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from data_pipelines import keys
from data_pipelines.entries import Entries
from data_pipelines.report import Report
from ggnet_jax import io, key_names
from ggnet_jax.evaluation.formats import annotation_entries
from ggnet_jax.vocabularies import Vocabulary

_IDS = ("subject_id", "object_id", "category_id")


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """What is left of an entry.

    Attributes:
        boxes: [n, 4] float32, (x1, y1, x2, y2), 0-based image pixels, inside the image.
        classes: [n] int64 object index.
        relations: [m, 3] int64 (human box, object box, verb index).
    """

    boxes: np.ndarray
    classes: np.ndarray
    relations: np.ndarray


def read_entries(path: str | Path) -> Entries:
    """The list in an annotation file, `.json`, `.json.gz` or `.jsonl`; or pocket's, as entries.

    Raises:
        UserError: the file is missing, not JSON, not a list of entries, or most of them lack a key.
    """
    reader = io.JsonReader(path, allow_nan=True)  # cleaning counts what is not finite
    if reader.peek() != "[" or Path(path).name.removesuffix(".gz").endswith(".jsonl"):
        content = annotation_entries(io.read_json(path, allow_nan=True))
        return Entries(keys.check_list(content, path))
    entries = Entries(reader.items())
    reader.end()
    keys.check_list(entries, path)
    return entries


def image_name(entry: Any) -> str | None:
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
    """The usable part of an entry that `image_name` accepts; every repair goes to `report`.

    Args:
        entry: PPDM's format.
        vocabulary: turns category ids into indices.
        report: takes the findings.
        one_based: the file's first pixel is (1, 1).
        size: (width, height) of the image; None takes the annotation's, or clips nothing.
    """
    name = image_name(entry)
    if name is None:
        raise ValueError(f"not an annotation entry: {entry!r:.200}")
    size = size or annotated_size(entry)
    for key in ("annotations", "hoi_annotation"):
        if key not in entry:
            report.add("list_missing", f"{name}: {key_names.missing_key(entry, key)}")
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
        category = _count_id(annotation.get("category_id"), report, where)
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
    """The box in 0-based pixels inside the image, or None with the reason reported."""
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
        human, obj, category = (_count_id(fields.get(key), report, where) for key in _IDS)
        if human is None or category is None or (obj is None and "object_id" in fields):
            report.add("relation_malformed", f"{where}, {relation!r:.80}")
            continue
        if obj is None or obj == -1:
            report.add("relation_without_object", where)
            continue
        if not (0 <= human < number and 0 <= obj < number):
            report.add("relation_nowhere", f"{where}, boxes {human} and {obj} of {number}")
            continue
        if category not in verbs:
            report.add("unknown_verb", f"{where}, {fields.get('category_id')!r}")
            continue
        if human not in kept or obj not in kept:
            report.add("relation_lost_box", where)
            continue
        triple = (kept[human], kept[obj], verbs[category])
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

    Ids that are not numbers become -1, which no vocabulary has; something that is not a box at all
    becomes an empty one of that category. A relation that points at no box of the entry, or at
    none at all, is left out, since an evaluator could not place it.
    """
    boxes = []
    for box in entry.get("annotations", []):
        if isinstance(box, Mapping) and is_box(box.get("bbox")):
            boxes.append({**box, "category_id": _id_or_minus_one(box.get("category_id"))})
        else:
            boxes.append({"bbox": [0.0, 0.0, 0.0, 0.0], "category_id": -1})
    relations = []
    for relation in entry.get("hoi_annotation", []):
        fields = relation if isinstance(relation, Mapping) else {}
        ids = {key: _id_or_minus_one(fields.get(key)) for key in _IDS}
        if 0 <= ids["subject_id"] < len(boxes) and 0 <= ids["object_id"] < len(boxes):
            relations.append({**fields, **ids})
    return {
        **entry,
        "file_name": image_name(entry),
        "annotations": boxes,
        "hoi_annotation": relations,
    }


def _id_or_minus_one(value: Any) -> int:
    """An id as a number, -1 for what is not an id."""
    number = read_id(value)
    return -1 if number is None else number


def _count_id(value: Any, report: Report, where: str) -> int | None:
    """`read_id`; ids in quotes are counted."""
    number = read_id(value)
    if isinstance(value, str) and number is not None:
        report.add("string_id", f"{where}, {value!r}")
    return number


def read_id(value: Any) -> int | None:
    """An id as a number, also from a string ("12\\n"); None for anything else."""
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            return None
    return int(value) if _is_number(value) and float(value).is_integer() else None


def is_box(box: Any) -> TypeGuard[Sequence[float]]:
    """Whether it is a list of four finite numbers."""
    return isinstance(box, list | tuple) and len(box) == 4 and all(_is_number(v) for v in box)


def _is_number(value: Any) -> bool:
    """Whether it is finite, and small enough for float64 to tell it from its neighbors."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
