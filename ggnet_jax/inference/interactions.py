"""What a user gets for an image: interactions in the image's own pixels.

Everything here is NumPy. The network predicts in map cells of its input; these functions map
its detections back to the image and give them their names.
"""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry
from ggnet_jax.vocabularies import Vocabulary

if TYPE_CHECKING:  # they load JAX, and what is drawn needs none
    from ggnet_jax.inference.decoding import Detections
    from ggnet_jax.inference.detection import Found

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Interaction:
    """One person, one object and one verb.

    Boxes are (x1, y1, x2, y2), points (x, y), all in the image's own pixels, pixel (0, 0) at
    coordinate (0, 0). Boxes lie in the image; points may lie beside it. `score` is the product
    of `verb_score`, `human_score` and `object_score`.

    Attributes:
        human_box: the person.
        object_box: what the person interacts with; may be another person.
        object: name of the object class, "bicycle".
        verb: name of the verb, "ride".
        phrase: verb and object as one reads them, "ride bicycle".
        score: confidence in [0, 1], see above.
        human_score: height of the person's peak in the object heatmap.
        object_score: height of the object's peak.
        verb_score: height of the verb's peak after the last gaze step.
        interaction_point: the peak of the verb's heatmap.
        human_point: center of the person that was matched to it.
        object_point: center of the object that was matched to it.
        human_target: where the interaction point's own offset (APM) looked for the person.
        object_target: where it looked for the object.
        act_points: for each gaze step a pair of positions [K, 2] and weights [K] in (0, 1).
    """

    human_box: Box
    object_box: Box
    object: str
    verb: str
    phrase: str
    score: float
    human_score: float
    object_score: float
    verb_score: float
    interaction_point: Point
    human_point: Point
    object_point: Point
    human_target: Point
    object_target: Point
    act_points: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    @property
    def label(self) -> str:
        """What is written beside the boxes: "ride bicycle 0.83"."""
        return f"{self.phrase} {self.score:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """The interaction as JSON can hold it, without its ActPoints."""
        return {
            "verb": self.verb,
            "object": self.object,
            "score": _short(self.score),
            "verb_score": _short(self.verb_score),
            "human_score": _short(self.human_score),
            "object_score": _short(self.object_score),
            "human_box": [_short(v) for v in self.human_box],
            "object_box": [_short(v) for v in self.object_box],
            "interaction_point": [_short(v) for v in self.interaction_point],
        }


@dataclass(frozen=True, eq=False)
class Heatmaps:
    """Probability maps of one verb over the network's input.

    Attributes:
        maps: [1 + steps, h, w] in (0, 1): after the glance, then after every gaze step.
        input_size: (H, W) of the network's input, which the maps cover at a quarter of its size.
    """

    maps: np.ndarray
    input_size: tuple[int, int]


def cells_to_image(
    points: ArrayLike, width: int, height: int, input_size: tuple[int, int]
) -> np.ndarray:
    """Carry points [..., 2] from map cells to the pixels of a width x height image."""
    inverse = geometry.invert(geometry.letterbox(width, height, input_size))
    return geometry.apply(inverse, np.asarray(points, np.float64) * OUTPUT_STRIDE)


def boxes_to_image(
    boxes: ArrayLike, width: int, height: int, input_size: tuple[int, int]
) -> np.ndarray:
    """Carry boxes [..., 4] from map cells to an image, clipped as `geometry.clip_boxes` does."""
    boxes = np.asarray(boxes, np.float64)
    corners = boxes.reshape(*boxes.shape[:-1], 2, 2)
    corners = cells_to_image(corners, width, height, input_size)
    return geometry.clip_boxes(corners.reshape(boxes.shape), width, height)


def check_choice(threshold: Any, top_k: Any = None) -> None:
    """Raise a ValueError if a threshold or a number of interactions makes no sense."""
    try:
        sensible = bool(0 <= threshold <= 1)  # nor is NaN
    except (TypeError, ValueError):
        sensible = False
    if not sensible:
        raise ValueError(f"threshold is {threshold!r}; scores lie between 0 and 1")
    try:
        sensible = top_k is None or operator.index(top_k) >= 0
    except TypeError:
        sensible = False
    if not sensible:
        raise ValueError(f"top_k is {top_k!r}; it is a number of interactions, or None for all")


def check_threshold_option(threshold: float) -> None:
    """`check_choice` of what the command line gave: a UserError in its words."""
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold={threshold:g}; scores lie between 0 and 1")


def to_interactions(
    found: "Found",
    row: int,
    vocabulary: Vocabulary,
    *,
    width: int,
    height: int,
    input_size: tuple[int, int],
    threshold: float = 0.0,
    top_k: int | None = None,
) -> list[Interaction]:
    """The interactions of one image of a batch, by descending score.

    Args:
        found: `detection.Found` with NumPy arrays.
        row: which image of the batch.
        vocabulary: names of verbs and objects.
        width: of the image, in its pixels.
        height: alike.
        input_size: (H, W) of the network's input.
        threshold: interactions that score less are left out.
        top_k: at most so many.
    """
    detections = found.detections
    passed = np.asarray(detections.valid[row] & (detections.score[row] >= threshold))
    chosen = np.flatnonzero(passed)[:top_k]  # slots, which come by descending score

    def points(cells: ArrayLike) -> np.ndarray:
        return cells_to_image(cells, width, height, input_size)

    boxes: dict[str, np.ndarray] = {}
    centers: dict[str, np.ndarray] = {}
    for side in ("human", "object"):
        cells = getattr(detections, f"{side}_box")[row][chosen].astype(np.float64)
        found_boxes = boxes_to_image(cells, width, height, input_size)
        boxes[side] = geometry.fit_boxes(found_boxes, width, height)
        centers[side] = points((cells[:, :2] + cells[:, 2:]) / 2)
    interaction_points = points(found.interaction_point[row][chosen])
    human_targets = points(found.human_target[row][chosen])
    object_targets = points(found.object_target[row][chosen])
    steps = [
        (points(step.position[row][chosen]), np.asarray(step.weight[row][chosen], np.float64))
        for step in found.act_points
    ]
    interactions = []
    for i, slot in enumerate(chosen):
        verb, obj = int(detections.verb[row, slot]), int(detections.object_class[row, slot])
        interactions.append(
            Interaction(
                human_box=_floats(boxes["human"][i]),
                object_box=_floats(boxes["object"][i]),
                object=vocabulary.objects[obj],
                verb=vocabulary.verbs[verb],
                phrase=vocabulary.verb_phrase(verb, obj),
                score=float(detections.score[row, slot]),
                human_score=float(detections.human_score[row, slot]),
                object_score=float(detections.object_score[row, slot]),
                verb_score=float(detections.verb_score[row, slot]),
                interaction_point=_floats(interaction_points[i]),
                human_point=_floats(centers["human"][i]),
                object_point=_floats(centers["object"][i]),
                human_target=_floats(human_targets[i]),
                object_target=_floats(object_targets[i]),
                act_points=tuple((position[i], weight[i]) for position, weight in steps),
            )
        )
    return interactions


def to_prediction_entry(
    detections: "Detections",
    row: int,
    vocabulary: Vocabulary,
    *,
    file_name: str,
    width: int,
    height: int,
    input_size: tuple[int, int],
) -> dict[str, Any]:
    """One image of a batch in PPDM's prediction format, boxes listed once each.

    Args:
        detections: `decoding.Detections` with NumPy arrays.
        row: which image of the batch.
        vocabulary: gives the category ids.
        file_name: under which the image is known to the ground truth.
        width: of the image, in its pixels.
        height: alike.
        input_size: (H, W) of the network's input.

    Returns:
        {"file_name", "predictions": [{"bbox", "category_id", "score"}],
        "hoi_prediction": [{"subject_id", "object_id", "category_id", "score"}]}
    """
    slots = np.flatnonzero(np.asarray(detections.valid[row]))
    human_boxes = boxes_to_image(detections.human_box[row][slots], width, height, input_size)
    object_boxes = boxes_to_image(detections.object_box[row][slots], width, height, input_size)
    return _prediction_entry(
        file_name,
        vocabulary,
        (
            (
                (human_boxes[i], detections.human_score[row, slot]),
                (object_boxes[i], detections.object_score[row, slot]),
                int(detections.object_class[row, slot]),
                int(detections.verb[row, slot]),
                detections.score[row, slot],
            )
            for i, slot in enumerate(slots)
        ),
    )


def prediction_entry(
    interactions: Sequence[Interaction], vocabulary: Vocabulary, *, file_name: str
) -> dict[str, Any]:
    """An image's interactions in PPDM's prediction format, see `to_prediction_entry`.

    Args:
        interactions: by descending score, in the image's pixels.
        vocabulary: whose names they have; gives the category ids.
        file_name: under which the image is known to the ground truth.
    """
    return _prediction_entry(
        file_name,
        vocabulary,
        (
            (
                (one.human_box, one.human_score),
                (one.object_box, one.object_score),
                vocabulary.objects.index(one.object),
                vocabulary.verbs.index(one.verb),
                one.score,
            )
            for one in interactions
        ),
    )


def prediction_line(
    file_name: str,
    width: int,
    height: int,
    shown: Sequence[Interaction],
    drawings: Sequence[str] = (),
) -> dict[str, Any]:
    """What predictions.jsonl has of an image.

    Args:
        file_name: the image as given.
        width: of the image, in its pixels.
        height: alike.
        shown: its interactions, by descending score.
        drawings: names of the drawing, if there is one, and of the explanation.
    """
    entry: dict[str, Any] = {"file_name": file_name, "width": width, "height": height}
    entry["drawing"] = drawings[0] if drawings else None
    entry["explanation"] = drawings[1] if len(drawings) > 1 else None
    return entry | {"interactions": [one.to_dict() for one in shown]}


def failure_line(file_name: str, why: str) -> dict[str, Any]:
    """What predictions.jsonl has of an image that could not be read."""
    return {"file_name": file_name, "error": why}


def _prediction_entry(
    file_name: str, vocabulary: Vocabulary, triplets: Iterable[tuple[Any, Any, int, int, Any]]
) -> dict[str, Any]:
    """PPDM's entry of (box, score) of human and object, object and verb index, and score."""
    index_of: dict[tuple, int] = {}  # (class, box) -> index in `predictions`
    predictions: list[dict[str, Any]] = []

    def box_index(object_class: int, box: ArrayLike, score: Any) -> int:
        corners = [_short(v) for v in np.asarray(box)]
        key = (object_class, *corners)
        if key not in index_of:
            index_of[key] = len(predictions)
            entry = {"bbox": corners, "category_id": vocabulary.object_ids[object_class]}
            predictions.append(entry | {"score": _short(score)})
        return index_of[key]

    hois = [
        {
            "subject_id": box_index(0, *human),
            "object_id": box_index(object_class, *target),
            "category_id": vocabulary.verb_ids[verb],
            "score": _short(score),
        }
        for human, target, object_class, verb, score in triplets
    ]
    return {"file_name": file_name, "predictions": predictions, "hoi_prediction": hois}


def _floats(values: np.ndarray) -> tuple:
    return tuple(float(v) for v in values)


def _short(value: Any) -> float:
    """Nine digits tell any two float32 apart and make files half as long."""
    return float(f"{float(value):.9g}")
