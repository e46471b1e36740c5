"""V-COCO's scenarios and agent AP of the detections that its own code takes, as that code counts.

Each entry of such a file is a person, with an agent's score for each action and a box with a score
for each verb-role, and each of these is one prediction: nothing is merged, and those that a cache
fills in count like all others. (Predictions in PPDM's format are instead made records first, in
which equal ones are one; see `vcoco`.)
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import matching, overlap
from ggnet_jax.evaluation.average_precision import area_under_curve
from ggnet_jax.evaluation.boxes import LARGEST, as_sizes, box_problem
from ggnet_jax.evaluation.formats.vcoco_pickle import FILLED_BOX, Detections
from ggnet_jax.evaluation.results import score_classes
from ggnet_jax.evaluation.vcoco_truth import People, match_people

_AGENT = "_agent"
_FILLED = np.array([FILLED_BOX], np.float32).astype(np.float64)


def clean(detections: Detections, people: People, unknown_images: str) -> tuple[Detections, int]:
    """The detections of images that have ground truth, with `image_id` their numbers.

    Args:
        detections: of a file.
        people: the ground truth.
        unknown_images: "error", or "ignore" to leave out those of images without ground truth.

    Returns:
        The detections, boxes of four NaN as four zeros; how many entries are left out because
        their image is unknown.

    Raises:
        UserError: a box is no box, an image is unknown, or all of them are.
    """
    path = detections.path
    box = detections.box.copy()
    box[np.isnan(box).all(axis=1)] = 0.0
    for boxes, place in (
        (detections.person_box, lambda row: f"entry {row}, 'person_box'"),
        (box, detections.place),
    ):
        for bad, why in (
            (~np.isfinite(boxes).all(axis=1), "has a coordinate that is not finite"),
            ((abs(boxes) > LARGEST).any(axis=1), "has a coordinate too large"),
            ((boxes[:, 2:] < boxes[:, :2]).any(axis=1), f"has a negative size{as_sizes(boxes)}"),
        ):
            if bad.any():
                row = int(bad.argmax())
                raise UserError(f"{path}: {place(row)} {why}: {boxes[row].tolist()}")
    if (~np.isfinite(detections.score)).any():
        row = int((~np.isfinite(detections.score)).argmax())
        raise UserError(f"{path}: {detections.place(row)} has a score that is not finite")
    problem = box_problem(detections.person_box, np.zeros(len(detections.person_box), bool))
    if problem:
        raise UserError(f"{path}: {problem}")
    ids, index = np.unique(detections.image_id, return_inverse=True)
    known = np.array([number in people.image_of_id for number in ids.tolist()], bool)
    if not known.all() and unknown_images == "error":
        first = int((~known[index]).argmax())
        raise UserError(
            f"{path}: image_id {detections.image_id[first]} (entry {first}) is not in the ground "
            "truth; check the split, or set unknown_images to 'ignore'"
        )
    number = np.array([people.image_of_id.get(one, -1) for one in ids.tolist()], np.int64)
    if number.max(initial=-1) < 0 <= max(people.image_of_id.values(), default=0) and len(ids):
        raise UserError(
            f"none of the {len(ids)} predicted images is annotated; check that predictions and "
            "ground truth are of the same split"
        )
    image = number[index] if len(ids) else np.empty(0, np.int64)
    kept = np.flatnonzero(image >= 0)
    new = np.full(len(image), -1)
    new[kept] = np.arange(len(kept))
    rows = np.flatnonzero(new[detections.person] >= 0)
    cleaned = dataclasses.replace(
        detections,
        image_id=image[kept],
        person_box=detections.person_box[kept],
        person=new[detections.person[rows]],
        group=detections.group[rows],
        box=box[rows],
        score=detections.score[rows],
        filled=detections.filled[:, kept],
    )
    return cleaned, int((~known[index]).sum()) if len(ids) else 0


class Scorer:
    """Ranks each group's predictions and tells which are right.

    Attributes:
        predictions: how many there are, those that are filled in included.
        ignored: how many of them belong to people without annotation, and don't count.
    """

    def __init__(self, detections: Detections, people: People):
        """Match every person once.

        Args:
            detections: from `clean`.
            people: the ground truth.
        """
        self._people = people
        boxes, image = detections.person_box, detections.image_id
        self._order = np.lexsort((*boxes.T[::-1], image))  # ties: image, person box, object box
        columns = np.column_stack([image, boxes])[self._order]
        new = (np.diff(columns, axis=0, prepend=columns[:1]) != 0).any(axis=1)
        rank = np.empty(len(boxes), np.int64)
        rank[self._order] = np.cumsum(new)  # equal people have equal ones
        self._match, near = match_people(image, boxes, people)
        annotated = np.append(people.annotated, True)  # the last is for nobody
        counts = annotated[self._match]
        self._near = near >= 0.5
        filled = detections.filled & counts
        self._filled = filled[:, self._order]
        rows = np.flatnonzero(counts[detections.person])
        group, score = detections.group[rows], detections.score[rows]
        person, box = detections.person[rows], detections.box[rows]
        ranked = matching.by_descending_score(group, score, lambda: (rank[person], *box.T))
        self._group, self._score = group[ranked], score[ranked]
        self._person, self._box, self._rank = person[ranked], box[ranked], rank
        self._groups = {name: number for number, name in enumerate(detections.groups)}
        self.predictions = len(detections.group) + int(detections.filled.sum())
        self.ignored = self.predictions - len(rows) - int(filled.sum())

    def roles(self, *, any_object: bool) -> dict[str, np.ndarray]:
        """The columns of `Scores` for the people's roles; Scenario 2 with `any_object`, else 1."""
        found = []
        for role, (action, name) in enumerate(self._people.roles):
            group = self._number(f"{self._people.actions[action]}_{name}")
            rows = slice(*np.searchsorted(self._group, [group, group + 1]))
            match = self._match[self._person[rows]]
            right = self._right_object(match, self._box[rows], role, any_object)
            everyone = np.arange(len(self._people.boxes))
            boxes = np.broadcast_to(_FILLED, (len(everyone), 4))
            tiny = self._right_object(everyone, boxes, role, any_object)
            found.append(self._score_group(group, action, right, tiny))
        return _join(found)

    def agents(self) -> dict[str, np.ndarray]:
        """The columns of `Scores` for the people's actions."""
        found = []
        for action, name in enumerate(self._people.actions):
            group = self._number(name + _AGENT)
            start, stop = np.searchsorted(self._group, [group, group + 1])
            every = np.ones(len(self._people.boxes), bool)
            found.append(self._score_group(group, action, np.ones(stop - start, bool), every))
        return _join(found)

    def _number(self, name: str) -> int:
        if name not in self._groups:
            raise UserError(f"the VSRL ground truth has {name!r}, which is unknown")
        return self._groups[name]

    def _right_object(
        self, match: np.ndarray, boxes: np.ndarray, role: int, any_object: bool
    ) -> np.ndarray:
        """[k] bool: whether each object box is right for the annotated person `match`."""
        people = self._people
        if not len(people.boxes):
            return np.zeros(len(match), bool)
        right = overlap.vsrl(people.object_boxes[match, role], boxes) >= 0.5
        nothing = any_object | (boxes == 0).all(axis=1)
        return np.where(people.has_object[match, role], right, nothing)

    def _score_group(
        self, group: int, action: int, right: np.ndarray, tiny: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The columns of one group.

        Args:
            group: its number.
            action: that the person has to do.
            right: [k] bool, whether the objects of the group's ranked predictions are right.
            tiny: whether the filled-in object is right for each annotated person.
        """
        start, stop = np.searchsorted(self._group, [group, group + 1])
        filled = np.flatnonzero(self._filled[group])
        person = np.concatenate([self._person[start:stop], self._order[filled]])
        tiny = np.append(tiny, False)  # the last is for nobody
        good = np.concatenate([right, tiny[self._match[person[stop - start :]]]])
        first = start + int(np.searchsorted(-self._score[start:stop], 0.0))
        if len(filled) and first < stop:  # scores that are not above the filled ones'
            tail = np.arange(first, stop)
            box = np.vstack([self._box[tail], np.broadcast_to(_FILLED, (len(filled), 4))])
            score = np.concatenate([self._score[tail], np.zeros(len(filled))])
            rank = self._rank[np.concatenate([self._person[tail], self._order[filled]])]
            order = np.lexsort((*box.T[::-1], rank, -score)) + first - start
            person[first - start :], good[first - start :] = person[order], good[order]
        match = self._match[person]
        good &= self._near[person] & (match >= 0)
        if len(self._people.boxes):
            good &= self._people.acts[match, action]
        rows = np.flatnonzero(good)
        hits = np.zeros(len(person), bool)
        hits[rows[np.unique(match[rows], return_index=True)[1]]] = True
        total = self._people.acts[:, action].sum(keepdims=True)
        return score_classes(np.zeros(len(hits), np.int64), hits, total, area_under_curve)


def _join(columns: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([one[key] for one in columns]) for key in columns[0]}
