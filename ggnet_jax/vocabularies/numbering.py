"""Which numbering the ids of a file are in: do its (verb, object) pairs make classes?

Files of the same name and shape number verbs and objects differently. V-COCO in PPDM's format
numbers its 29 verb-roles as PPDM does or, as QPIC's converter and those after it write it, in the
order of V-COCO's own (VSRL) file; objects are numbered by COCO's 91 ids, by 0..79 or by 1..80. Read
in the wrong numbering nearly every pair is still a verb with an object, but hardly one in ten is a
class of the data set, whereas in the right one nearly all are. (Small files of few verbs can fit
two; then the vocabulary's own numbering counts.)

    pairs = Counter({(verb id, object id): number of pairs})
    numbering = recognize(pairs, vocabulary)
    if numbering.problem:  # ground truth that fits nothing, or a numbering that isn't converted
        raise UserError(f"{path}: {numbering.problem}")
    if numbering.note:
        print(f"{path}: {numbering.note}")
    verb_ids = numbering.convert(verb_ids)  # of an array; the object ids are the vocabulary's
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ggnet_jax import io
from ggnet_jax.vocabularies.shipped import load, path_of
from ggnet_jax.vocabularies.vocabulary import Vocabulary

FITS = 0.9
"""The share of pairs that are classes from which a numbering is taken for the file's."""
_CLEARLY_MORE = 5  # pairs that another numbering must explain where most are classes as they are
_FEWEST_PREDICTED = 3  # kinds of pairs from which predictions can tell a numbering
_OWN = "the vocabulary's ids"

Table = Mapping[int, int]  # id in the file -> index in the vocabulary


