"""V-COCO's AP_role in Scenario 1 and 2, agent AP, and PPDM's own mAP.

    python -m ggnet_jax.evaluation.vcoco --predictions=P --ground_truth=VSRL --instances=COCO
    python -m ggnet_jax.evaluation.vcoco --predictions=P --ground_truth=PPDM

scores the predictions of any repository (PPDM's format, `.json`, `.jsonl` or either packed by gzip;
the pickles that V-COCO's own code takes, which count as there: see `vcoco_detections`) against
V-COCO's annotations with COCO's instances or, where there is only that, PPDM's pair lists.

Every mean is given over 24 roles and over 25, which differ by `point`: papers report either and
seldom say which. The paper's 54.7 is Scenario 1; 24 roles are the usual count.

scenario_1   a person who does the action without an annotated object needs a prediction without
             an object; scenario_2 takes any object for such a person.
agent        whether the right person is found to do each of the 26 actions, objects aside. A
             person's score is the best of their pairs with that action. The four actions without
             an object (walk, smile, run, stand) are found only by files that say so, with ids
             3, 17, 22 and 27; hence also the mean over the 22 others.
ppdm         the mAP of PPDM's code on pair lists. People who do something without an object are
             not in these lists, so it is not to be compared with the scenarios. Its 24-role mean is
             the mean of 24 APs; the original's is off when `point` is found.

A prediction without an object has the object_id -1, or an object box of four zeros or four NaN.
Categories of boxes are not compared. Equal scores are ordered by image and boxes, so that the
results don't depend on the order of a file. A role without any prediction has AP 0; one with
predictions but no ground truth has none and is left out of the means (with `ppdm` it has 0, as
in PPDM's code). In an image without people every prediction is a false positive.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, formats, matching, overlap, vcoco_detections
from ggnet_jax.evaluation.average_precision import area_under_curve
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.formats.vcoco_pickle import ACTIONS_WITHOUT_OBJECT
from ggnet_jax.evaluation.reading import Progress, Source, load, load_instances
from ggnet_jax.evaluation.records import (
    Interactions,
    read_ground_truth,
)
from ggnet_jax.evaluation.results import Result, Scores, score_classes
from ggnet_jax.evaluation.vcoco_matches import role_matches
from ggnet_jax.evaluation.vcoco_pairs import evaluate_pairs
from ggnet_jax.evaluation.vcoco_reading import image_key, read_pairs, role_groups
from ggnet_jax.evaluation.vcoco_truth import People, is_vsrl, join, match_people
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary

_TITLE = "v_coco: AP_role and agent AP, the rule of V-COCO's own code (the figures of papers)"


def evaluate(
    predictions: Source,
    ground_truth: Any,
    instances: Any = None,
    *,
    unknown_images: str = "error",
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> Result:
    """AP of every verb-role, by whichever protocol the ground truth allows.

    Args:
        predictions: path of a file of any kind that `formats` reads, or entries in PPDM's format;
            boxes in image pixels.
        ground_truth: path or content of V-COCO's VSRL file, or of pair lists in PPDM's format.
        instances: path or content of COCO's instances, or a list of them; VSRL needs it, pair lists
            don't use it.
        unknown_images: "error", or "ignore" to leave out predictions for images without
            ground truth.
        accept_losses: go on with pair lists of which most boxes or pairs are no use.
        progress: called with what is being done and how much of it is done.

    Returns:
        A `Result` with the settings "scenario_1", "scenario_2" (means "roles_24", "roles_25") and
        "agent" (means "actions_22", "actions_26"); with pair lists "ppdm" (means as the scenarios).

    Raises:
        UserError: bad input; the message names image and entry.
    """
    return evaluate_and_match(
        predictions,
        ground_truth,
        instances,
        unknown_images=unknown_images,
        accept_losses=accept_losses,
        progress=progress,
    )[0]


def evaluate_and_match(
    predictions: Source,
    ground_truth: Any,
    instances: Any = None,
    *,
    unknown_images: str = "error",
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> tuple[Result, Callable[[], Matched]]:
    """The same as `evaluate`, and how to make what `diagnosis.diagnose` takes.

    Returns:
        The result; a function that gives the matches of Scenario 1 or, with pair lists, of PPDM's
        protocol.
    """
    vocabulary = load_vocabulary("v_coco")
    content = formats.annotation_entries(load(ground_truth))
    if hasattr(content, "keys") and "images" in content:
        raise UserError(
            "the ground truth is COCO's instances: give V-COCO's own (VSRL) list as ground truth, "
            "and these as instances"
        )
    if not is_vsrl(content):
        truth = read_ground_truth(
            content, vocabulary, key=image_key, accept_losses=accept_losses, progress=progress
        )
        return evaluate_pairs(predictions, truth, vocabulary, unknown_images, progress)
    if instances is None:
        raise UserError(
            "VSRL ground truth has no boxes: give COCO's instances file too (--instances)"
        )
    people = join(content, load_instances(instances, progress))
    notes = _compare_actions(people, vocabulary)
    predictions = formats.load_predictions(predictions, progress)
    if isinstance(predictions, formats.Detections):
        result = _evaluate_detections(predictions, people, unknown_images, notes, progress)
        return result, _no_matches
    found = read_pairs(predictions, people.image_of_id, vocabulary, unknown_images, progress)
    if progress:
        progress("matching", 0.0)
    records = _Records(found, people)
    first, match = _score_roles(records, people, vocabulary, any_object=False)
    settings = {
        "scenario_1": first,
        "scenario_2": _score_roles(records, people, vocabulary, any_object=True)[0],
        "agent": _score_agents(records, people, vocabulary),
    }
    counts = {
        "images": sum(number >= 0 for number in people.image_of_id.values()),
        "people": len(people.boxes),
        "people_without_annotation": int((~people.annotated).sum()),
        "predictions": len(found.verb),
        "repeated_predictions": len(found.verb) - len(records.rows),
        "predictions_for_people_without_annotation": int(records.ignored.sum()),
    }
    left_out = {k: v for k, v in {**found.dropped, **people.dropped}.items() if v}
    return Result(_TITLE, settings, {**counts, **left_out}, found.notes + notes), match


def _no_matches() -> Matched:
    """V-COCO's own files have no pairs: a person has one object for each role."""
    raise UserError(
        "V-COCO's own predictions are not diagnosed as they are: write them as PPDM's JSON with "
        "`ggnet-eval convert` first"
    )


