"""V-COCO's own annotations (VSRL) joined with COCO's boxes.

VSRL lists, for each of 26 actions, which people (COCO annotation ids) do it and with which
objects; the boxes are in COCO's `instances_*.json`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import matching, overlap


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
        dropped: number of people and objects that VSRL names but that have no box.
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
        UserError: a field is missing, or the instances lack an image of VSRL.
    """
    try:
        image_ids = sorted({int(i) for action in vsrl for i in action["image_id"]})
        actions = tuple(str(action["action_name"]) for action in vsrl)
        roles = tuple(
            (index, str(role), slot)
            for index, action in enumerate(vsrl)
            for slot, role in enumerate(action["role_name"])
            if role != "agent"
        )
        tables = [_table(action) for action in vsrl]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"the ground truth is not a VSRL list: every action needs action_name, role_name, "
            f"image_id, ann_id, role_object_id and label ({type(error).__name__}: {error})"
        ) from None
    ids, image_id, category, boxes = _clean_boxes(instances, image_ids)
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
    for index, (ann_id, label, objects) in enumerate(tables):
        person = person_of_box[_find(ann_id, ids, by_id)]
        lost_people = max(lost_people, int((person < 0).sum()))
        annotated[person[person >= 0]] = True
        doing = (person >= 0) & (label == 1)
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


def _table(action: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One action's annotation ids [p], labels [p] and object ids [roles, p]."""
    ann_id = np.asarray(action["ann_id"], np.int64).ravel()
    label = np.asarray(action["label"], np.int64).ravel()
    objects = np.asarray(action["role_object_id"], np.int64).ravel()
    roles = len(action["role_name"])
    if len(label) != len(ann_id) or len(objects) != roles * len(ann_id):
        raise UserError(
            f"VSRL action {action['action_name']!r} has {len(ann_id)} ann_id, {len(label)} label "
            f"and {len(objects)} role_object_id; it needs as many labels as people, and as many "
            f"object ids for each of its {roles} roles"
        )
    return ann_id, label, objects.reshape(roles, -1)


def _clean_boxes(
    instances: Mapping[str, Any], image_ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids [n], image ids [n], categories [n] and boxes [n, 4] of the images' annotations."""
    try:
        sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
        missing = [number for number in image_ids if number not in sizes]
        if missing:
            raise UserError(
                f"{len(missing)} images of the VSRL ground truth, the first with id "
                f"{missing[0]}, are not in the instances; give COCO's instances file of the same "
                "split (V-COCO's test split belongs to val2014, the others to train2014)"
            )
        wanted = set(image_ids)
        kept = [a for a in instances["annotations"] if a["image_id"] in wanted]
        ids = np.array([a["id"] for a in kept], np.int64)
        image_id = np.array([a["image_id"] for a in kept], np.int64)
        category = np.array([a["category_id"] for a in kept], np.int64)
        x, y, w, h = np.array([a["bbox"] for a in kept], np.float64).reshape(-1, 4).T
        area = np.array([a.get("area", a["bbox"][2] * a["bbox"][3]) for a in kept], np.float64)
        ignore = np.array([a.get("ignore", 0) == 1 for a in kept], bool)
        width, height = np.array([sizes[a["image_id"]] for a in kept]).reshape(-1, 2).T
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "the instances are not COCO's: they need images (id, width, height) and annotations "
            f"(id, image_id, category_id, bbox) ({type(error).__name__}: {error})"
        ) from None
    boxes = np.stack(
        [
            np.clip(x, 0, width - 1),
            np.clip(y, 0, height - 1),
            np.clip(x + np.maximum(0, w - 1), 0, width - 1),
            np.clip(y + np.maximum(0, h - 1), 0, height - 1),
        ],
        axis=1,
    )
    good = ~ignore & (area > 0) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return ids[good], image_id[good], category[good], boxes[good]


def _find(wanted: np.ndarray, ids: np.ndarray, by_id: np.ndarray) -> np.ndarray:
    """Position of every wanted id in `ids` (sorted by `by_id`), len(ids) where it is missing."""
    ordered = ids[by_id]
    at = np.searchsorted(ordered, wanted)
    at[at == len(ids)] = 0
    return np.where(ordered[at] == wanted, by_id[at], len(ids)) if len(ids) else at + len(ids)
