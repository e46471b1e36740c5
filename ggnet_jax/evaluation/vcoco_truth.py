"""V-COCO's own annotations (VSRL) joined with COCO's boxes.

VSRL lists, for each of 26 actions, which people (COCO annotation ids) do it and with which
objects; the boxes are in COCO's `instances_*.json`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import matching, overlap
from ggnet_jax.evaluation.boxes import LARGEST

_FIELDS = ("action_name", "role_name", "image_id", "ann_id", "label", "role_object_id")


@dataclasses.dataclass(frozen=True)
class People:
    """The people in the images of a split, and what they do.

    Attributes:
        actions: A names, in VSRL's order.
        roles: R (action index, role name), in VSRL's order; V-COCO has 25.
        image_of_id: number of each image by its COCO id; -1 where VSRL annotates nobody, so that
            predictions there do not count.
        image: [n] image of each person, ascending; in an image they are in COCO's order.
        boxes: [n, 4] float64, (x1, y1, x2, y2) in image pixels, inclusive ends.
        annotated: [n] bool, whether VSRL has the person.
        acts: [n, A] bool.
        has_object: [n, R] bool, whether the role has an object with a box.
        object_boxes: [n, R, 4] float64, zeros where there is none.
        dropped: number of people and objects that VSRL names but that have no box, and of COCO's
            boxes without area (or with a coordinate that is no finite number), and of images whose
            size is not known, to which no box is clipped.
    """

    actions: tuple[str, ...]
    roles: tuple[tuple[int, str], ...]
    image_of_id: Mapping[int, int]
    image: np.ndarray
    boxes: np.ndarray
    annotated: np.ndarray
    acts: np.ndarray
    has_object: np.ndarray
    object_boxes: np.ndarray
    dropped: Mapping[str, int]


def is_vsrl(ground_truth: Any) -> bool:
    """Whether this is VSRL's list of actions."""
    return (
        isinstance(ground_truth, Sequence)
        and len(ground_truth) > 0
        and isinstance(ground_truth[0], Mapping)
        and "action_name" in ground_truth[0]
    )


def join(vsrl: Sequence[Mapping[str, Any]], instances: Mapping[str, Any]) -> People:
    """The people of VSRL's images with COCO's boxes.

    Box ends are inclusive and clipped to the image; boxes without area or extent, and those
    marked `ignore`, are dropped, as in the original.

    Raises:
        UserError: a field is missing or malformed, or the instances lack an image of VSRL.
    """
    tables = [_table(action, index) for index, action in enumerate(vsrl)]
    actions = tuple(table.name for table in tables)
    if len(set(actions)) < len(actions):
        raise UserError(f"the VSRL ground truth lists an action twice: {', '.join(actions)}")
    roles = tuple(
        (index, role, slot)
        for index, table in enumerate(tables)
        for slot, role in enumerate(table.roles)
        if slot  # the first is the person
    )
    image_ids = sorted({number for table in tables for number in table.image_id.tolist()})
    sizes = _sizes(instances)
    ids, image_id, category, boxes, lost = _clean_boxes(instances["annotations"], sizes, image_ids)
    people = np.flatnonzero(category == 1)
    people = people[np.argsort(image_id[people], kind="stable")]
    person_of_box = np.full(len(ids) + 1, -1)  # the last stands for an id without a box
    person_of_box[people] = np.arange(len(people))
    by_id = np.argsort(ids, kind="stable")
    annotated = np.zeros(len(people), bool)
    acts = np.zeros((len(people), len(actions)), bool)
    has_object = np.zeros((len(people), len(roles)), bool)
    object_boxes = np.zeros((len(people), len(roles), 4))
    lost_people, lost_objects = 0, 0
    for index, table in enumerate(tables):
        objects = table.objects
        person = person_of_box[_find(table.ann_id, ids, by_id)]
        lost_people = max(lost_people, int((person < 0).sum()))
        annotated[person[person >= 0]] = True
        doing = (person >= 0) & (table.label == 1)
        acts[person[doing], index] = True
        for role, (action, _, slot) in enumerate(roles):
            if action == index:
                box = _find(objects[slot], ids, by_id)
                named = doing & (objects[slot] != 0)
                there = named & (box < len(ids))
                lost_objects += int((named & ~there).sum())
                has_object[person[there], role] = True
                object_boxes[person[there], role] = boxes[box[there]]
    return People(
        actions=actions,
        roles=tuple((action, role) for action, role, _ in roles),
        image_of_id={image["id"]: -1 for image in instances["images"]}
        | {number: index for index, number in enumerate(image_ids)},
        image=np.searchsorted(image_ids, image_id[people]),
        boxes=boxes[people],
        annotated=annotated,
        acts=acts,
        has_object=has_object,
        object_boxes=object_boxes,
        dropped={
            "annotated_people_without_a_box": lost_people,
            "annotated_objects_without_a_box": lost_objects,
            **lost,
            "images_without_a_size": sum(sizes[number][0] == np.inf for number in image_ids),
        },
    )


