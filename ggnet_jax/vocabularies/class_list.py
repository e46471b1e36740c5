"""A file with a class list: the ids and names of the objects and of the verbs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.key_names import missing_key
from ggnet_jax.vocabularies.computed import from_annotations
from ggnet_jax.vocabularies.shipped import load, names
from ggnet_jax.vocabularies.vocabulary import Vocabulary

FORM = '{"objects": {"1": "person"}, "verbs": {"1": "ride"}}'


def read(path: Path) -> Mapping[str, Any]:
    """The fields of a class list, or of a whole vocabulary (which has "classes").

    Raises:
        UserError: the file is not JSON, has no objects or verbs, or has an id twice.
    """
    fields = io.read_json(path)
    if not isinstance(fields, Mapping):
        raise UserError(f"{path} is not a JSON object but {fields!r:.60}; a class list is {FORM}")
    for key in ("objects", "verbs"):
        if key not in fields:
            raise UserError(f"{path} has {missing_key(fields, key)} (a class list is {FORM})")
    json.loads(io.read_text(path), object_pairs_hook=lambda pairs: _once(pairs, path))
    return fields


def _once(pairs: list[tuple[str, Any]], path: Path) -> None:
    """Raise a UserError for a key that an object has twice: JSON's readers keep the last one."""
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise UserError(f"{path} has the key {key!r} twice in one list; each may occur once")
        seen.add(key)


def vocabulary(name: str) -> Vocabulary:
    """The objects, person first, and verbs that a name stands for.

    Args:
        name: of a shipped vocabulary or of a JSON file: a whole vocabulary, or a class list, whose
            classes are not known yet: the result has none.

    Raises:
        UserError: there is no such file, or it holds neither.
    """
    path = Path(name)
    if name in names() or not path.is_file():
        return load(name)
    fields = read(path)
    if "classes" in fields:
        return load(name)
    try:
        return from_annotations((), fields["objects"], fields["verbs"], name=path.stem)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
