"""A file with a class list: the ids and names of the objects and of the verbs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines import keys
from ggnet_jax import io
from ggnet_jax.errors import UserError

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
            raise UserError(f"{path} has {keys.missing_key(fields, key)} (a class list is {FORM})")
    json.loads(io.read_text(path), object_pairs_hook=lambda pairs: _once(pairs, path))
    return fields


def _once(pairs: list[tuple[str, Any]], path: Path) -> None:
    """Raise a UserError for a key that an object has twice: JSON's readers keep the last one."""
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise UserError(f"{path} has the key {key!r} twice in one list; each may occur once")
        seen.add(key)