@dataclasses.dataclass(frozen=True)
class Numbering:
    """How a file's ids are to be read.

    Attributes:
        verbs: {verb id of the file: verb id of the vocabulary}; None where they are the same.
        note: one line on the numbering that was taken; '' where the vocabulary knows only one.
        problem: one line on why the file can't be read as it is, with the likeliest cause; ''
            where it can.
        fit: the share of pairs that are classes in the numbering that was taken; 1 of no pairs.
    """

    verbs: Mapping[int, int] | None = None
    note: str = ""
    problem: str = ""
    fit: float = 1.0

    def convert(self, verb_ids: np.ndarray) -> np.ndarray:
        """Verb ids of the file -> the vocabulary's; an id without a counterpart becomes -1."""
        if self.verbs is None:
            return verb_ids
        known, where = np.unique(verb_ids, return_inverse=True)
        converted = [self.verbs.get(number, -1) for number in known.tolist()]
        return np.array(converted, verb_ids.dtype)[where].reshape(verb_ids.shape)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A numbering that a file may be in.

    Attributes:
        name: what "verb ids are ..." goes on with.
        table: {id in the file: index in the vocabulary}.
        verbs: as `Numbering.verbs`, of a numbering that is converted.
    """

    name: str
    table: Table
    verbs: Mapping[int, int] | None = None


def recognize(
    pairs: Mapping[tuple[int, int], float], vocabulary: Vocabulary, *, predicted: bool = False
) -> Numbering:
    """The numbering in which a file's pairs are classes.

    The vocabulary's own is taken where it fits. Else V-COCO's verbs in VSRL's order are taken, and
    said; any other numbering that would fit (ids off by one, counted from 0 or 1, alphabetical,
    class ids; the same of objects) is named as the problem, and so is that none does.

    Args:
        pairs: {(verb id, object id): weight}; all ids as they are in the file, those of pairs
            whose object is no box of the file left out. The weight is the number of pairs in
            annotations; in predictions the sum of scores, squared where every verb has one.
        vocabulary: with the classes; without any, nothing can be told.
        predicted: the pairs are predictions, of which any may be wrong: another numbering must
            fit much better than the own, and nothing but that is a problem.
    """
    if not pairs or not vocabulary.classes:
        return Numbering()
    columns = _columns(pairs)
    total = float(columns[2].sum())
    if total <= 0:
        return Numbering()
    verbs, objects = list(verb_readings(vocabulary)), list(object_readings(vocabulary))
    own, other = (_weight(columns, vocabulary, verb, objects[0]) for verb in verbs[:2])
    single = verbs[1].verbs is None
    taken = "" if single else f"verb ids are read as PPDM's: {_share(own, total)} are classes"
    if taken and other >= FITS * total:
        taken += f", and {_share(other, total)} would be in VSRL's order; these pairs don't tell"
    if own >= FITS * total:
        return Numbering(note=taken, fit=own / total)
    found = [
        (_weight(columns, vocabulary, verb, obj), verb, obj) for verb in verbs for obj in objects
    ]
    best, verb, obj = max(found, key=lambda one: one[0])  # the first of equals
    if predicted:
        kinds = _weight((*columns[:2], np.ones(len(pairs))), vocabulary, verb, obj)
        clear = best >= 0.5 * total and best >= 3 * own and kinds >= _FEWEST_PREDICTED
    else:
        clear = best >= FITS * total and (2 * own < total or best - own >= _CLEARLY_MORE)
    if clear and verb.verbs and obj is objects[0]:
        note = (
            f"verb ids are {verb.name} and are converted to PPDM's: {_share(best, total)} are "
            f"classes so, {_share(own, total)} as they stand"
        )
        return Numbering(verb.verbs, note, fit=best / total)
    problem = f"only {_share(own, total)} are classes of {vocabulary.name!r}"
    if clear:
        likely = [
            f"{what} ids are {one.name}"
            for what, one, first in (("verb", verb, verbs[0]), ("object", obj, objects[0]))
            if one is not first
        ]
        problem += f"; {_share(best, total)} would be if {' and '.join(likely)}: convert the ids"
        return Numbering(note=taken, problem=problem, fit=own / total)
    if not predicted and 2 * own < total:
        others = "" if single else ", as PPDM's ids or in VSRL's order"
        problem += f"{others}: check that verb and object ids are numbered as in the vocabulary"
        return Numbering(note=taken, problem=problem, fit=own / total)
    return Numbering(note=taken, fit=own / total)


def _columns(pairs: Mapping[tuple[int, int], float]) -> tuple[list[int], list[int], np.ndarray]:
    """Verb id, object id and weight of every kind of pair."""
    verbs, objects = zip(*pairs, strict=True)
    return list(verbs), list(objects), np.array(list(pairs.values()), np.float64)


def _weight(
    columns: tuple[Sequence[int], Sequence[int], np.ndarray],
    vocabulary: Vocabulary,
    verbs: Reading,
    objects: Reading,
) -> float:
    """The weight of the pairs that are classes in a numbering."""
    verb = np.array([verbs.table.get(number, -1) for number in columns[0]])
    obj = np.array([objects.table.get(number, -1) for number in columns[1]])
    right = (verb >= 0) & (obj >= 0) & vocabulary.valid_pairs[verb, obj]
    return float(columns[2][right].sum())


def _share(part: float, total: float) -> str:
    """'10 of 23 pairs', or in percent where pairs are weighted."""
    if part.is_integer() and total.is_integer():
        return f"{part:.0f} of {total:.0f} pairs"
    return f"{part / total:.0%} of the pairs"


def verb_readings(vocabulary: Vocabulary) -> Iterator[Reading]:
    """The own numbering, then those that it may be taken for."""
    yield Reading(_OWN, _table(vocabulary.verb_ids))
    for name, ids in _orders(vocabulary).items():
        index = _table(vocabulary.verb_ids)
        yield Reading(
            f"in {name} (as QPIC's converter writes V-COCO)",
            {number: index[own] for number, own in ids.items() if own in index},
            ids,
        )
        shifted = {number + 1: index[own] for number, own in ids.items() if own in index}
        yield Reading(f"in {name}, counted from 1", shifted)
    yield from _counted(vocabulary.verbs, vocabulary.verb_ids)
    for first in (0, 1):
        classes = {number: verb for number, (verb, _) in enumerate(vocabulary.classes, first)}
        yield Reading(f"ids of classes (pairs), counted from {first}", classes)


def object_readings(vocabulary: Vocabulary) -> Iterator[Reading]:
    """The own numbering, then those that it may be taken for."""
    yield Reading(_OWN, _table(vocabulary.object_ids))
    yield from _counted(vocabulary.objects, vocabulary.object_ids)


def _counted(names: Sequence[str], ids: Sequence[int]) -> Iterator[Reading]:
    """Numberings of any list of names."""
    for first in (0, 1):
        last = first + len(names) - 1
        table = _table(range(first, last + 1))
        yield Reading(f"{first} to {last} in the vocabulary's order", table)
    yield Reading("one too low", _table([number - 1 for number in ids]))
    yield Reading("one too high", _table([number + 1 for number in ids]))
    alphabet = sorted(range(len(names)), key=names.__getitem__)
    for first in (0, 1):
        last = first + len(names) - 1
        table = {number: index for number, index in enumerate(alphabet, first)}
        yield Reading(f"{first} to {last} in alphabetical order", table)


def _table(ids: Sequence[int]) -> Table:
    return {number: index for index, number in enumerate(ids)}


def _orders(vocabulary: Vocabulary) -> Mapping[str, Mapping[int, int]]:
    """{order of verbs in use: {verb id: verb id of the vocabulary}}, without its own."""
    known = load("v_coco")
    same = (vocabulary.verbs, vocabulary.verb_ids) == (known.verbs, known.verb_ids)
    return {"VSRL's order": _vsrl_order()} if same else {}


@functools.cache
def _vsrl_order() -> Mapping[int, int]:
    """V-COCO's verb-roles as VSRL files list them -> PPDM's ids."""
    fields, vocabulary = io.read_json(path_of("v_coco")), load("v_coco")
    ids = dict(zip(vocabulary.verbs, vocabulary.verb_ids, strict=True))
    ids |= fields["verbs_without_object"]
    return {number: ids[name] for number, name in enumerate(fields["vsrl_order"])}