def match_people(
    image: np.ndarray, boxes: np.ndarray, people: People
) -> tuple[np.ndarray, np.ndarray]:
    """The annotated person whom each predicted one overlaps most.

    Args:
        image: [k] image of each predicted person.
        boxes: [k, 4] of the predicted people.
        people: the ground truth.

    Returns:
        [k] row of the person, the first of the image if nobody is overlapped, -1 in an image
        without people; [k] the overlap.
    """
    match, overlaps = np.full(len(image), -1), np.zeros(len(image))
    for one, other in matching.candidates(image, people.image):
        value = overlap.vsrl(boxes[one], people.boxes[other])
        best = np.lexsort((other, -value, one))
        best = best[np.flatnonzero(np.diff(one[best], prepend=-1))]
        match[one[best]], overlaps[one[best]] = other[best], value[best]
    return match, overlaps


class _Table(NamedTuple):
    """One action: its name and roles, and for p people image, annotation, label and objects."""

    name: str
    roles: tuple[str, ...]
    image_id: np.ndarray  # [p]
    ann_id: np.ndarray  # [p]
    label: np.ndarray  # [p], 1 for those who do it
    objects: np.ndarray  # [roles, p], 0 where there is none


def _table(action: Any, index: int) -> _Table:
    """One action of VSRL's list.

    Raises:
        UserError: it is not one, or a list of it has the wrong length or a value that is no id.
    """
    where = f"VSRL action {index}"
    if not isinstance(action, Mapping):
        raise UserError(f"{where} is not a JSON object but {action!r:.60}")
    missing = [key for key in _FIELDS if key not in action]
    if missing:
        raise UserError(
            f"the ground truth is not a VSRL list: {where} has no {missing[0]!r} (it has "
            f"{', '.join(map(repr, action)):.160})"
        )
    name, roles = action["action_name"], action["role_name"]
    if not isinstance(name, str):
        raise UserError(f"{where} has an action_name that is no text: {name!r:.60}")
    where = f"VSRL action {name!r}"
    if not (isinstance(roles, list | tuple) and roles and "agent" not in roles[1:]):
        raise UserError(f"{where} needs a list role_name that begins with 'agent' ({roles!r:.60})")
    columns = {key: _whole(action[key], f"{where}, {key}") for key in _FIELDS[2:]}
    people = len(columns["ann_id"])
    lengths = {key: len(column) for key, column in columns.items()}
    if lengths != dict.fromkeys(columns, people) | {"role_object_id": len(roles) * people}:
        raise UserError(
            f"{where} has {people} ann_id, {lengths['label']} label, {lengths['image_id']} "
            f"image_id and {lengths['role_object_id']} role_object_id; it needs as many labels and "
            f"images as people, and as many object ids for each of its {len(roles)} roles"
        )
    strange = np.flatnonzero((columns["label"] != 0) & (columns["label"] != 1))
    if len(strange):
        value = columns["label"][strange[0]]
        raise UserError(f"{where}, label[{strange[0]}] is neither 0 nor 1: {value}")
    objects = columns["role_object_id"].reshape(len(roles), people)
    return _Table(
        name,
        tuple(map(str, roles)),
        columns["image_id"],
        columns["ann_id"],
        columns["label"],
        objects,
    )


def _whole(values: Any, where: str) -> np.ndarray:
    """[n] int64 from a list of whole numbers, or of lists of them.

    Raises:
        UserError: it is none.
    """
    if not isinstance(values, list | tuple):
        raise UserError(f"{where} is not a list but {values!r:.60}")
    if values and all(isinstance(value, list | tuple) for value in values):
        values = list(itertools.chain.from_iterable(values))
    for index, value in enumerate(values):
        if not _is_whole(value):
            raise UserError(f"{where}[{index}] is not a whole number: {value!r:.60}")
    return np.array(values, np.int64)


