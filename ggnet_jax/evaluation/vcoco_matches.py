"""V-COCO's people and roles as annotated pairs, for the diagnosis of Scenario 1."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ggnet_jax.evaluation import overlap
from ggnet_jax.evaluation.average_precision import area_under_curve
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.records import Interactions
from ggnet_jax.evaluation.results import Scores
from ggnet_jax.evaluation.vcoco_truth import People


def role_matches(
    found: Interactions,
    rows: np.ndarray,
    role: np.ndarray,
    person: np.ndarray,
    people: People,
    verbs: np.ndarray,
    scores: Scores,
    image_of_file: Sequence[int],
) -> Matched:
    """Scenario 1's matches: a person and a role are a pair, whose object may be four zeros.

    Args:
        found: the predictions.
        rows: [m] of them, by role, then descending score.
        role: [m] of each.
        person: [m] whom each is right for, -1 for a false positive.
        people: the ground truth.
        verbs: [R] verb index of each role.
        scores: Scenario 1's.
        image_of_file: image of each of `found.file_names`, -1 where it does not count.
    """
    action = np.array([one for one, _ in people.roles])
    does, in_role = np.nonzero(people.acts[:, action])
    pair = np.full((len(people.boxes) + 1, len(action)), -1)  # the last is for nobody
    pair[does, in_role] = np.arange(len(does))
    objects = np.where(people.has_object[..., None], people.object_boxes, 0.0)[does, in_role]
    name_of = {image: f"{number:012d}.jpg" for number, image in people.image_of_id.items()}
    name_of |= dict(zip(image_of_file, found.file_names, strict=True))
    names = [name_of.get(image, "") for image in range(max(name_of, default=-1) + 1)]
    truth = Interactions(
        file_names=tuple(names),
        box_image=np.concatenate([people.image, people.image[does]]),
        boxes=np.concatenate([people.boxes.reshape(-1, 4), objects.reshape(-1, 4)]),
        box_object=np.repeat([0, 1], [len(people.boxes), len(does)]),
        image=people.image[does],
        human=does,
        object=len(people.boxes) + np.arange(len(does)),
        verb=verbs[in_role],
        score=np.zeros(len(does)),
        dropped={},
    )
    found = _absent_objects_by_image(found, len(names))
    return Matched(
        title="v_coco, scenario 1",
        found=found,
        truth=truth,
        rows=rows,
        group=role,
        taken=pair[person, role],
        true_class=in_role,
        boxes=found.boxes,
        true_boxes=truth.boxes,
        overlap=overlap.vsrl,
        enough=overlap.at_least_half,
        average_precision=area_under_curve,
        scores=scores,
        categories=False,
    )


def _absent_objects_by_image(found: Interactions, num_images: int) -> Interactions:
    """The same predictions, where the box that stands for no object lies in their own image."""
    absent = len(found.boxes) - 1  # see `read_predictions`
    return dataclasses.replace(
        found,
        box_image=np.append(found.box_image, np.arange(num_images)),
        boxes=np.concatenate([found.boxes, np.zeros((num_images, 4))]),
        box_object=np.append(found.box_object, np.full(num_images, -1)),
        object=np.where(found.object == absent, len(found.boxes) + found.image, found.object),
    )
