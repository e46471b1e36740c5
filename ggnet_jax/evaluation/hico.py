"""HICO-DET's mean average precision, by every rule that the field scores with.

    python -m ggnet_jax.evaluation.hico --predictions=P --ground_truth=G [--protocol=all|--diagnose]

scores the predictions of any repository: PPDM's format, `.json`, `.jsonl` or either packed by gzip,
the .mat files for HICO-DET's own code, or pickles by class (see `formats`).
The class list is HICO-DET's unless `--vocabulary` names another; any data set with (verb, object)
classes, such as figures_hoi, is scored alike.

`--protocol` names the rule, `no_frills` (the paper's) unless told otherwise; `hico_rules` says how
the rules differ, and `all` prints them side by side. Default scores a class on all images, Known
Object only on those with the class's object in an annotated pair.

A class without an AP is left out of the means. Equal scores are ordered by file name and boxes, so
that the results don't depend on the order of a file. A predicted (verb, object) pair that is not
a class is neither right nor wrong: it is left out and counted.
"""

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import average_precision, command, known_object
from ggnet_jax.evaluation.class_list import read_vocabulary
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.hico_matches import match, note_on_axes
from ggnet_jax.evaluation.hico_rules import ALIASES, RULES, Rule
from ggnet_jax.evaluation.reading import Progress, Source
from ggnet_jax.evaluation.records import (
    Interactions,
    read_ground_truth,
    read_predictions,
)
from ggnet_jax.evaluation.results import Result, Scores, score_classes
from ggnet_jax.vocabularies import Vocabulary, zero_shot
from ggnet_jax.vocabularies import load as load_vocabulary

PAPER = "no_frills"
"""The rule behind the figures of the GGNet paper."""

NO_INTERACTION = "no_interaction"
INTERACTIONS = "interactions"
GROUPS = (*zero_shot.SPLITS, INTERACTIONS)
"""Groups of classes that means can be asked for."""


def _key_of_all(name: str, setting: str) -> str:
    """What a rule's setting is called beside those of other rules."""
    return f"{name}_{setting}" if len(RULES[name].settings) > 1 else name


SETTINGS = {
    **{name: rule.settings for name, rule in RULES.items()},
    **{name: RULES[rule].settings for name, rule in ALIASES.items()},
    "default": ("default",),
    "known_object": ("known_object",),
    "all": tuple(
        _key_of_all(name, setting) for name, rule in RULES.items() for setting in rule.settings
    ),
}
"""Protocol -> the settings of its result: a rule's name, an old one's, one half of `PAPER`, all."""


