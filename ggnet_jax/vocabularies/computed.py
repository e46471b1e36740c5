"""The vocabulary of anyone's own data, computed from its annotations."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies.vocabulary import Vocabulary

_PEOPLE = ("people", "persons", "human", "humans", "man", "pedestrian")


def from_annotations(
    entries: Iterable[Mapping[str, Any]],
    objects: Mapping[Any, str] | Sequence[str],
    verbs: Mapping[Any, str] | Sequence[str],
    *,
    name: str = "own",
    person: str = "person",
    evaluation_entries: Iterable[Mapping[str, Any]] = (),
    rare_below: int = 10,
) -> Vocabulary:
    """The vocabulary of anyone's own data: classes and rare flags come from its annotations.

    A class is a (verb, object) pair that occurs in the entries, ordered by verb, then object;
    it is rare if fewer than `rare_below` training relations have it. Relations that point nowhere
    or carry an id that is in neither list count for nothing.

    Args:
        entries: training annotation, PPDM's format.
        objects: {category_id: name}, or names alone for the ids 1, 2, ...; the person is moved to
            the front, the others keep their order.
        verbs: {category_id: name}, or names alone for the ids 1, 2, ....
        name: what the vocabulary is called.
        person: the name that the person has among the objects.
        evaluation_entries: annotation of other splits, whose pairs become classes too (rare ones).
        rare_below: the number of training relations from which a class is not rare.

    Raises:
        UserError: an id is not a number, or the person is not among the objects.
    """
    object_ids, object_names = _ids_and_names(objects, "object")
    verb_ids, verb_names = _ids_and_names(verbs, "verb")
    if person not in object_names:
        close = [one for one in object_names if one.strip().lower() in (person, *_PEOPLE)]
        close += difflib.get_close_matches(person, object_names, 1)
        hint = f"; rename {close[0]!r} to {person!r}" if close else ""
        raise UserError(
            f"the objects of {name!r} have no {person!r}, who is the subject of every interaction; "
            f"found {', '.join(map(repr, object_names[:5]))}{hint}"
        )
    front = object_names.index(person)
    order = [front, *(i for i in range(len(object_names)) if i != front)]
    bare = Vocabulary(
        name=name,
        objects=tuple(object_names[i] for i in order),
        object_ids=tuple(object_ids[i] for i in order),
        verbs=tuple(verb_names),
        verb_ids=tuple(verb_ids),
        classes=(),
    )
    train = _count_pairs(entries, bare)
    pairs = np.argwhere((train + _count_pairs(evaluation_entries, bare)).T > 0)
    return dataclasses.replace(
        bare,
        classes=tuple((int(verb), int(obj)) for verb, obj in pairs),
        rare=tuple(bool(train[obj, verb] < rare_below) for verb, obj in pairs),
    )


def pairs_seen(entries: Iterable[Mapping[str, Any]], vocabulary: Vocabulary) -> np.ndarray:
    """[O, V] bool: the (object, verb) pairs of the annotation, for hard negatives (section 3.3).

    Relations that point nowhere or carry an unknown id count for nothing.
    """
    return _count_pairs(entries, vocabulary) > 0


def _count_pairs(entries: Iterable[Mapping[str, Any]], vocabulary: Vocabulary) -> np.ndarray:
    """[O, V] int64: number of relations of each (object, verb)."""
    verbs: dict[int | None, int] = {id_: i for i, id_ in enumerate(vocabulary.verb_ids)}
    objects: dict[int | None, int] = {id_: i for i, id_ in enumerate(vocabulary.object_ids)}
    counts = np.zeros((vocabulary.num_objects, vocabulary.num_verbs), np.int64)
    for entry in entries:
        boxes = _mappings(entry.get("annotations"))
        for relation in _mappings(entry.get("hoi_annotation")):
            verb = verbs.get(_as_int(relation.get("category_id")))
            index = _as_int(relation.get("object_id"))
            if verb is None or index is None or not 0 <= index < len(boxes):
                continue
            obj = objects.get(_as_int(boxes[index].get("category_id")))
            if obj is not None:
                counts[obj, verb] += 1
    return counts


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    """A list of JSON objects, with an empty one for whatever is none."""
    if not isinstance(values, list | tuple):
        return []
    return [value if isinstance(value, Mapping) else {} for value in values]


def _as_int(value: Any) -> int | None:
    """An id as real files have it (a number, or a string with a newline), None if it is none."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if isinstance(value, str) or number == value else None


def _ids_and_names(
    given: Mapping[Any, str] | Sequence[str], what: str
) -> tuple[list[int], list[str]]:
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise UserError(f"the {what}s are {given!r:.60}; give {{id: name}} or a list of names")
    names: list[Any] = list(given.values()) if isinstance(given, Mapping) else list(given)
    ids = list(given) if isinstance(given, Mapping) else list(range(1, len(given) + 1))
    numbers = []
    for key, name in zip(ids, names, strict=True):
        number = _as_int(key)
        if number is None:
            turned = _as_int(name) is not None
            raise UserError(
                f"the {what} id {key!r:.60} is not a whole number; give {{id: name}}"
                f"{', not {name: id}' if turned else ''}"
            )
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"the {what} {key!r:.60} is {name!r:.60}, which is not a name")
        if abs(number) >= 2**53:
            raise UserError(f"the {what} id {str(key)[:60]} is too large for an id")
        numbers.append(number)
    return numbers, names
