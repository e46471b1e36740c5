"""The annotation files of pocket's data sets, which UPT, PViC and their kin train on, as entries.

instances_{train,test}2015.json       HICO-DET, github.com/fredzzhang/hicodet
    annotation      a dictionary for each image: boxes_h, boxes_o, hoi, object, verb, as long as
                    it has pairs; boxes are 1-based and inclusive, hoi is a class, 0 to 599
    filenames, size (width, height), objects and verbs (names), correspondence [[hoi, object,
                    verb]], empty (images without a pair)

instances_vcoco_*.json                V-COCO, github.com/fredzzhang/vcoco
    annotations     a dictionary for each image: file_name, boxes_h, boxes_o, actions, objects
    classes         names of the actions, "hold obj"
    objects         names of the objects; in files without them the numbers are COCO's ids
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError

_HICO = ("annotation", "filenames")
_VCOCO = ("annotations", "classes")


def is_pocket(content: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether the content of a file is one of the two."""
    return isinstance(content, Mapping) and any(
        all(isinstance(content.get(key), list) for key in keys) for keys in (_HICO, _VCOCO)
    )


def is_one_based(content: Mapping[str, Any]) -> bool:
    """Whether the first pixel of such a file is (1, 1): in HICO-DET's, as in the original."""
    return all(key in content for key in _HICO)


def entries(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images of such a file in PPDM's format, with PPDM's ids.

    Boxes are as they are in the file; equal ones of a category are stored once.

    Raises:
        UserError: lists don't fit each other, or a number or name is unknown.
    """
    return list(_hico(content) if is_one_based(content) else _vcoco(content))


def _hico(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    vocabulary = vocabularies.load("hico_det")
    names, images = content["filenames"], content["annotation"]
    sizes = content.get("size")
    sizes = sizes if isinstance(sizes, list) and sizes else [None] * len(names)
    if not len(names) == len(images) == len(sizes):
        raise UserError(
            f"the instances have {len(names)} filenames, {len(images)} annotations and "
            f"{len(sizes)} sizes; they need as many of each"
        )
    objects = _ids(content.get("objects"), vocabulary.objects, vocabulary.object_ids, "object")
    verbs = _ids(content.get("verbs"), vocabulary.verbs, vocabulary.verb_ids, "verb")
    for name, image, size in zip(names, images, sizes, strict=True):
        keys = ("boxes_h", "boxes_o", "hoi", "object", "verb")
        where = f"the instances: image {name!r}"
        columns = _columns(image, keys, where)
        entry = _Entry(name, vocabulary.object_ids[0])
        for pair, (human, target, hoi, obj, verb) in enumerate(zip(*columns, strict=True)):
            at = f"{where}, pair {pair}"
            index = _item(range(vocabulary.num_classes), hoi, "hoi", at)
            verb_index, obj_index = vocabulary.classes[index]
            ids = vocabulary.verb_ids[verb_index], vocabulary.object_ids[obj_index]
            if not (_fits(verbs, verb, ids[0]) and _fits(objects, obj, ids[1])):
                phrase = vocabulary.verb_phrase(verb_index, obj_index)
                raise UserError(f"{at}: hoi {hoi} is {phrase!r}, and object and verb are others")
            entry.add(human, target, ids[1], ids[0], {"hoi_category_id": index + 1})
        shape = {}
        if isinstance(size, Sequence) and len(size) == 2:
            shape = {"width": size[0], "height": size[1]}
        yield entry.finish(shape)


def _vcoco(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    vocabulary = vocabularies.load("v_coco")
    objects: Any = _ids(content.get("objects"), vocabulary.objects, vocabulary.object_ids, "object")
    actions = _ids(content["classes"], vocabulary.verbs, vocabulary.verb_ids, "class")
    for number, image in enumerate(content["annotations"]):
        name = image.get("file_name") if isinstance(image, Mapping) else None
        if not isinstance(name, str):
            raise UserError(f"the instances: image {number} has no 'file_name'")
        where = f"the instances: image {name!r}"
        columns = _columns(image, ("boxes_h", "boxes_o", "actions", "objects"), where)
        entry = _Entry(name, vocabulary.object_ids[0])
        for pair, (human, target, action, obj) in enumerate(zip(*columns, strict=True)):
            at = f"{where}, pair {pair}"
            category = obj if objects is None else _item(objects, obj, "object", at)
            entry.add(human, target, category, _item(actions or [], action, "action", at), {})
        yield entry.finish({})


class _Entry:
    """One image's entry, as it is put together."""

    def __init__(self, name: str, person: int):
        self._name, self._person = name, person
        self._places: dict[tuple[Any, ...], int] = {}
        self._pairs: list[dict[str, Any]] = []

    def add(self, human: Any, target: Any, category: int, verb: int, more: Mapping[str, int]):
        """A pair of two boxes."""
        ids = [
            self._places.setdefault((*box, kind), len(self._places))
            for box, kind in ((human, self._person), (target, category))
        ]
        self._pairs.append({"subject_id": ids[0], "object_id": ids[1], "category_id": verb, **more})

    def finish(self, more: Mapping[str, Any]) -> dict[str, Any]:
        boxes = [{"bbox": [*key[:-1]], "category_id": key[-1]} for key in self._places]
        pairs = {"annotations": boxes, "hoi_annotation": self._pairs}
        return {"file_name": self._name, **more, **pairs}


def _columns(image: Any, keys: Sequence[str], where: str) -> list[list[Any]]:
    """The image's lists, of one length."""
    if not isinstance(image, Mapping) or not all(isinstance(image.get(k), list) for k in keys):
        raise UserError(f"{where} lacks one of the lists {', '.join(keys)}")
    lists = [image[key] for key in keys]
    if len(set(map(len, lists))) > 1:
        lengths = ", ".join(f"{len(one)} {key}" for key, one in zip(keys, lists, strict=True))
        raise UserError(f"{where} has {lengths}; it needs as many of each")
    for box in (*lists[0], *lists[1]):
        if not isinstance(box, list) or any(isinstance(value, list | dict) for value in box):
            raise UserError(f"{where} has the box {box!r:.60}, which is no list of numbers")
    return lists


def _ids(
    names: Any, known: Sequence[str], ids: Sequence[int], what: str
) -> list[int | None] | None:
    """The ids of the names in a file, None for those that are none; None where it has no names."""
    if not isinstance(names, list) or not names:
        return None
    same = vocabularies.same_name
    of_name = {same(name): number for name, number in zip(known, ids, strict=True)}
    found = [of_name.get(same(name)) for name in names]
    if all(number is None for number in found):
        raise UserError(f"the instances: {what} {names[0]!r:.60} is none of the data set's")
    return found


def _item(known: Sequence[Any], index: Any, what: str, where: str) -> Any:
    """What a number stands for."""
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(known):
        if known[index] is not None:
            return known[index]
    raise UserError(f"{where} has the {what} {index!r:.40}, which is unknown")


def _fits(known: Sequence[int | None] | None, index: Any, wanted: int) -> bool:
    """Whether a number stands for an id, as far as the file's names tell."""
    if known is None or not isinstance(index, int) or not 0 <= index < len(known):
        return known is None
    return known[index] in (wanted, None)
