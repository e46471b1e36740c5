"""V-COCO's own annotations ("VSRL") with COCO's instances -> entries in PPDM's format.

`vcoco_SPLIT.json` lists 26 actions; row n of each says whether person `ann_id[n]` of image
`image_id[n]` does it (`label`), and `role_object_id` holds, role after role, the COCO annotation
that plays the role for each row (0: none); the first role is the person.

A pair of a person and the object in a role becomes a relation of the verb-role, e.g. `cut_instr`.
A person who does the action with no annotated object in a role becomes a relation with object -1,
which cleaning leaves out and counts: there is no interaction point to train. The four actions
without any role (walk, smile, run, stand) never become relations. All of COCO's boxes in the
image are listed, so that people who do nothing are still training examples of the person class;
crowds are marked.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines import annotations
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.reading import load_instances
from ggnet_jax.evaluation.vcoco_truth import is_vsrl
from ggnet_jax.vocabularies import Vocabulary

__all__ = ["ids_files", "is_vsrl", "read", "read_ids", "read_instances", "select"]

_NOWHERE = 10**6  # an object that the instances lack stays one that points nowhere


def read(
    actions: Sequence[Mapping[str, Any]],
    instances: Mapping[str, Any],
    vocabulary: Vocabulary,
    image_ids: Sequence[int] | None = None,
    notes: list[str] | None = None,
) -> list[dict[str, Any]]:
    """The entries of a split, boxes as COCO's floats (x2 = x + width).

    Args:
        actions: content of `vcoco_SPLIT.json`.
        instances: content of COCO's `instances_*.json` (or several, merged).
        vocabulary: V-COCO's; a verb is called ACTION_ROLE.
        image_ids: the split's images; None takes those that the actions mention.
        notes: takes a line on what the actions have beyond `image_ids`.

    Raises:
        UserError: an action or the instances are malformed, or lack an image of the split.
    """
    _check_actions(actions, vocabulary)
    mentioned = {image for action in actions for image in action["image_id"]}
    if image_ids is None:
        image_ids = sorted(mentioned)
    images = _images(instances)
    absent = [image for image in image_ids if image not in images]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(image_ids)} V-COCO images, the first {absent[0]}, are not in "
            "the instances file; V-COCO's train and val images are COCO's train2014, its test "
            "images val2014"
        )
    beyond = mentioned.difference(image_ids)
    if beyond and notes is not None:
        notes.append(
            f"{len(beyond)} images of the actions, {min(beyond)} for one, are not in the split's "
            "list of image ids and are left out"
        )
    boxes, places = _boxes(instances, set(image_ids), images)
    relations = _relations(actions, vocabulary, places)
    return [
        {
            "file_name": images[image]["file_name"],
            "img_id": image,
            "width": images[image].get("width"),
            "height": images[image].get("height"),
            "annotations": boxes[image],
            "hoi_annotation": relations[image],
        }
        for image in image_ids
    ]


def _check_actions(actions: Sequence[Any], vocabulary: Vocabulary) -> None:
    """Raise a UserError unless every action has known roles and columns of one length."""
    seen = set()
    for number, action in enumerate(actions):
        if not isinstance(action, Mapping) or "action_name" not in action:
            raise UserError(f"V-COCO's action {number} is {action!r:.60}; it lacks 'action_name'")
        name = action["action_name"]
        for key in ("ann_id", "image_id", "label", "role_name", "role_object_id"):
            if not isinstance(action.get(key), list):
                found = f"{action[key]!r:.40}" if key in action else "nothing"
                raise UserError(f"V-COCO's action {name!r:.60} lacks a list: {key!r} is {found}")
        columns = {key: action[key] for key in ("ann_id", "image_id", "label")}
        roles, played = action["role_name"], action["role_object_id"]
        if not all(isinstance(text, str) for text in (name, *roles)):
            raise UserError(f"V-COCO's action {name!r:.60} has a role that is not a name: {roles}")
        rows = len(columns["ann_id"])
        unknown = [role for role in roles[1:] if f"{name}_{role}" not in vocabulary.verbs]
        whole = {len(column) for column in columns.values()} == {rows}
        if not whole or unknown or len(played) != rows * len(roles) or not roles:
            fault = f"the unknown role {unknown[0]!r}" if unknown else "lists of different lengths"
            raise UserError(f"V-COCO's action {name!r} has {fault}; is the file one of V-COCO's?")
        if (name, *roles) in seen:
            raise UserError(f"V-COCO's action {name!r} is there twice")
        seen.add((name, *roles))
        for key, column in (*columns.items(), ("role_object_id", played)):
            for row, value in enumerate(column):
                if type(value) is not int or (key == "label" and value not in (0, 1)):
                    kind = "0 or 1" if key == "label" else "a whole number"
                    raise UserError(
                        f"V-COCO's action {name!r}: {key}[{row}] is {value!r:.40}, not {kind}"
                    )


def _images(instances: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """COCO's images by id."""
    images: dict[int, Mapping[str, Any]] = {}
    for number, image in enumerate(instances["images"]):
        identity, name = image.get("id"), image.get("file_name")
        if type(identity) is not int or not isinstance(name, str) or not name.strip():
            raise UserError(
                f"COCO's instances: images[{number}] needs an id and a file_name, not "
                f"{dict(image)!r:.100}"
            )
        if images.setdefault(identity, image)["file_name"] != name:
            raise UserError(f"COCO's instances have two images with the id {identity}")
    return images


