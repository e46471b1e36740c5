"""The class list of a data set, and the way between its ids and the network's indices."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError

_ROLE_SUFFIXES = ("_obj", "_instr")
_LARGEST_ID = 1 << 31


def same_name(name: Any) -> str:
    """A name as names are compared between class lists: without case, '_' as a space is."""
    return "_".join(str(name).lower().replace("_", " ").split())


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

    _NEEDED: ClassVar = ("name", "objects", "object_ids", "verbs", "verb_ids", "classes")

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
                            f"vocabulary {self.name!r} has the {what} {kind} {value!r:.60} twice; "
                            "each may occur once"
                        )
                    seen.add(value)
            for value in ids:
                if abs(value) >= _LARGEST_ID:
                    raise UserError(
                        f"vocabulary {self.name!r} has the {what} id {value!r:.40}; ids are smaller"
                    )
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
        return self._index(self._object_of_id, "object", category_id)

    def verb_index(self, category_id: int) -> int:
        """Index of the verb with this `category_id`.

        Raises:
            UserError: no verb has it.
        """
        return self._index(self._verb_of_id, "verb", category_id)

    def _index(self, table: Mapping[int, int], what: str, category_id: int) -> int:
        try:
            return table[category_id]
        except (KeyError, TypeError):
            raise UserError(
                f"{what} category_id {category_id!r} is not one of the {len(table)} of "
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
        if not isinstance(fields, Mapping):
            raise UserError(f"not a vocabulary: not a JSON object but {fields!r:.60}")
        missing = [key for key in cls._NEEDED if key not in fields]
        if missing:
            there = ", ".join(map(repr, fields)) or "nothing"
            raise UserError(
                f"not a vocabulary: it needs the field {missing[0]!r} (it has {there:.160})"
            )
        rare = fields.get("rare")
        pairs = [tuple(_list(pair, "classes", int)) for pair in _list(fields["classes"], "classes")]
        if any(len(pair) != 2 for pair in pairs):
            raise UserError("not a vocabulary: classes are pairs of a verb and an object index")
        flags = None if rare is None else _list(rare, "rare", int, bool)
        if flags is not None and not set(flags) <= {0, 1}:
            raise UserError("not a vocabulary: rare flags are 0 and 1")
        return cls(
            name=str(fields["name"]),
            objects=tuple(_list(fields["objects"], "objects", str)),
            object_ids=tuple(_list(fields["object_ids"], "object_ids", int)),
            verbs=tuple(_list(fields["verbs"], "verbs", str)),
            verb_ids=tuple(_list(fields["verb_ids"], "verb_ids", int)),
            classes=tuple((verb, obj) for verb, obj in pairs),
            rare=None if flags is None else tuple(map(bool, flags)),
        )

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, one field a line."""
        io.write_json(path, self.to_dict(), depth=1)


def _list(values: Any, what: str, *kinds: type) -> list[Any]:
    """A field's list, with items of these types alone, if any are given; else a UserError."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise UserError(f"not a vocabulary: {what} is not a list but {values!r:.60}")
    for index, value in enumerate(values):
        if kinds and type(value) not in kinds:
            raise UserError(f"not a vocabulary: {what} has {value!r:.60} in place {index}")
    return list(values)
