"""A key that a JSON object lacks, and the one of its keys that is most likely meant by it."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

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


def missing_key(item: Mapping[str, Any], key: str) -> str:
    """That an object has no such key, which keys it has and which of them may be meant."""
    there = [name for name in item if isinstance(name, str)]
    message = f"no {key!r} among {', '.join(map(repr, there))}"[:300] if there else f"no {key!r}"
    close = nearest_key(there, key)
    return f"{message}; is {close!r} meant?" if close else message


def nearest_key(keys: Iterable[str], key: str) -> str | None:
    """The one of the keys that is most likely meant by a key that is not there."""
    # (A class is not a verb; hoi_category_id only looks like one.)
    others = [name for name in keys if name not in _SYNONYMS and name != "hoi_category_id"]
    lower = {name.strip().lower().replace("-", "_"): name for name in others}
    found = difflib.get_close_matches(key, lower, 1, cutoff=0.7)
    found += [name for name in _SYNONYMS.get(key, ()) if name in lower]
    found += [name for name in lower if key in name]
    found += difflib.get_close_matches(key, lower, 1, cutoff=0.5)
    return lower[found[0]] if found else None
