"""A part of the rendered set's classes, chosen by `config.data.vocabulary`.

The images stay as they are: what is not among the classes is drawn and not annotated, as in any
data set of fewer classes.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.figures_hoi import scenes
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary, class_list, names, same_name


def load(name_or_path: str) -> Vocabulary | None:
    """The classes that `config.data.vocabulary` leaves; None for all.

    Args:
        name_or_path: '' or 'figures_hoi' for all; else a JSON file, a class list (names, or ids
            and names) or a whole vocabulary. Order and ids are the rendered set's own.

    Raises:
        UserError: a name is none of the rendered set's, an id is another's, or no class is left.
    """
    whole = scenes.vocabulary()
    if name_or_path in ("", whole.name):
        return None
    path = Path(name_or_path)
    if name_or_path in names() or not path.is_file():
        raise UserError(
            f"config.data.vocabulary={name_or_path} is no class list for {whole.name}; give a "
            f"JSON file with some of its classes, {class_list.FORM}, or leave the field empty"
        )
    fields = class_list.read(path)
    objects = _chosen(fields, "object", whole.objects, whole.object_ids, path)
    verbs = _chosen(fields, "verb", whole.verbs, whole.verb_ids, path)
    if 0 not in objects:
        raise UserError(f"{path} lacks the object {whole.objects[0]!r}; add it")
    number = {verb: index for index, verb in enumerate(verbs)}
    place = {obj: index for index, obj in enumerate(objects)}
    kept = [i for i, (verb, obj) in enumerate(whole.classes) if verb in number and obj in place]
    if not kept:
        raise UserError(f"{path} leaves no class: none of its verbs goes with one of its objects")
    return Vocabulary(
        name=path.stem,
        objects=tuple(whole.objects[i] for i in objects),
        object_ids=tuple(whole.object_ids[i] for i in objects),
        verbs=tuple(whole.verbs[i] for i in verbs),
        verb_ids=tuple(whole.verb_ids[i] for i in verbs),
        classes=tuple((number[whole.classes[i][0]], place[whole.classes[i][1]]) for i in kept),
        rare=None if whole.rare is None else tuple(whole.rare[i] for i in kept),
    )


def restricted(entry: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """An entry of the rendered set without the boxes and relations of other classes."""
    place: dict[int, int] = {}
    for index, box in enumerate(entry["annotations"]):
        if box["category_id"] in vocabulary.object_ids:
            place[index] = len(place)
    return {
        **entry,
        "annotations": [entry["annotations"][index] for index in place],
        "hoi_annotation": [
            {**one, "subject_id": place[one["subject_id"]], "object_id": place[one["object_id"]]}
            for one in entry["hoi_annotation"]
            if one["object_id"] in place and one["category_id"] in vocabulary.verb_ids
        ],
    }


def short_name(vocabulary: Vocabulary) -> str:
    """Of a folder; it changes with the classes, not with what they are called."""
    fields = dataclasses.replace(vocabulary, name="").to_dict()
    return f"{vocabulary.num_classes}classes-{zlib.crc32(repr(fields).encode()):08x}"


def _chosen(
    fields: Mapping[str, Any], what: str, known: tuple[str, ...], ids: tuple[int, ...], path: Path
) -> list[int]:
    """Ascending indices of the objects or verbs that a file lists."""
    given = fields[f"{what}s"]
    if isinstance(given, Mapping):
        wanted = list(given.items())
    elif isinstance(given, list):
        numbers = fields.get(f"{what}_ids", [None] * len(given))
        wanted = list(zip(numbers, given, strict=False))
    else:
        raise UserError(f"{path}: {what}s is {given!r:.60}; a class list is {class_list.FORM}")
    index_of = {same_name(name): index for index, name in enumerate(known)}
    chosen = set()
    for number, name in wanted:
        index = index_of.get(same_name(name))
        if index is None:
            raise UserError(
                f"{path} has the {what} {name!r:.60}, which figures_hoi has not; it has "
                f"{', '.join(known)}"
            )
        if number is not None and str(number) != str(ids[index]):
            raise UserError(
                f"{path} gives the {what} {name!r} the id {number!r:.40}; in figures_hoi it is "
                f"{ids[index]}"
            )
        chosen.add(index)
    return sorted(chosen)
