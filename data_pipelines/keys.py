"""Whether a file holds PPDM-format annotations at all: the list, and the keys of its entries.

One odd entry is a finding of the data report. Where most entries lack a key it is the file that is
another than it should be, and a missing list read as an empty one would train on nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from data_pipelines.entries import Entries
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.vcoco_truth import is_vsrl
from ggnet_jax.key_names import nearest_key

_FORM = (
    '[{"file_name": ..., "annotations": [{"bbox": [x1, y1, x2, y2], "category_id": ...}], '
    '"hoi_annotation": [{"subject_id": ..., "object_id": ..., "category_id": ...}]}]'
)


def check_list(content: Any, path: Any) -> list[Any] | Entries:
    """The content of an annotation file if it is PPDM's list, or V-COCO's own.

    Raises:
        UserError: it is something else, is empty, or most entries lack a key.
    """
    if isinstance(content, Mapping):
        raise UserError(f"{path} is not a JSON list with an entry for each image: {_kind(content)}")
    if not isinstance(content, list | Entries):
        raise UserError(
            f"{path} is not a JSON list with an entry for each image but {content!r:.60}"
        )
    if not content:
        raise UserError(f"{path} is an empty list; it needs an entry for each image, {_FORM}")
    if not is_vsrl(content):
        _check_entries(content, str(path))
    return content


def _kind(content: Mapping[str, Any]) -> str:
    """What a JSON object in place of the list is."""
    keys = ", ".join(map(repr, list(content)[:8]))
    if "images" in content and "annotations" in content:
        return (
            "it holds a dict, COCO's instances or captions, which have no interactions (with "
            "V-COCO's own files they are given as config.data.train_instances and "
            "config.data.eval_instances)"
        )
    if "objects" in content and "verbs" in content:
        return (
            "it holds a dict, a class list or vocabulary, which is given as config.data.vocabulary"
        )
    if "file_name" in content:
        return f"it holds a dict, a single entry ({keys}); put it into a list"
    lists = [key for key, value in content.items() if isinstance(value, list) and value]
    hint = f"; is the list {lists[0]!r} in it meant?" if len(lists) == 1 else ""
    if len(content) > 8:
        keys += ", ..."
    return f"it holds a dict with the keys {keys or '(none)'}{hint}; expected {_FORM}"


class _Items:
    """Counts of the objects in one kind of list: which keys they have, and what else is there."""

    def __init__(self, fields: Iterable[str]):
        self.number, self.objects = 0, 0
        self.odd: Any = None  # the first that is no object
        self.lacking = dict.fromkeys(fields, 0)
        self.instead: dict[str, Counter[str]] = {field: Counter() for field in fields}

    def add(self, item: Any) -> None:
        self.number += 1
        if not isinstance(item, Mapping):
            self.odd = item if self.number == self.objects + 1 else self.odd
            return
        self.objects += 1
        for field in self.lacking:
            if field not in item:
                self.lacking[field] += 1
                self.instead[field].update(map(str, item))

    def check(self, field: str, where: str, what: str, *, some: bool = False) -> None:
        """Raise a UserError where most objects lack a field; with `some`, where all do."""
        lacking, there = self.lacking[field], self.instead[field]
        if not lacking or (lacking < self.objects if some else 2 * lacking <= self.objects):
            return
        keys = [name for name, _ in there.most_common(8)]
        message = f"{where}{lacking} of {self.objects} {what} have no {field!r}"
        if not keys:
            raise UserError(f"{message}: they are empty; expected {_FORM}")
        message += f"; their keys are {', '.join(map(repr, keys))}"[:400]
        if "action_name" in there:
            message += " (V-COCO's own annotations, which config.data.name=v_coco reads)"
        elif {"data", "annotations"} <= there.keys():
            message += " (Label Studio's export, which config.data.name=label_studio reads)"
        elif {"predictions", "hoi_prediction"} & set(keys):
            message += " (predictions, not annotations)"
        elif close := nearest_key(keys, field):
            message += f": rename {close!r} to {field!r}"
        raise UserError(message)


def _check_entries(content: Iterable[Any], path: str) -> None:
    kinds = {"file_name": str, "annotations": list, "hoi_annotation": list}
    entries = _Items(kinds)
    inside = {
        "annotations": _Items(("bbox", "category_id")),
        "hoi_annotation": _Items(("subject_id", "object_id", "category_id")),
    }
    wrong, example = Counter(), {}
    for entry in content:
        entries.add(entry)
        if not isinstance(entry, Mapping):
            continue
        for key, kind in kinds.items():
            if key in entry and not isinstance(entry[key], kind):
                wrong[key] += 1
                example.setdefault(key, entry[key])
        for key, items in inside.items():
            found = entry.get(key)
            for item in found if isinstance(found, list) else ():
                items.add(item)
    if 2 * entries.objects <= entries.number:
        raise UserError(
            f"{path}: {entries.number - entries.objects} of {entries.number} entries are not JSON "
            f"objects but like {entries.odd!r:.60}; expected {_FORM}"
        )
    for key, kind in kinds.items():
        entries.check(key, f"{path}: ", "entries")
        if 2 * wrong[key] > entries.objects:
            word = "a name" if kind is str else "a list"
            raise UserError(
                f"{path}: {key!r} is not {word} in {wrong[key]} of {entries.objects} entries but "
                f"like {example[key]!r:.60}"
            )
    for key, items in inside.items():
        if 2 * items.objects < items.number:
            raise UserError(
                f"{path}: {items.number - items.objects} of {items.number} items of {key!r} are "
                f"not JSON objects with {', '.join(items.lacking)} but like {items.odd!r:.60}"
            )
        for field in items.lacking:
            # Some leave out the object of an action that has none.
            items.check(field, f"{path}: ", f"items of {key!r}", some=field == "object_id")