def _is_whole(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**53 and value == int(value)  # false for NaN and infinity, too


def _clean_boxes(
    annotations: Sequence[Any],
    sizes: Mapping[int, tuple[float, float]],
    image_ids: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """The images' annotations, and how many are malformed.

    Returns:
        Ids [n], image ids [n], categories [n] (-1 for what is none) and boxes [n, 4]; counts.

    Raises:
        UserError: these are no COCO instances, or they lack an image.
    """
    missing = [number for number in image_ids if number not in sizes]
    if missing:
        raise UserError(
            f"{len(missing)} images of the VSRL ground truth, the first with id "
            f"{missing[0]}, are not in the instances; give COCO's instances file of the same "
            "split (V-COCO's test split belongs to val2014, the others to train2014)"
        )
    wanted = set(image_ids)
    kept: dict[int, tuple[Any, ...]] = {}
    for index, annotation in enumerate(annotations):
        where = f"the instances' annotations[{index}]"
        number, image = _fields(annotation, ("id", "image_id"), where)
        for key, value in (("id", number), ("image_id", image)):
            if not _is_whole(value):
                raise UserError(f"{where} has the {key} {value!r:.60}, which is no whole number")
        if image not in wanted:
            continue
        bbox, category = annotation.get("bbox"), annotation.get("category_id")
        if not (isinstance(bbox, list | tuple) and len(bbox) == 4 and all(map(_is_number, bbox))):
            bbox = (np.nan,) * 4  # counted, as by the builder of training data
        area = annotation.get("area")
        row = (
            int(number),
            int(image),
            int(category) if _is_whole(category) else -1,
            *map(float, bbox),
            float(area if _is_number(area) else bbox[2] * bbox[3]),
            annotation.get("ignore") == 1,
        )
        if repr(kept.setdefault(row[0], row)) != repr(row):
            raise UserError(f"{where} has the id {number} of another annotation")
    table = np.array(list(kept.values()), np.float64).reshape(-1, 9).T
    usual = (abs(table[3:7]) <= LARGEST).all(axis=0)
    table[3:7, ~usual] = np.nan
    x, y, w, h, area, ignore = table[3:]
    ids, image_id, category = table[:3].astype(np.int64)
    width, height = np.array([sizes[i] for i in image_id.tolist()], np.float64).reshape(-1, 2).T
    boxes = np.stack(
        [
            np.clip(x, 0, width - 1),
            np.clip(y, 0, height - 1),
            np.clip(x + np.maximum(0, w - 1), 0, width - 1),
            np.clip(y + np.maximum(0, h - 1), 0, height - 1),
        ],
        axis=1,
    )
    sized = usual & (area > 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    good = sized & (ignore == 0)
    lost = {
        "instances_without_area": int((~sized & (ignore == 0)).sum()),
        "instances_of_unknown_category": int((category < 0).sum()),
    }
    return ids[good], image_id[good], category[good], boxes[good], lost


def _sizes(instances: Any) -> dict[int, tuple[float, float]]:
    """{image id: (width, height)} of COCO's instances; infinite where it is not known.

    Raises:
        UserError: these are none.
    """
    if not isinstance(instances, Mapping):
        raise UserError(f"the instances are not COCO's: not a JSON object but {instances!r:.60}")
    for key in ("images", "annotations"):
        if not isinstance(instances.get(key), list | tuple):
            raise UserError(
                f"the instances are not COCO's: they have no list {key!r} (but "
                f"{', '.join(map(repr, instances)):.160})"
            )
    sizes: dict[int, tuple[float, float]] = {}
    for index, image in enumerate(instances["images"]):
        where = f"the instances' images[{index}]"
        (number,) = _fields(image, ("id",), where)
        if not _is_whole(number):
            raise UserError(f"{where} has the id {number!r:.60}, which is no whole number")
        size = (image.get("width"), image.get("height"))
        known = all(_is_number(side) and 0 < side <= LARGEST for side in size)
        sizes.setdefault(int(number), size if known else (np.inf, np.inf))
    return sizes


def _fields(item: Any, keys: Sequence[str], where: str) -> list[Any]:
    """The values of an object's keys; a UserError where one is missing."""
    if not isinstance(item, Mapping):
        raise UserError(f"{where} is not a JSON object but {item!r:.60}")
    for key in keys:
        if key not in item:
            there = ", ".join(map(repr, item)) or "nothing"
            raise UserError(f"{where} has no {key!r} (it has {there:.160}): not COCO's instances?")
    return [item[key] for key in keys]


def _is_number(value: Any) -> bool:
    """Whether it can be a float; it may be NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**62


def _find(wanted: np.ndarray, ids: np.ndarray, by_id: np.ndarray) -> np.ndarray:
    """Position of every wanted id in `ids` (sorted by `by_id`), len(ids) where it is missing."""
    ordered = ids[by_id]
    at = np.searchsorted(ordered, wanted)
    at[at == len(ids)] = 0
    return np.where(ordered[at] == wanted, by_id[at], len(ids)) if len(ids) else at + len(ids)
