"""Annotation entries as they stand in a file -> flat arrays, to see what they can be."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import annotations

UNKNOWN = -(1 << 62)
"""An id that no vocabulary has."""
FEW = 3
"""Boxes or relations that don't fit, by which a format that most fit is not doubted."""
RESCUES = 0.95
"""Share that another format must make fit to be named."""
ACCEPT = "--config.data.accept_losses=True trains on what is left"
"""What messages about losses end with."""


class Columns(NamedTuple):
    """n boxes and m relations (with an object) of a file, as they stand in it.

    Attributes:
        boxes: [n, 4]; NaN where there is no box of four numbers.
        category: [n] ids.
        size: [n, 2] width and height of the box's image; NaN where that is not known.
        key: [n] `id` of the box's own, as COCO has it.
        subject, object, verb: [m] ids.
        first, number: [m] row of the first box of the relation's entry; number of its boxes.
        names: an example of a category that is a text, by what it is of; empty where most are ids.
        malformed: an example of a box that is not four finite numbers; '' without any.
    """

    boxes: np.ndarray
    category: np.ndarray
    size: np.ndarray
    key: np.ndarray
    subject: np.ndarray
    object: np.ndarray
    verb: np.ndarray
    first: np.ndarray
    number: np.ndarray
    names: Mapping[str, str]
    malformed: str


def read_columns(
    entries: Iterable[Mapping[str, Any]], sizes: Mapping[str, tuple[int, int]]
) -> Columns:
    """The columns of PPDM-format entries; malformed ones are passed over.

    Args:
        entries: of a file or a split.
        sizes: {file name: (width, height)}, which counts before what an entry says.
    """
    corners, image_sizes = array("d"), array("d")
    category, key, subject, obj, verb, first, number = (array("q") for _ in range(7))
    texts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    malformed = ""

    def read(item: Mapping[str, Any], field: str, what: str) -> int:
        value = item.get(field)
        if type(value) is int and UNKNOWN < value < -UNKNOWN:  # nearly always
            return value
        found = annotations.read_id(value)
        if found is None and isinstance(value, str) and what:
            texts[what] += 1
            examples.setdefault(what, value)
        return UNKNOWN if found is None or abs(found) >= -UNKNOWN else found

    for entry in entries:
        name = annotations.image_name(entry)
        if name is None:
            continue
        size = sizes.get(name) or annotations.annotated_size(entry) or (np.nan, np.nan)
        start = len(category)
        boxes = entry.get("annotations", [])
        for item in boxes:
            item = item if isinstance(item, Mapping) else {}
            box = item.get("bbox")
            if annotations.is_box(box):
                corners.extend(map(float, box))
            else:
                corners.extend((np.nan,) * 4)
                malformed = malformed or f"{box!r:.60}"
            image_sizes.extend(size)
            category.append(read(item, "category_id", "object"))
            key.append(read(item, "id", ""))
        for item in entry.get("hoi_annotation", []):
            if not isinstance(item, Mapping) or "object_id" not in item:
                continue
            target = read(item, "object_id", "")
            if target == -1:
                continue  # an action without an object
            subject.append(read(item, "subject_id", ""))
            obj.append(target)
            verb.append(read(item, "category_id", "verb"))
            first.append(start)
            number.append(len(boxes))
    counts = {"object": len(category), "verb": len(verb)}
    named = {what: examples[what] for what, n in texts.items() if 2 * n > counts[what]}
    return Columns(
        np.array(corners).reshape(-1, 4),
        np.array(category, np.int64),
        np.array(image_sizes).reshape(-1, 2),
        np.array(key, np.int64),
        subject=np.array(subject, np.int64),
        object=np.array(obj, np.int64),
        verb=np.array(verb, np.int64),
        first=np.array(first, np.int64),
        number=np.array(number, np.int64),
        names=named,
        malformed=malformed,
    )


def lookup(ids: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Index of each id, -1 where it is unknown."""
    known, where = np.unique(ids, return_inverse=True)
    return np.array([table.get(number, -1) for number in known.tolist()], np.int64)[where]
