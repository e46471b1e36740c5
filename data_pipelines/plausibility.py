"""Whether annotations are what they are taken for, or a split would be trained on nothing.

Cleaning repairs or drops what is malformed here and there. If instead most of a file is lost, the
file says something else than it is read as: boxes as x, y, width, height, indices from 1, subjects
and objects exchanged, ids numbered otherwise. Each of these is tried, and one that makes everything
fit is named.

No box, no relation or no class left is an error, and so are coordinates that are all within 0..1.
Most of the boxes or relations lost, or a clear sign of another format, is one that
`config.data.accept_losses=True` lets through.
"""

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import annotations
from data_pipelines.statistics import Statistics
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies.numbering import (
    FITS,
    Numbering,
    Reading,
    object_readings,
    recognize,
    verb_readings,
)

_UNKNOWN = -(1 << 62)  # an id that no vocabulary has
_MARGIN = 2.0  # pixels that a box may reach beyond its image
_FEW = 3  # boxes or relations that don't fit, by which a format that most fit is not doubted
_RESCUES = 0.95  # share that another format must make fit to be named
_ACCEPT = "--config.data.accept_losses=True trains on what is left"


class _Columns(NamedTuple):
    """n boxes and m relations (with an object) of a file, as they stand in it.

    Attributes:
        boxes: [n, 4]; NaN where there is no box of four numbers.
        category: [n] ids.
        size: [n, 2] width and height of the box's image; NaN where that is not known.
        key: [n] `id` of the box's own, as COCO has it.
        subject, object, verb: [m] ids.
        first, number: [m] row of the first box of the relation's entry; number of its boxes.
        names: an example of a category that is a text, by what it is of; empty where most are ids.
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


# Each turns [n, 4] numbers and [n, 2] image sizes into corners.
_FORMATS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "x, y, width, height": lambda b, _: np.c_[b[:, :2], b[:, :2] + b[:, 2:]],
    "center x, center y, width, height": lambda b, _: np.c_[
        b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    ],
    "y1, x1, y2, x2": lambda b, _: b[:, [1, 0, 3, 2]],
    "y, x, height, width": lambda b, _: np.c_[b[:, [1, 0]], b[:, [1, 0]] + b[:, [3, 2]]],
    "x1, x2, y1, y2": lambda b, _: b[:, [0, 2, 1, 3]],
    "y1, y2, x1, x2": lambda b, _: b[:, [2, 0, 3, 1]],
    "x2, y2, x1, y1": lambda b, _: b[:, [2, 3, 0, 1]],
    "x1, y1, x2, y2 in thousandths of the image's size": lambda b, s: b * np.c_[s, s] / 1000,
    "y1, x1, y2, x2 in thousandths of the image's size": lambda b, s: (
        b[:, [1, 0, 3, 2]] * np.c_[s, s] / 1000
    ),
}


def check(
    entries: Iterable[Mapping[str, Any]],
    vocabulary: Vocabulary,
    where: str,
    *,
    accept_losses: bool = False,
) -> Numbering:
    """Stop if a file's annotations can't be what they are read as.

    Args:
        entries: PPDM's format; malformed ones are passed over.
        vocabulary: with the ids and, unless they are computed from these entries, the classes.
        where: the file, which messages begin with.
        accept_losses: train on what is left of a file that is mostly lost.

    Returns:
        The numbering of its ids; `renumbered` converts entries from it.

    Raises:
        UserError: as the module says.
    """
    columns = _read(entries, {})
    _check_names(columns, vocabulary, where)
    _check_units(columns, where)
    _check_boxes(columns, where, accept_losses)
    numbering = _check_relations(columns, vocabulary, where, accept_losses)
    _check_categories(columns, vocabulary, where, accept_losses)
    return numbering


def check_built(
    entries: Iterable[Mapping[str, Any]],
    statistics: Statistics,
    where: str,
    sizes: Mapping[str, tuple[int, int]],
    *,
    trained: bool,
    accept_losses: bool = False,
) -> None:
    """Stop if boxes can't be what they are read as, now that the images' sizes are known.

    Args:
        entries: PPDM's format; those of images without a size are passed over.
        statistics: of what is left of them.
        where: the split, which messages begin with.
        sizes: {file name: (width, height)}.
        trained: the split is trained on, and therefore needs a relation.
        accept_losses: see `check`.

    Raises:
        UserError: as the module says.
    """
    columns = _read((e for e in entries if annotations.image_name(e) in sizes), sizes)
    _check_units(columns, where)
    _check_boxes(columns, where, accept_losses)
    if not statistics.pairs and (trained or len(columns.verb)):
        raise UserError(
            f"{where}: of {len(columns.verb)} relations with an object in {len(sizes)} images none "
            "is left; see the data report above"
        )


def renumbered(entries: Iterable[Any], numbering: Numbering) -> list[Any]:
    """The entries with the vocabulary's verb ids; the same ones where these are theirs."""
    verbs = numbering.verbs
    if verbs is None:
        return list(entries)

    def convert(relation: Any) -> Any:
        if not isinstance(relation, Mapping):
            return relation
        verb = annotations.read_id(relation.get("category_id"))
        if verb is None or verb not in verbs:
            return relation
        return {**relation, "category_id": verbs[verb]}

    return [
        {**entry, "hoi_annotation": [convert(one) for one in entry.get("hoi_annotation", [])]}
        if annotations.image_name(entry)
        else entry
        for entry in entries
    ]


