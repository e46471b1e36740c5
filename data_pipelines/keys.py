"""Whether a file holds PPDM-format annotations at all: the list, and the keys of its entries.

One odd entry is a finding of the data report. Where most entries lack a key it is the file that is
another than it should be, and a missing list read as an empty one would train on nothing.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ggnet_jax.errors import UserError

# What other formats call a key; beyond what looks similar.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "file_name": (
        "filename",
        "image",
        "image_name",
        "img_name",
        "name",
        "file",
        "path",
        "image_id",
    ),
    "annotations": ("boxes", "bboxes", "objects", "instances", "annos", "predictions"),
    "hoi_annotation": (
        "hoi",
        "hois",
        "interactions",
        "relations",
        "relationships",
        "hoi_prediction",
    ),
    "objects": ("object_names", "things", "categories", "nouns"),
    "verbs": ("actions", "interactions", "predicates", "relations"),
    "bbox": ("box", "bbox_xyxy", "xyxy", "coordinates", "bounding_box"),
    "category_id": ("category", "class", "class_id", "cls", "label", "verb_id", "verb", "action"),
    "subject_id": ("subject", "human_id", "human", "person_id", "sub_id"),
    "object_id": ("object", "obj_id", "obj", "target_id"),
}
_FORM = (
    '[{"file_name": ..., "annotations": [{"bbox": [x1, y1, x2, y2], "category_id": ...}], '
    '"hoi_annotation": [{"subject_id": ..., "object_id": ..., "category_id": ...}]}]'
)


def is_vsrl(content: Any) -> bool:
    """Whether a list is V-COCO's own ("VSRL") rather than PPDM's."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], Mapping)
        and "action_name" in content[0]
    )


def check_list(content: Any, path: Any) -> list[Any]:
    """The content of an annotation file if it is PPDM's list, or V-COCO's own.

    Raises:
        UserError: it is something else, is empty, or most entries lack a key.
    """
    if isinstance(content, Mapping):
        raise UserError(f"{path} is not a JSON list with an entry for each image: {_kind(content)}")
    if not isinstance(content, list):
        raise UserError(
            f"{path} is not a JSON list with an entry for each image but {content!r:.60}"
        )
    if not content:
        raise UserError(f"{path} is an empty list; it needs an entry for each image, {_FORM}")
    if not is_vsrl(content):
        _check_entries(content, str(path))
    return content


def missing_key(item: Mapping[str, Any], key: str) -> str:
    """That an object has no such key, which keys it has and which of them may be meant."""
    there = [name for name in item if isinstance(name, str)]
    message = f"no {key!r} among {', '.join(map(repr, there))}"[:300] if there else f"no {key!r}"
    close = _close(there, key)
    return f"{message}; is {close!r} meant?" if close else message


def _kind(content: Mapping[str, Any]) -> str:
    """What a JSON object in place of the list is."""
    keys = ", ".join(map(repr, list(content)[:8]))
    if "images" in content and "annotations" in content:
        return (
            "it holds a dict, COCO's instances or captions, which have no interactions (with "
            "V-COCO's own files they are given as data.train_instances and data.eval_instances)"
        )
    if "objects" in content and "verbs" in content:
        return "it holds a dict, a class list or vocabulary, which is given as data.vocabulary"
    if "file_name" in content:
        return f"it holds a dict, a single entry ({keys}); put it into a list"
    lists = [key for key, value in content.items() if isinstance(value, list) and value]
    hint = f"; is the list {lists[0]!r} in it meant?" if len(lists) == 1 else ""
    if len(content) > 8:
        keys += ", ..."
    return f"it holds a dict with the keys {keys or '(none)'}{hint}; expected {_FORM}"


def _check_entries(content: Sequence[Any], path: str) -> None:
    objects = [entry for entry in content if isinstance(entry, Mapping)]
    if 2 * len(objects) <= len(content):
        odd = next(entry for entry in content if not isinstance(entry, Mapping))
        raise UserError(
            f"{path}: {len(content) - len(objects)} of {len(content)} entries are not JSON objects "
            f"but like {odd!r:.60}; expected {_FORM}"
        )
    for key, kind in (("file_name", str), ("annotations", list), ("hoi_annotation", list)):
        _check_key(objects, key, f"{path}: ", "entries")
        wrong = [
            entry[key] for entry in objects if key in entry and not isinstance(entry[key], kind)
        ]
        if 2 * len(wrong) > len(objects):
            word = "a name" if kind is str else "a list"
            raise UserError(
                f"{path}: {key!r} is not {word} in {len(wrong)} of {len(objects)} entries but like "
                f"{wrong[0]!r:.60}"
            )
    for key, fields in (
        ("annotations", ("bbox", "category_id")),
        ("hoi_annotation", ("subject_id", "object_id", "category_id")),
    ):
        lists = (entry.get(key) for entry in objects)
        items = [item for found in lists if isinstance(found, list) for item in found]
        inside = [item for item in items if isinstance(item, Mapping)]
        if 2 * len(inside) < len(items):
            odd = next(item for item in items if not isinstance(item, Mapping))
            raise UserError(
                f"{path}: {len(items) - len(inside)} of {len(items)} items of {key!r} are not JSON "
                f"objects with {', '.join(fields)} but like {odd!r:.60}"
            )
        for field in fields:
            # Some leave out the object of an action that has none.
            _check_key(inside, field, f"{path}: ", f"items of {key!r}", field == "object_id")


def _check_key(
    items: Sequence[Mapping[str, Any]], key: str, where: str, what: str, some: bool = False
) -> None:
    """Raise a UserError where most items lack a key; with `some`, where all do."""
    lacking = [item for item in items if key not in item]
    if lacking and (len(lacking) == len(items) if some else 2 * len(lacking) > len(items)):
        _fail(lacking, len(items), key, where, what)


def _fail(
    lacking: Sequence[Mapping[str, Any]], number: int, key: str, where: str, what: str
) -> NoReturn:
    there = Counter(str(name) for item in lacking for name in item)
    keys = [name for name, _ in there.most_common(8)]
    message = f"{where}{len(lacking)} of {number} {what} have no {key!r}"
    if not keys:
        raise UserError(f"{message}: they are empty; expected {_FORM}")
    message += f"; their keys are {', '.join(map(repr, keys))}"[:400]
    if "action_name" in there:
        message += " (V-COCO's own annotations, which data.name=v_coco reads)"
    elif {"predictions", "hoi_prediction"} & set(keys):
        message += " (predictions, not annotations)"
    else:
        close = _close(keys, key)
        if close:
            message += f": rename {close!r} to {key!r}"
    raise UserError(message)


def _close(keys: Iterable[str], key: str) -> str | None:
    """The one of the keys that is most likely meant by a key that is not there."""
    # (A class is not a verb; hoi_category_id only looks like one.)
    others = [name for name in keys if name not in _SYNONYMS and name != "hoi_category_id"]
    lower = {name.strip().lower().replace("-", "_"): name for name in others}
    found = difflib.get_close_matches(key, lower, 1, cutoff=0.7)
    found += [name for name in _SYNONYMS[key] if name in lower]
    found += [name for name in lower if key in name]
    found += difflib.get_close_matches(key, lower, 1, cutoff=0.5)
    return lower[found[0]] if found else None