def _boxes(
    instances: Mapping[str, Any], wanted: set[int], images: Mapping[int, Any]
) -> tuple[dict[int, list[dict[str, Any]]], dict[tuple[int, int], int]]:
    """{image: its boxes}, and {(image, annotation): its place among the boxes of the image}."""
    boxes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    places: dict[tuple[int, int], int] = {}
    owners: dict[int, Mapping[str, Any]] = {}
    for number, annotation in enumerate(instances["annotations"]):
        identity, image = annotation.get("id"), annotation.get("image_id")
        if type(identity) is not int or type(image) is not int or image not in images:
            raise UserError(
                f"COCO's instances: annotations[{number}] needs an id and the image_id of one of "
                f"the images, not {dict(annotation)!r:.100}"
            )
        first = owners.setdefault(identity, annotation)
        if first is not annotation:
            if first != annotation:
                raise UserError(f"COCO's instances have two annotations with the id {identity}")
            continue  # a file that was given twice
        if image not in wanted:
            continue
        corners = annotation.get("bbox")
        if annotations.is_box(corners):  # anything else is left for the cleaning to count
            x, y, width, height = corners
            corners = [x, y, x + width, y + height]
        places[image, identity] = len(boxes[image])
        box = {"bbox": corners, "category_id": annotation.get("category_id")}
        if annotation.get("iscrowd"):
            box["iscrowd"] = 1
        boxes[image].append(box)
    return boxes, places


def _relations(
    actions: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    places: Mapping[tuple[int, int], int],
) -> dict[int, list[dict[str, int]]]:
    verb_ids = dict(zip(vocabulary.verbs, vocabulary.verb_ids, strict=True))
    relations: dict[int, list[dict[str, int]]] = defaultdict(list)
    for action in actions:
        rows = len(action["ann_id"])
        for role, role_name in enumerate(action["role_name"][1:], start=1):
            verb = verb_ids[f"{action['action_name']}_{role_name}"]
            played = action["role_object_id"][role * rows : (role + 1) * rows]
            columns = (action["image_id"], action["ann_id"], action["label"], played)
            for image, person, label, obj in zip(*columns, strict=True):
                if label:
                    relations[image].append(
                        {
                            "subject_id": places.get((image, person), _NOWHERE),
                            "object_id": places.get((image, obj), _NOWHERE) if obj else -1,
                            "category_id": verb,
                        }
                    )
    return relations


def ids_files(file: str) -> tuple[Path, Path]:
    """Where the image ids of `NAME.json` may be: `NAME.ids` beside it, or in `../splits`."""
    path = Path(file.removesuffix(".gz")).with_suffix(".ids")
    return path, path.parent.parent / "splits" / path.name


def read_ids(file: str) -> list[int] | None:
    """The split's image ids from the first of `ids_files` that is there.

    Raises:
        UserError: a line is not a number.
    """
    for candidate in ids_files(file):
        if candidate.is_file():
            words = io.read_text(candidate).split()
            odd = next((word for word in words if not re.fullmatch("[0-9]{1,18}", word)), None)
            if odd is not None or not words:
                found = "it is empty" if odd is None else f"{odd[:40]!r} is none"
                raise UserError(f"{candidate} has an image id a line, but {found}")
            return [int(word) for word in words]
    return None


def read_instances(paths: Sequence[str]) -> dict[str, list[Any]]:
    """COCO's `images` and `annotations` of one or more files, `.json` or `.json.gz`.

    Raises:
        UserError: a file is missing, not JSON, or not COCO's.
    """
    parts = [load_instances(path) for path in paths]
    return {
        key: [item for part in parts for item in part[key]] for key in ("images", "annotations")
    }


def select(
    files: Sequence[Sequence[Mapping[str, Any]]], image_ids: Collection[int]
) -> list[dict[str, Any]]:
    """The rows of some images in one or more files of the same actions, as one file's content.

    Raises:
        UserError: the files don't list the same actions.
    """
    wanted, selected = set(image_ids), []
    for parts in itertools.zip_longest(*files, fillvalue={}):
        kinds = {(part.get("action_name"), *part.get("role_name", ())) for part in parts}
        if len(kinds) > 1:
            raise UserError(f"V-COCO's files list different actions: {sorted(map(str, kinds))}")
        merged: dict[str, list[Any]] = {key: [] for key in ("image_id", "ann_id", "label")}
        roles: list[list[int]] = [[] for _ in parts[0]["role_name"]]
        for part in parts:
            rows = [row for row, image in enumerate(part["image_id"]) if image in wanted]
            for key, values in merged.items():
                values += [part[key][row] for row in rows]
            for role, values in enumerate(roles):
                first = role * len(part["image_id"])
                values += [part["role_object_id"][first + row] for row in rows]
        merged["role_object_id"] = list(itertools.chain.from_iterable(roles))
        selected.append({**parts[0], **merged})
    return selected