def _read(entries: Iterable[Mapping[str, Any]], sizes: Mapping[str, tuple[int, int]]) -> _Columns:
    corners, image_sizes = array("d"), array("d")
    category, key, subject, obj, verb, first, number = (array("q") for _ in range(7))
    texts: Counter[str] = Counter()
    examples: dict[str, str] = {}

    def read(item: Any, field: str, what: str) -> int:
        value = item.get(field) if isinstance(item, Mapping) else None
        found = annotations.read_id(value)
        if found is None and isinstance(value, str) and what:
            texts[what] += 1
            examples.setdefault(what, value)
        return _UNKNOWN if found is None or abs(found) >= -_UNKNOWN else found

    for entry in entries:
        name = annotations.image_name(entry)
        if name is None:
            continue
        size = sizes.get(name) or annotations.annotated_size(entry) or (np.nan, np.nan)
        start = len(category)
        boxes = entry.get("annotations", [])
        for item in boxes:
            box = item.get("bbox") if isinstance(item, Mapping) else None
            corners.extend(map(float, box) if annotations.is_box(box) else (np.nan,) * 4)
            image_sizes.extend(size)
            category.append(read(item, "category_id", "object"))
            key.append(read(item, "id", ""))
        for item in entry.get("hoi_annotation", []):
            target = read(item, "object_id", "")
            if target in (-1, _UNKNOWN):
                continue  # an action without an object, or malformed
            subject.append(read(item, "subject_id", ""))
            obj.append(target)
            verb.append(read(item, "category_id", "verb"))
            first.append(start)
            number.append(len(boxes))
    counts = {"object": len(category), "verb": len(verb)}
    named = {what: examples[what] for what, n in texts.items() if 2 * n > counts[what]}
    return _Columns(
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
    )


def _check_names(columns: _Columns, vocabulary: Vocabulary, where: str) -> None:
    for what, name in columns.names.items():
        field, ids, names = (
            ("annotations", vocabulary.object_ids, vocabulary.objects)
            if what == "object"
            else ("hoi_annotation", vocabulary.verb_ids, vocabulary.verbs)
        )
        known = ", ".join(
            f"{i} ({n})" for i, n in itertools.islice(zip(ids, names, strict=True), 3)
        )
        raise UserError(
            f"{where}: most category_id in {field!r} are names such as {name!r:.40}; they must be "
            f"the ids of {vocabulary.name!r}, {known} and so on"
        )


def _check_units(columns: _Columns, where: str) -> None:
    boxes = columns.boxes[np.isfinite(columns.boxes).all(axis=1) & columns.boxes.any(axis=1)]
    unit = (abs(boxes) <= 1.05).all(axis=1)
    if 2 * unit.sum() > len(boxes):
        raise UserError(
            f"{where}: the coordinates of {unit.sum()} of {len(boxes)} boxes are all within 0..1, "
            "as if they were divided by the image's size; bbox is x1, y1, x2, y2 in pixels"
        )
    known = np.isfinite(columns.boxes).all(axis=1) & np.isfinite(columns.size).all(axis=1)
    boxes, size = columns.boxes[known], columns.size[known]
    large = len(boxes) >= 10 and (size >= 200).all(axis=1).mean() > FITS
    if large and 50 < boxes.max() <= 100.5 and boxes.min() >= 0:
        raise UserError(
            f"{where}: the coordinates of all {len(boxes)} boxes are within 0..100 in images of "
            f"{np.median(size):.0f} pixels a side, as if they were percent; bbox is x1, y1, x2, y2 "
            "in pixels"
        )