def evaluate(
    predictions: Source,
    ground_truth: Source,
    vocabulary: Vocabulary | None = None,
    *,
    protocol: str = PAPER,
    groups: Sequence[str] = (),
    known_objects: str | Path | None = None,
    unknown_images: str = "error",
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Mean average precision over the classes of a vocabulary.

    Args:
        predictions: path or entries in PPDM's format, boxes in image pixels.
        ground_truth: path or entries in PPDM's format, boxes as released.
        vocabulary: the classes; None for HICO-DET's 600.
        protocol: a key of `SETTINGS`.
        groups: what else to give means over: zero-shot splits of HICO-DET (`zero_shot.SPLITS`, for
            each the unseen classes, the seen ones and the harmonic mean of both), or "interactions"
            for the classes other than `no_interaction` (HICO-DET: 520).
        known_objects: HICO-DET's anno.mat or anno_bbox.mat, which say on which images Known Object
            scores a class; None for the annotated pairs.
        unknown_images: "error", or "ignore" to leave out predictions for images without
            ground truth.
        accept_losses: go on with ground truth of which most boxes or pairs are no use.
        progress: called with what is being done and how much of it is done.

    Returns:
        A `Result` with the protocol's settings. The means are "full", and "rare" and "non_rare"
        where the vocabulary knows them. Without any prediction every AP is 0.

    Raises:
        UserError: bad input; the message names image and entry.
    """
    return evaluate_and_match(
        predictions,
        ground_truth,
        vocabulary,
        protocol=protocol,
        groups=groups,
        known_objects=known_objects,
        unknown_images=unknown_images,
        accept_losses=accept_losses,
        progress=progress,
    )[0]


def evaluate_and_match(
    predictions: Source,
    ground_truth: Source,
    vocabulary: Vocabulary | None = None,
    *,
    protocol: str = PAPER,
    groups: Sequence[str] = (),
    known_objects: str | Path | None = None,
    unknown_images: str = "error",
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> tuple[Result, Callable[[], Matched]]:
    """The same as `evaluate`, and how to make what `diagnosis.diagnose` takes.

    Returns:
        The result; a function that gives the matches of the rule in its first setting (Default),
        of the paper's rule where there are several.
    """
    for name in groups:
        if name not in GROUPS:
            raise UserError(f"groups: {name!r} is none of {', '.join(GROUPS)}")
    if protocol not in SETTINGS:
        raise UserError(f"protocol {protocol!r} is none of {', '.join(SETTINGS)}")
    vocabulary = vocabulary or load_vocabulary("hico_det")
    if not vocabulary.classes:
        raise UserError(f"vocabulary {vocabulary.name!r} has no class to score")
    truth = read_ground_truth(
        ground_truth, vocabulary, accept_losses=accept_losses, progress=progress
    )
    found = read_predictions(
        predictions,
        {name: number for number, name in enumerate(truth.file_names)},
        vocabulary,
        unknown_images=unknown_images,
        progress=progress,
    )
    if progress:
        progress("matching", 0.0)
    listed, said = known_object.objects_of_pairs(truth, vocabulary), known_object.OF_PAIRS
    if known_objects is not None:
        more, said = known_object.read_objects(known_objects, truth.file_names, vocabulary)
        listed |= more
    chosen = RULES if protocol == "all" else {protocol: RULES[_rule_of(protocol)]}
    settings: dict[str, Scores] = {}
    left_out: Counter[str] = Counter()
    matches: dict[str, Callable[[], Matched]] = {}
    notes: tuple[str, ...] = ()
    for name, rule in chosen.items():
        scores, dropped, matched, said_of_rule = _score(
            rule, found, truth, vocabulary, groups, listed
        )
        left_out |= dropped
        notes = notes or said_of_rule
        for setting, numbers in scores.items():
            key = _key_of_all(name, setting) if protocol == "all" else setting
            if key in SETTINGS[protocol]:  # of one half of the paper's rule, the other is dropped
                settings[key] = numbers
        matches[_rule_of(name)] = partial(
            matched, title=f"{vocabulary.name}, rule {_rule_of(name)}"
        )
    counts = {
        "images": len(truth.file_names),
        "images_without_an_entry": len(truth.file_names)
        - (len(found.file_names) - found.dropped["unknown_images"]),
        "predictions": len(found.verb),
        "ground_truth_pairs": int((_classes(truth, vocabulary) >= 0).sum()),
    }
    left_out |= Counter(found.dropped) | Counter(truth.dropped)
    result = Result(
        title=f"{vocabulary.name}: {vocabulary.num_classes} classes, {_describe(protocol)}",
        settings=settings,
        counts={**counts, **{name: number for name, number in left_out.items() if number}},
        notes=found.notes
        + truth.notes
        + notes
        + ((said,) if known_objects is not None or "official" in chosen else ())
        + tuple(f"{n}: {r.used_by}" for n, r in RULES.items() if protocol == "all"),
    )
    return result, matches[PAPER if protocol == "all" else _rule_of(protocol)]


def _rule_of(protocol: str) -> str:
    """The name of the rule that a protocol other than "all" stands for."""
    return protocol if protocol in RULES else ALIASES.get(protocol, PAPER)


def _describe(protocol: str) -> str:
    """The rule and who uses it."""
    if protocol == "all":
        return "every rule"
    name = _rule_of(protocol)
    return f"rule {name} ({RULES[name].used_by})"


def _score(
    rule: Rule,
    found: Interactions,
    truth: Interactions,
    vocabulary: Vocabulary,
    groups: Sequence[str],
    listed: np.ndarray,
) -> tuple[dict[str, Scores], Counter[str], Callable[..., Matched], tuple[str, ...]]:
    """The scores of a rule's settings, and how many predictions and pairs have no class there.

    Then a function that gives the first setting's matches under a title, and what to look at.
    """
    true_class, found_class = _classes(truth, vocabulary), _classes(found, vocabulary)
    dropped = Counter(
        predictions_of_no_class=int((found_class < 0).sum()),
        ground_truth_pairs_of_no_class=int((true_class < 0).sum()),
    )
    if rule.person_subject:
        true_class = np.where(truth.box_object[truth.human] == 0, true_class, -1)
        found_class = np.where(found.box_object[found.human] == 0, found_class, -1)
        dropped["predictions_with_a_subject_that_is_not_a_person"] = (
            int((found_class < 0).sum()) - dropped["predictions_of_no_class"]
        )
    ranked, taken = match(rule, found, found_class, truth, true_class)
    right, group = int((taken >= 0).sum()), found_class[ranked]
    notes: tuple[str, ...] = ()
    if 20 * right < (true_class >= 0).sum():
        notes = note_on_axes(rule, found, found_class, truth, true_class, right)
    total = np.bincount(true_class[true_class >= 0], minlength=vocabulary.num_classes)
    precision = partial(average_precision.eleven_point, recalls=rule.recalls)
    settings, matches = {}, []
    for name in rule.settings:
        kept = np.ones(len(ranked), bool)
        if name == "known_object":
            # The same matches: an image with a class's ground truth has the class's object.
            objects = np.array([obj for _, obj in vocabulary.classes])
            kept = listed[found.image[ranked], objects[group]]
        if rule.most is not None:
            kept &= np.arange(len(group)) - np.searchsorted(group, group) < rule.most
        columns = score_classes(group[kept], taken[kept] >= 0, total, precision)
        predicted = columns["predictions"] > 0
        columns["ap"] = np.where(
            total > 0,
            columns["ap"],
            np.where(predicted, rule.ap_without_truth, rule.ap_of_nothing),
        )
        settings[name] = _scores(columns, vocabulary, groups, rule.without_verb)
        matches.append(
            partial(
                _matched, rule, found, truth, ranked[kept], group[kept], taken[kept], true_class,
                precision, settings[name],
            )
        )  # fmt: skip
    return settings, dropped, matches[0], notes


def _matched(
    rule: Rule,
    found: Interactions,
    truth: Interactions,
    rows: np.ndarray,
    group: np.ndarray,
    taken: np.ndarray,
    true_class: np.ndarray,
    precision: Callable[[np.ndarray, int], float],
    scores: Scores,
    *,
    title: str,
) -> Matched:
    """What a diagnosis works on."""
    return Matched(
        title=title,
        found=found,
        truth=truth,
        rows=rows,
        group=group,
        taken=taken,
        true_class=true_class,
        boxes=found.boxes + rule.predicted_shift,
        true_boxes=truth.boxes + np.array(rule.truth_shift),
        overlap=rule.overlap,
        enough=rule.enough,
        average_precision=precision,
        scores=scores,
    )


def _classes(pairs: Interactions, vocabulary: Vocabulary) -> np.ndarray:
    """[m] class of every pair, -1 where it is none."""
    return vocabulary.class_index[pairs.verb, pairs.box_object[pairs.object]]


def _scores(
    columns: dict[str, np.ndarray],
    vocabulary: Vocabulary,
    more_groups: Sequence[str],
    without_verb: str,
) -> Scores:
    """A setting's scores with the names and groups of the classes."""
    rare = vocabulary.rare
    counted = _without(without_verb, vocabulary)
    groups, harmonic = {"full": np.ones(vocabulary.num_classes, bool)}, {}
    if rare is not None:
        groups |= {"rare": np.array(rare, bool), "non_rare": ~np.array(rare, bool)}
    for name in more_groups:
        if name == INTERACTIONS:
            groups[name] = _without(NO_INTERACTION, vocabulary)
        else:
            unseen = zero_shot.unseen_classes(name, vocabulary)
            groups |= {f"{name}_unseen": unseen, f"{name}_seen": ~unseen}
            harmonic[f"{name}_harmonic_mean"] = (f"{name}_unseen", f"{name}_seen")
    return Scores(
        labels=tuple(vocabulary.verb_phrase(*pair) for pair in vocabulary.classes),
        classes=tuple(
            {"verb": vocabulary.verbs[verb], "object": vocabulary.objects[obj]}
            | ({} if rare is None else {"rare": rare[index]})
            for index, (verb, obj) in enumerate(vocabulary.classes)
        ),
        **columns,
        groups={name: members & counted for name, members in groups.items()},
        harmonic=harmonic,
    )


def _without(verb_name: str, vocabulary: Vocabulary) -> np.ndarray:
    """[C] bool: the classes of other verbs."""
    return np.array([vocabulary.verbs[verb] != verb_name for verb, _ in vocabulary.classes])


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring."""
    parser = command.parser(__doc__ or "")
    parser.add_argument(
        "--protocol", default=PAPER, choices=SETTINGS, help=f"the rule, or all of them ({PAPER})"
    )
    parser.add_argument(
        "--groups",
        default="",
        help=f"also give means over these, separated by commas: {', '.join(GROUPS)}",
    )
    parser.add_argument(
        "--known_objects",
        help="HICO-DET's anno.mat or anno_bbox.mat, which say on which images Known Object scores "
        "a class (the annotated pairs); needs SciPy",
    )
    parser.add_argument(
        "--vocabulary",
        default="hico_det",
        help="a shipped class list, or a JSON file: a run's vocabulary.json or a class list as "
        "training takes it (hico_det)",
    )
    arguments = parser.parse_args(argv)

    def score(progress: Progress) -> tuple[Result, Callable[[], Matched]]:
        vocabulary, truth, note = read_vocabulary(
            arguments.vocabulary, arguments.ground_truth, arguments.accept_losses
        )
        result, matches = evaluate_and_match(
            arguments.predictions,
            truth,
            vocabulary,
            protocol=arguments.protocol,
            known_objects=arguments.known_objects,
            groups=[name.strip() for name in arguments.groups.split(",") if name.strip()],
            unknown_images=arguments.unknown_images,
            accept_losses=arguments.accept_losses,
            progress=progress,
        )
        notes = (note, *result.notes) if note else result.notes
        return dataclasses.replace(result, notes=notes), matches

    return command.run(arguments, score)


if __name__ == "__main__":
    sys.exit(main())