def _compare_actions(people: People, vocabulary: Vocabulary) -> tuple[str, ...]:
    """A note if the actions are not V-COCO's, all of them."""
    names = {verb.rpartition("_")[0] for verb in vocabulary.verbs}
    names |= set(ACTIONS_WITHOUT_OBJECT.values())
    ours = set(people.actions)
    return tuple(
        f"ground truth: {len(those)} actions are {what}: {', '.join(sorted(those)):.80}"
        for what, those in (("missing", names - ours), ("unknown", ours - names))
        if those
    )


def _evaluate_detections(
    detections: formats.Detections,
    people: People,
    unknown_images: str,
    notes: tuple[str, ...],
    progress: Progress | None,
) -> Result:
    """The scenarios and agent AP of a file that V-COCO's own code takes."""
    cleaned, unknown = vcoco_detections.clean(detections, people, unknown_images)
    if progress:
        progress("matching", 0.0)
    scorer = vcoco_detections.Scorer(cleaned, people)
    counts = {
        "images": sum(number >= 0 for number in people.image_of_id.values()),
        "people": len(people.boxes),
        "people_without_annotation": int((~people.annotated).sum()),
        "predicted_people": len(cleaned.image_id),
        "predictions": scorer.predictions,
        "predictions_for_people_without_annotation": scorer.ignored,
    }
    left_out = {"entries_of_unknown_images": unknown, **people.dropped}
    return Result(
        _TITLE,
        {
            "scenario_1": _role_scores(scorer.roles(any_object=False), people),
            "scenario_2": _role_scores(scorer.roles(any_object=True), people),
            "agent": _agent_scores(scorer.agents(), people),
        },
        {**counts, **{name: number for name, number in left_out.items() if number}},
        detections.notes + notes,
    )