def _check_boxes(columns: _Columns, where: str, accept_losses: bool) -> None:
    number = len(columns.boxes)
    if not number:
        return
    boxes, size = columns.boxes, columns.size
    fits = _fits(boxes, size)
    with np.errstate(invalid="ignore"):
        flat = ~((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        outside = ((boxes[:, 2:] <= 0) | (boxes[:, :2] >= size)).any(axis=1) & ~flat
    lost = int((flat | outside).sum())
    misfits = number - int(fits.sum())
    doubtful = misfits >= _FEW and misfits > (1 - FITS) * number
    if 2 * lost <= number and not doubtful:
        return
    found = {name: _fits(corners(boxes, size), size).sum() for name, corners in _FORMATS.items()}
    rescued = max(found.values())
    told = [f"{flat.sum()} have no area"] if flat.any() else []
    if misfits > flat.sum():
        told.append(f"{misfits - flat.sum()} reach beyond their image")
    message = f"{where}: of {number} boxes {' and '.join(told)}"
    if rescued >= _RESCUES * number:
        causes = [name for name, count in found.items() if count == rescued]
        every = "all" if rescued == number else f"{rescued}"
        message += f"; as {_either(causes)} {every} would fit, but bbox is x1, y1, x2, y2 in pixels"
    elif 2 * lost <= number:
        return
    else:
        message += f"; {lost} would be left out. bbox is x1, y1, x2, y2 in pixels of the image"
    if lost < number:
        if accept_losses:
            return
        message += f"; {_ACCEPT}"
    raise UserError(message)


def _either(causes: list[str]) -> str:
    """The likeliest of several, and those others that have x before y."""
    others = [name for name in causes[1:] if name.startswith(("x", "center"))]
    return f"{causes[0]} (or {' or '.join(others)})" if others else causes[0]


def _fits(corners: np.ndarray, size: np.ndarray) -> Any:
    """[n] bool: whether boxes have an area and lie in their image, as far as its size is known."""
    with np.errstate(invalid="ignore"):
        beyond = (corners[:, 2:] > size + _MARGIN) | (corners[:, :2] < -_MARGIN)
        return np.all((corners[:, 2:] > corners[:, :2]) & ~beyond, axis=1)


class _Pointers(NamedTuple):
    """A way to find the boxes of relations.

    Attributes:
        name: the clause after "if"; '' of PPDM's way.
        human, object: [m] rows of the boxes, -1 where there is none.
    """

    name: str
    human: np.ndarray
    object: np.ndarray


class _Way(NamedTuple):
    """A way to read relations."""

    pointers: _Pointers
    verbs: Reading
    objects: Reading


def _check_relations(
    columns: _Columns, vocabulary: Vocabulary, where: str, accept_losses: bool
) -> Numbering:
    number = len(columns.verb)
    if not number:
        return Numbering()
    pointers = _pointers(columns)
    numbering = recognize(_pairs(columns, pointers[0]), vocabulary)
    verbs, objects = list(verb_readings(vocabulary)), list(object_readings(vocabulary))
    own = next((verb for verb in verbs if verb.verbs == numbering.verbs), verbs[0])
    usual = _Way(pointers[0], own, objects[0])
    good = _count_good(columns, vocabulary, usual)
    doubtful = number - good >= _FEW and good < FITS * number
    if 2 * good >= number and not doubtful and not numbering.problem:
        return numbering

    def changes(way: _Way) -> list[str]:
        clauses = ("", "verb ids are ", "object ids are ")
        three = zip(clauses, way, usual, strict=True)
        return [clause + one.name for clause, one, same in three if one is not same]

    ways = sorted(map(_Way._make, itertools.product(pointers, verbs, objects)), key=_order(usual))
    best = max(ways, key=lambda way: _count_good(columns, vocabulary, way))  # first of equals
    rescued = _count_good(columns, vocabulary, best)
    kept = _count_good(columns, vocabulary, usual, classes=False)
    if changes(best) and rescued >= FITS * number:
        every = "all" if rescued == number else f"{rescued}"
        message = (
            f"{where}: {good} of {number} relations are of a person, a known verb and a known "
            f"object; {every} would be if {' and '.join(changes(best))}"
        )
    elif numbering.problem:
        message = f"{where}: {numbering.problem}"
    elif 2 * kept >= number:
        return numbering
    else:
        message = f"{where}: {_losses(columns, vocabulary, usual, number)}"
    if kept:
        if accept_losses:
            return numbering
        message += f"; {_ACCEPT}"
    raise UserError(message)


def _order(usual: _Way) -> Callable[[_Way], tuple[int, bool]]:
    """Likelier ways first: few changes, and rather in how boxes are counted than in ids."""

    def order(way: _Way) -> tuple[int, bool]:
        changes = sum(one is not same for one, same in zip(way, usual, strict=True))
        return changes, way.pointers is usual.pointers

    return order


def _pointers(columns: _Columns) -> list[_Pointers]:
    """How relations point at boxes, then how else they may."""

    def rows(index: np.ndarray, start: int) -> np.ndarray:
        inside = (index >= start) & (index < columns.number + start)
        return np.where(inside, columns.first + index - start, -1)

    subject, obj = columns.subject, columns.object
    found = [_Pointers("", rows(subject, 0), rows(obj, 0))]
    for start, human, target, what in (
        (1, subject, obj, "count the entry's boxes from 1, not 0"),
        (0, obj, subject, "are exchanged"),
        (1, obj, subject, "are exchanged and count the entry's boxes from 1, not 0"),
    ):
        name = f"subject_id and object_id {what}"
        found.append(_Pointers(name, rows(human, start), rows(target, start)))
    keys, first_row = np.unique(columns.key, return_index=True)
    if len(keys) == len(columns.key) > 1 and columns.key.min() > _UNKNOWN:

        def of_key(index: np.ndarray) -> np.ndarray:
            at = np.minimum(np.searchsorted(keys, index), len(keys) - 1)
            return np.where(keys[at] == index, first_row[at], -1)

        name = "subject_id and object_id are the boxes' own 'id', not indices"
        found.append(_Pointers(name, of_key(subject), of_key(obj)))
    return found


def _pairs(columns: _Columns, pointers: _Pointers) -> Counter[tuple[int, int]]:
    """Number of relations of each (verb id, object id)."""
    there = pointers.object >= 0
    ids = columns.verb[there], columns.category[pointers.object[there]]
    return Counter(zip(*(part.tolist() for part in ids), strict=True))


def _parts(columns: _Columns, vocabulary: Vocabulary, way: _Way) -> dict[str, np.ndarray]:
    """[m] bool of each kind of loss, in this order: a relation's first one is the cause."""
    pointers = way.pointers
    nowhere = (pointers.human < 0) | (pointers.object < 0)
    objects = np.append(_lookup(columns.category, way.objects.table), -1)  # row -1 has none
    human, obj = objects[pointers.human], objects[pointers.object]
    verb = _lookup(columns.verb, way.verbs.table)
    return {
        "point at boxes that are not there": nowhere,
        "have an unknown verb": verb < 0,
        "have a box of an unknown object": (human < 0) | (obj < 0),
        "have a subject that is not a person": human > 0,
        "are no class": ~vocabulary.valid_pairs[verb, obj] & bool(vocabulary.classes),
    }


def _count_good(
    columns: _Columns, vocabulary: Vocabulary, way: _Way, *, classes: bool = True
) -> int:
    """Relations of a person with a known verb and object, and of a class if `classes`."""
    parts = list(_parts(columns, vocabulary, way).values())
    return int((~np.any(parts if classes else parts[:-1], axis=0)).sum())


def _losses(columns: _Columns, vocabulary: Vocabulary, way: _Way, number: int) -> str:
    """What is wrong with how many relations."""
    left, told = np.ones(number, bool), []
    for text, bad in list(_parts(columns, vocabulary, way).items())[:-1]:
        if (bad & left).any():
            told.append(f"{(bad & left).sum()} {text}")
        left &= ~bad
    return f"of {number} relations {' and '.join(told)}; only {left.sum()} can be trained on"


def _lookup(ids: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Index of each id, -1 where it is unknown."""
    known, where = np.unique(ids, return_inverse=True)
    return np.array([table.get(number, -1) for number in known.tolist()], np.int64)[where]


def _check_categories(
    columns: _Columns, vocabulary: Vocabulary, where: str, accept_losses: bool
) -> None:
    """Of boxes; those of relations have been seen before."""
    number = len(columns.category)
    readings = list(object_readings(vocabulary))
    known = [int((_lookup(columns.category, one.table) >= 0).sum()) for one in readings]
    if 2 * known[0] >= number:
        return
    unknown = [i for i in columns.category.tolist() if i not in readings[0].table]
    common = ", ".join(
        "none" if value == _UNKNOWN else str(value) for value, _ in Counter(unknown).most_common(5)
    )
    message = (
        f"{where}: of {number} boxes {number - known[0]} have a category_id that "
        f"{vocabulary.name!r} doesn't have ({common})"
    )
    best = int(np.argmax(known))
    if known[best] >= _RESCUES * number:
        message += f"; {known[best]} would be known if object ids are {readings[best].name}"
    if known[0]:
        if accept_losses:
            return
        message += f"; {_ACCEPT}"
    raise UserError(message)
