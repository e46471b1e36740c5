"""The boxes of an image's interactions in the formats of other tools, each box once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.inference.interactions import Interaction, prediction_entry
from ggnet_jax.vocabularies import Vocabulary

if TYPE_CHECKING:
    import supervision


def to_coco_results(
    interactions: Sequence[Interaction], vocabulary: Vocabulary, *, image_id: int | str
) -> list[dict[str, Any]]:
    """The people and objects of an image as entries of COCO's results format.

    Args:
        interactions: of the image, as `Detector.detect` gives them.
        vocabulary: whose names they have; gives the category ids.
        image_id: as the annotations have it.

    Returns:
        A dictionary a box, {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, the
        boxes of the strongest interaction first.

    Raises:
        TypeError: what `detect` gives for a list of images; call it for each.
    """
    _check(interactions)
    entry = prediction_entry(interactions, vocabulary, file_name="")
    image_id = image_id.item() if isinstance(image_id, np.generic) else image_id  # for JSON
    results = []
    for box in entry["predictions"]:
        x1, y1, x2, y2 = box["bbox"]
        results.append(
            {
                "image_id": image_id,
                "category_id": box["category_id"],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": box["score"],
            }
        )
    return results


def _check(interactions: Sequence[Any]) -> None:
    """Raise a TypeError for what `detect` gives for a list of images."""
    if not all(isinstance(one, Interaction) for one in interactions):
        raise TypeError("the interactions of one image are needed; call it for each of a list")


def to_supervision(
    interactions: Sequence[Interaction], vocabulary: Vocabulary
) -> "supervision.Detections":
    """The people and objects of an image for the package supervision.

    Args:
        interactions: of the image, as `Detector.detect` gives them.
        vocabulary: whose names they have.

    Returns:
        `supervision.Detections` with `xyxy`, `confidence` and `class_id`, an index of
        `vocabulary.objects`. Its `data`, which stays with the boxes through filters and merges, has
        "class_name"; "label", the strongest interaction that the box takes part in; and
        "interactions", for each box a tuple of all of them, dictionaries of "role" ("human" or
        "object"), "verb", "score" and "other", the box (x1, y1, x2, y2) on the other side.

    Raises:
        TypeError: what `detect` gives for a list of images; call it for each.
        UserError: supervision is not installed.
    """
    _check(interactions)
    try:
        import supervision
    except ImportError as error:
        raise UserError("to_supervision needs the package: pip install supervision") from error

    entry = prediction_entry(interactions, vocabulary, file_name="")
    boxes = entry["predictions"]
    taking_part: list[list[dict[str, Any]]] = [[] for _ in boxes]
    labels: list[str] = [""] * len(boxes)
    for hoi, one in zip(entry["hoi_prediction"], interactions, strict=True):
        ends = {"human": hoi["subject_id"], "object": hoi["object_id"]}
        for role, other in (("human", "object"), ("object", "human")):
            taking_part[ends[role]].append(
                {
                    "role": role,
                    "verb": one.verb,
                    "score": one.score,
                    "other": tuple(boxes[ends[other]]["bbox"]),
                }
            )
            labels[ends[role]] = labels[ends[role]] or one.label
    classes = [vocabulary.object_ids.index(box["category_id"]) for box in boxes]
    every = np.empty(len(boxes), object)
    every[:] = [tuple(some) for some in taking_part]
    return supervision.Detections(
        xyxy=np.array([box["bbox"] for box in boxes], np.float32).reshape(-1, 4),
        confidence=np.array([box["score"] for box in boxes], np.float32),
        class_id=np.array(classes, int),
        data={
            "class_name": np.array([vocabulary.objects[c] for c in classes], str),
            "label": np.array(labels, str),
            "interactions": every,
        },
    )