class _Records:
    """Predictions as the original converts them: each (person box, verb-role, object box) once.

    Attributes:
        found: what was read.
        rows: [r] its rows that count: of the same three, the one with the highest score.
        person: [r] number of the person box; equal boxes in an image are one person.
        match: [r] the annotated person whom it overlaps most, the first of the image if it
            overlaps nobody; -1 in an image without people.
        overlap: [r] that overlap.
        ignored: [r] bool, whether that person is not annotated: then the prediction is left out.
    """

    def __init__(self, found: Interactions, people: People):
        box = _number_boxes(found.box_image, found.boxes)
        human, target = box[found.human], box[found.object]
        order = np.lexsort((-found.score, target, found.verb, human))
        new = np.ones(len(order), bool)
        for column in (target, found.verb, human):
            new[1:] &= column[order][1:] == column[order][:-1]
        new[1:] = ~new[1:]
        self.found, self.rows = found, order[new]
        self.person = human[self.rows]
        _, first, inverse = np.unique(self.person, return_index=True, return_inverse=True)
        image = found.image[self.rows][first]
        boxes = found.boxes[found.human[self.rows][first]]
        match, overlaps = match_people(image, boxes, people)
        self.match, self.overlap = match[inverse], overlaps[inverse]
        annotated = np.append(people.annotated, True)  # the last is for nobody
        self.ignored = ~annotated[self.match]

    def ranked(self, group: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Those of the given records (indices) that count, by group [r], then descending score."""
        members = members[~self.ignored[members]]
        rows = self.rows[members]
        order = matching.by_descending_score(
            group[members], self.found.score[rows], lambda: self.found.tie_columns(rows)
        )
        return members[order]


def _score_roles(
    records: _Records, people: People, vocabulary: Vocabulary, *, any_object: bool
) -> tuple[Scores, Callable[[], Matched]]:
    """Scenario 2 with `any_object`, else Scenario 1."""
    names = [f"{people.actions[action]}_{role}" for action, role in people.roles]
    unknown = sorted(set(names) - set(vocabulary.verbs))
    if unknown:
        raise UserError(f"the VSRL ground truth has the verb-role {unknown[0]!r}, which is unknown")
    role_of_verb = np.full(vocabulary.num_verbs + len(ACTIONS_WITHOUT_OBJECT), -1)
    for role, name in enumerate(names):
        role_of_verb[vocabulary.verbs.index(name)] = role
    action_of_role = np.array([action for action, _ in people.roles])
    found = records.found
    group = role_of_verb[found.verb[records.rows]]
    ranked = records.ranked(group, np.flatnonzero(group >= 0))
    role, match = group[ranked], records.match[ranked]
    boxes = found.boxes[found.object[records.rows[ranked]]]
    if len(people.boxes):
        with_object = people.has_object[match, role]
        right = overlap.vsrl(people.object_boxes[match, role], boxes) >= 0.5
        right = np.where(with_object, right, any_object | (boxes == 0).all(axis=1))
        right &= people.acts[match, action_of_role[role]]
        right &= (records.overlap[ranked] >= 0.5) & (match >= 0)
    else:
        right = np.zeros(len(ranked), bool)
    rows = np.flatnonzero(right)
    claims = rows, (match * len(names) + role)[rows]
    hits = matching.first_of_each([claims], len(ranked), len(people.boxes) * len(names)) >= 0
    total = people.acts.sum(axis=0)[action_of_role]
    scores = _role_scores(score_classes(role, hits, total, area_under_curve), people)
    return scores, partial(
        role_matches,
        found,
        records.rows[ranked],
        role,
        np.where(hits, match, -1),
        people,
        np.array([vocabulary.verbs.index(name) for name in names]),
        scores,
        [people.image_of_id.get(image_key(name), -1) for name in found.file_names],
    )


def _role_scores(columns: Mapping[str, Any], people: People) -> Scores:
    """A scenario's scores with the names of the roles."""
    names = [f"{people.actions[action]}_{role}" for action, role in people.roles]
    return Scores(
        labels=tuple(names),
        classes=tuple(
            {"action": people.actions[action], "role": role} for action, role in people.roles
        ),
        groups=role_groups(names),
        **columns,
    )


def _score_agents(records: _Records, people: People, vocabulary: Vocabulary) -> Scores:
    """A person and an action, whatever the object."""
    actions = list(people.actions)
    names = [*(verb.rpartition("_")[0] for verb in vocabulary.verbs)]
    names += ACTIONS_WITHOUT_OBJECT.values()
    action_of_verb = np.array([actions.index(n) if n in actions else -1 for n in names])
    group = action_of_verb[records.found.verb[records.rows]]
    order = np.lexsort((-records.found.score[records.rows], group, records.person))
    same = np.zeros(len(order), bool)
    same[1:] = (np.diff(group[order]) == 0) & (np.diff(records.person[order]) == 0)
    best = order[~same]
    ranked = records.ranked(group, best[group[best] >= 0])
    action, match = group[ranked], records.match[ranked]
    right = (records.overlap[ranked] >= 0.5) & (match >= 0)
    if len(people.boxes):
        right &= people.acts[match, action]
    rows = np.flatnonzero(right)
    claims = rows, (match * len(actions) + action)[rows]
    hits = matching.first_of_each([claims], len(ranked), len(people.boxes) * len(actions)) >= 0
    columns = score_classes(action, hits, people.acts.sum(axis=0), area_under_curve)
    return _agent_scores(columns, people)


def _agent_scores(columns: Mapping[str, Any], people: People) -> Scores:
    """The scores of the agents with the names of the actions."""
    number = len(people.actions)
    everyone = np.ones(number, bool)
    with_object = np.isin(np.arange(number), [action for action, _ in people.roles])
    return Scores(
        labels=people.actions,
        classes=tuple({"action": action} for action in people.actions),
        groups={f"actions_{with_object.sum()}": with_object, f"actions_{number}": everyone},
        **columns,
    )


def _number_boxes(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[n] a number for every box, equal for equal coordinates in one image."""
    columns = (*boxes.T, image)
    order = np.lexsort(columns)
    new = np.zeros(len(order), bool)
    for column in columns:
        new[1:] |= column[order][1:] != column[order][:-1]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new)
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring."""
    parser = command.parser(__doc__ or "")
    parser.add_argument(
        "--instances",
        action="append",
        help="COCO's instances, JSON or gzip, for VSRL; several with commas, or the flag repeated",
    )
    arguments = parser.parse_args(argv)
    return command.run(
        arguments,
        lambda progress: evaluate_and_match(
            arguments.predictions,
            arguments.ground_truth,
            arguments.instances,
            unknown_images=arguments.unknown_images,
            accept_losses=arguments.accept_losses,
            progress=progress,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
