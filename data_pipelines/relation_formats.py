"""Whether relations are a person's with an object, and how else they can be meant if not."""

import itertools
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data_pipelines.raw_columns import ACCEPT, FEW, RESCUES, UNKNOWN, Columns, lookup
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


def check_names(columns: Columns, vocabulary: Vocabulary, where: str) -> None:
    """Raise a UserError where most category ids are names."""
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


def check_relations(
    columns: Columns, vocabulary: Vocabulary, where: str, accept_losses: bool
) -> Numbering:
    """The numbering of the ids; a UserError where most relations are lost, or meant otherwise.

    Losses that leave some relations are let through with `accept_losses`.
    """
    number = len(columns.verb)
    if not number:
        return Numbering()
    pointers = _pointers(columns)
    numbering = recognize(_pairs(columns, pointers[0]), vocabulary)
    verbs, objects = list(verb_readings(vocabulary)), list(object_readings(vocabulary))
    own = next((verb for verb in verbs if verb.verbs == numbering.verbs), verbs[0])
    usual = _Way(pointers[0], own, objects[0])
    good = _count_good(columns, vocabulary, usual)
    doubtful = number - good >= FEW and good < FITS * number
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
        message += f"; {ACCEPT}"
    raise UserError(message)


def _order(usual: _Way) -> Callable[[_Way], tuple[int, bool]]:
    """Likelier ways first: few changes, and rather in how boxes are counted than in ids."""

    def order(way: _Way) -> tuple[int, bool]:
        changes = sum(one is not same for one, same in zip(way, usual, strict=True))
        return changes, way.pointers is usual.pointers

    return order


def _pointers(columns: Columns) -> list[_Pointers]:
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
    if len(keys) == len(columns.key) > 1 and columns.key.min() > UNKNOWN:

        def of_key(index: np.ndarray) -> np.ndarray:
            at = np.minimum(np.searchsorted(keys, index), len(keys) - 1)
            return np.where(keys[at] == index, first_row[at], -1)

        name = "subject_id and object_id are the boxes' own 'id', not indices"
        found.append(_Pointers(name, of_key(subject), of_key(obj)))
    return found


def _pairs(columns: Columns, pointers: _Pointers) -> Counter[tuple[int, int]]:
    """Number of relations of each (verb id, object id)."""
    there = pointers.object >= 0
    ids = columns.verb[there], columns.category[pointers.object[there]]
    return Counter(zip(*(part.tolist() for part in ids), strict=True))


def _parts(columns: Columns, vocabulary: Vocabulary, way: _Way) -> dict[str, np.ndarray]:
    """[m] bool of each kind of loss, in this order: a relation's first one is the cause."""
    pointers = way.pointers
    nowhere = (pointers.human < 0) | (pointers.object < 0)
    objects = np.append(lookup(columns.category, way.objects.table), -1)  # row -1 has none
    human, obj = objects[pointers.human], objects[pointers.object]
    verb = lookup(columns.verb, way.verbs.table)
    return {
        "point at boxes that are not there": nowhere,
        "have an unknown verb": verb < 0,
        "have a box of an unknown object": (human < 0) | (obj < 0),
        "have a subject that is not a person": human > 0,
        "are no class": ~vocabulary.valid_pairs[verb, obj] & bool(vocabulary.classes),
    }


def _count_good(
    columns: Columns, vocabulary: Vocabulary, way: _Way, *, classes: bool = True
) -> int:
    """Relations of a person with a known verb and object, and of a class if `classes`."""
    parts = list(_parts(columns, vocabulary, way).values())
    return int((~np.any(parts if classes else parts[:-1], axis=0)).sum())


def _losses(columns: Columns, vocabulary: Vocabulary, way: _Way, number: int) -> str:
    """What is wrong with how many relations."""
    left, told = np.ones(number, bool), []
    for text, bad in list(_parts(columns, vocabulary, way).items())[:-1]:
        if (bad & left).any():
            told.append(f"{(bad & left).sum()} {text}")
        left &= ~bad
    return f"of {number} relations {' and '.join(told)}; only {left.sum()} can be trained on"


def check_categories(
    columns: Columns, vocabulary: Vocabulary, where: str, accept_losses: bool
) -> None:
    """Raise a UserError where most boxes are of an object that the vocabulary doesn't have."""
    number = len(columns.category)
    readings = list(object_readings(vocabulary))
    known = [int((lookup(columns.category, one.table) >= 0).sum()) for one in readings]
    if 2 * known[0] >= number:
        return
    unknown = [i for i in columns.category.tolist() if i not in readings[0].table]
    common = ", ".join(
        "none" if value == UNKNOWN else str(value) for value, _ in Counter(unknown).most_common(5)
    )
    message = (
        f"{where}: of {number} boxes {number - known[0]} have a category_id that "
        f"{vocabulary.name!r} doesn't have ({common})"
    )
    best = int(np.argmax(known))
    if known[best] >= RESCUES * number:
        message += f"; {known[best]} would be known if object ids are {readings[best].name}"
    if known[0]:
        if accept_losses:
            return
        message += f"; {ACCEPT}"
    raise UserError(message)
