"""Class lists: objects, verbs, the (verb, object) pairs that form a class, and which are rare.

A vocabulary is the one place that turns the category ids of annotation and prediction files
into the indices that the network and the targets use, and back. Three ship as JSON beside this
file: `hico_det` (600 classes in HICO's order), `v_coco` and the embedded set's `figures_hoi`; any
other data set's is computed from its training annotations by `from_annotations`.

V-COCO's verbs are verb-roles in the released models' order: 25 of the 29 ids, those whose action
has an object. `walk` (3), `smile` (17), `run` (22) and `stand` (27) have none: they are no
verb of the vocabulary, so a network has no output for them and a relation that carries such an id
is an unknown verb (the field's pair lists never do). `cut`, `hit` and `eat` have an instrument
and an object and count as two verbs each. `point_instr` (23) has an output, but the field's pair
lists leave it out, so no pair with it is a class and a decoder that keeps to the classes never
says it. The first 218 classes occur in train + val, the last 18 in the test split alone.
V-COCO has no notion of rare classes.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError

_FOLDER = Path(__file__).resolve().parent
_ROLE_SUFFIXES = ("_obj", "_instr")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """O objects, V verbs and C classes; everything but the two id lists is in indices.

    Attributes:
      name: what the vocabulary is called in messages.
      objects: O names; index 0 is the person.
      object_ids: `category_id` of each object in the JSON files (COCO's 91 ids for the shipped).
      verbs: V names.
      verb_ids: `category_id` of each verb in `hoi_annotation` and `hoi_prediction`.
      classes: C (verb index, object index) pairs in the order of evaluation.
      rare: C flags, fewer than 10 training instances; None where that is unknown.

    Raises:
      UserError: the lists don't fit each other.
    """

    name: str
    objects: tuple[str, ...]
    object_ids: tuple[int, ...]
    verbs: tuple[str, ...]
    verb_ids: tuple[int, ...]
    classes: tuple[tuple[int, int], ...]
    rare: tuple[bool, ...] | None = None

    def __post_init__(self):
        for what, names, ids in (
            ("object", self.objects, self.object_ids),
            ("verb", self.verbs, self.verb_ids),
        ):
            if not names:
                raise UserError(f"vocabulary {self.name!r} has no {what}; give at least one")
            if len(names) != len(ids):
                raise UserError(
                    f"vocabulary {self.name!r} has {len(names)} {what}s but {len(ids)} {what} ids; "
                    "give one id for each"
                )
            for kind, values in (("name", names), ("id", ids)):
                seen = set()
                for value in values:
                    if value in seen:
                        raise UserError(
                            f"vocabulary {self.name!r} has the {what} {kind} {value!r} twice; "
                            "each may occur once"
                        )
                    seen.add(value)
        for verb, obj in self.classes:
            if not (0 <= verb < self.num_verbs and 0 <= obj < self.num_objects):
                raise UserError(
                    f"vocabulary {self.name!r}: class ({verb}, {obj}) is outside of "
                    f"{self.num_verbs} verbs and {self.num_objects} objects"
                )
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"vocabulary {self.name!r} lists a (verb, object) class twice")
        if self.rare is not None and len(self.rare) != len(self.classes):
            raise UserError(
                f"vocabulary {self.name!r} has {len(self.classes)} classes but "
                f"{len(self.rare)} rare flags; give one for each, or none at all"
            )

    @property
    def num_objects(self) -> int:
        """O."""
        return len(self.objects)

    @property
    def num_verbs(self) -> int:
        """V."""
        return len(self.verbs)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.classes)

    @functools.cached_property
    def class_index(self) -> np.ndarray:
        """[V, O] int64: index of the class of (verb, object), -1 where the pair is none."""
        table = np.full((self.num_verbs, self.num_objects), -1, np.int64)
        for index, (verb, obj) in enumerate(self.classes):
            table[verb, obj] = index
        table.flags.writeable = False
        return table

    @property
    def valid_pairs(self) -> np.ndarray:
        """[V, O] bool: whether (verb, object) is a class."""
        return self.class_index >= 0

    @functools.cached_property
    def _object_of_id(self) -> dict[int, int]:
        return {category: index for index, category in enumerate(self.object_ids)}

    @functools.cached_property
    def _verb_of_id(self) -> dict[int, int]:
        return {category: index for index, category in enumerate(self.verb_ids)}

    def object_index(self, category_id: int) -> int:
        """Index of the object with this `category_id`.

        Raises:
          UserError: no object has it.
        """
        try:
            return self._object_of_id[category_id]
        except (KeyError, TypeError):
            raise UserError(
                f"object category_id {category_id!r} is not one of the {self.num_objects} of "
                f"{self.name!r}"
            ) from None

    def verb_index(self, category_id: int) -> int:
        """Index of the verb with this `category_id`.

        Raises:
          UserError: no verb has it.
        """
        try:
            return self._verb_of_id[category_id]
        except (KeyError, TypeError):
            raise UserError(
                f"verb category_id {category_id!r} is not one of the {self.num_verbs} of "
                f"{self.name!r}"
            ) from None

    def verb_phrase(self, verb: int, obj: int) -> str:
        """What a label says of a verb and an object index: "ride bicycle", "cut with knife"."""
        name = self.verbs[verb]
        for suffix in _ROLE_SUFFIXES:
            action = name.removesuffix(suffix)
            if action != name:
                # Only where an action has two roles is the instrument worth a word.
                both = all(action + end in self.verbs for end in _ROLE_SUFFIXES)
                name = f"{action} with" if both and suffix == "_instr" else action
                break
        return f"{name} {self.objects[obj]}".replace("_", " ")

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, ready for JSON."""
        return {
            "name": self.name,
            "objects": list(self.objects),
            "object_ids": list(self.object_ids),
            "verbs": list(self.verbs),
            "verb_ids": list(self.verb_ids),
            "classes": [list(pair) for pair in self.classes],
            "rare": None if self.rare is None else [int(flag) for flag in self.rare],
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Vocabulary":
        """The inverse of `to_dict`; keys that are no field are left alone.

        Raises:
          UserError: a field is missing or has the wrong form.
        """
        try:
            rare = fields.get("rare")
            return cls(
                name=str(fields["name"]),
                objects=tuple(str(name) for name in fields["objects"]),
                object_ids=tuple(int(i) for i in fields["object_ids"]),
                verbs=tuple(str(name) for name in fields["verbs"]),
                verb_ids=tuple(int(i) for i in fields["verb_ids"]),
                classes=tuple((int(verb), int(obj)) for verb, obj in fields["classes"]),
                rare=None if rare is None else tuple(bool(flag) for flag in rare),
            )
        except KeyError as error:
            raise UserError(f"a vocabulary needs the field {error.args[0]!r}") from None
        except UserError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(f"not a vocabulary: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, one field a line."""
        lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in self.to_dict().items())
        Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def names() -> tuple[str, ...]:
    """The shipped vocabularies."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load(name_or_path: str | Path) -> Vocabulary:
    """A shipped vocabulary by name ('hico_det', 'v_coco', 'figures_hoi'), or one from a JSON file.

    Raises:
      UserError: there is no such name or file, or it holds no vocabulary.
    """
    shipped = str(name_or_path) in names()
    path = _FOLDER / f"{name_or_path}.json" if shipped else Path(name_or_path)
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"no vocabulary {str(name_or_path)!r}: neither a file nor one of {', '.join(names())}"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    try:
        return Vocabulary.from_dict(fields)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


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
      UserError: an id is no number, or the person is not among the objects.
    """
    object_ids, object_names = _ids_and_names(objects, "object")
    verb_ids, verb_names = _ids_and_names(verbs, "verb")
    if person not in object_names:
        raise UserError(
            f"the objects of {name!r} have no {person!r}: every interaction needs one; "
            f"found {', '.join(object_names[:5])}"
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
    counts = np.zeros((vocabulary.num_objects, vocabulary.num_verbs), np.int64)
    for entry in entries:
        boxes = _mappings(entry.get("annotations"))
        for relation in _mappings(entry.get("hoi_annotation")):
            verb = vocabulary._verb_of_id.get(_as_int(relation.get("category_id")))
            index = _as_int(relation.get("object_id"))
            if verb is None or index is None or not 0 <= index < len(boxes):
                continue
            obj = vocabulary._object_of_id.get(_as_int(boxes[index].get("category_id")))
            if obj is not None:
                counts[obj, verb] += 1
    return counts


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    """A list of objects as real files have it, with an empty object for whatever is none."""
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
    if not isinstance(given, Mapping):
        return list(range(1, len(given) + 1)), [str(name) for name in given]
    ids = []
    for key in given:
        number = _as_int(key)
        if number is None:
            raise UserError(f"the {what} id {key!r} is no whole number; give {{id: name}}")
        ids.append(number)
    return ids, [str(name) for name in given.values()]
