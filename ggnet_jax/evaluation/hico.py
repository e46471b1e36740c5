"""HICO-DET's mean average precision, after two published protocols.

    python -m ggnet_jax.evaluation.hico --predictions=P --ground_truth=G [--output=DIR]

scores the predictions of any repository: PPDM's format, `.json`, `.jsonl` or either packed by gzip.
The class list is HICO-DET's unless `--vocabulary` names another; any data set with (verb, object)
classes, such as figures_hoi, is scored alike.

The two protocols differ by a few tenths of a point on the same predictions:

                        ho_rcnn (the default)              ppdm
known from              HO-RCNN's and no-frills' code;     PPDM's repository
                        the paper's DT and KO
settings                Default; Known Object: only        one, on all images
                        images with the class's object
predicted boxes         as they come                       1 is added to all four numbers
a pair matches if       both overlaps are above 0.5; the   both overlaps are 0.5 or more and
                        subject's category is not looked   both categories are equal
                        at
which pair is taken     the first of the annotation that   the one of the largest smaller
                        matches and is free                overlap; if that is taken, the
                                                           prediction is wrong
no ground truth         AP 0 if nothing is predicted,      no AP
for a class             else no AP

A class without an AP is left out of the means. Equal scores are ordered by file name and boxes, so
that the results don't depend on the order of a file. A predicted (verb, object) pair that is not
a class is neither right nor wrong: it is left out and counted.
"""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io, vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import average_precision, command, matching, overlap
from ggnet_jax.evaluation.reading import Progress, Source, iterate
from ggnet_jax.evaluation.records import (
    Interactions,
    name_rank,
    read_ground_truth,
    read_predictions,
)
from ggnet_jax.evaluation.results import Result, Scores, score_classes
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary

SETTINGS = {
    "ho_rcnn": ("default", "known_object"),
    "default": ("default",),
    "known_object": ("known_object",),
    "ppdm": ("ppdm",),
}
"""Protocol -> the settings of its result. The middle two are the halves of `ho_rcnn`."""


def evaluate(
    predictions: Source,
    ground_truth: Source,
    vocabulary: Vocabulary | None = None,
    *,
    protocol: str = "ho_rcnn",
    unknown_images: str = "error",
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Mean average precision over the classes of a vocabulary.

    Args:
        predictions: path or entries in PPDM's format, boxes in image pixels.
        ground_truth: path or entries in PPDM's format, boxes as released.
        vocabulary: the classes; None for HICO-DET's 600.
        protocol: a key of `SETTINGS`. "ho_rcnn" gives Default and Known Object in one pass.
        unknown_images: "error", or "ignore" to leave out predictions for images without
            ground truth.
        accept_losses: go on with ground truth of which most boxes or pairs are no use.
        progress: called with what is being done and how much of it is done.

    Returns:
        A `Result` with the protocol's settings ("default" and "known_object", or "ppdm"). The means
        are "full", and "rare" and "non_rare" where the vocabulary knows them. Without any
        prediction every AP is 0.

    Raises:
        UserError: bad input; the message names image and entry.
    """
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
    true_class, found_class = _classes(truth, vocabulary), _classes(found, vocabulary)
    dropped = {
        "predictions_of_no_class": int((found_class < 0).sum()),
        "ground_truth_pairs_of_no_class": int((true_class < 0).sum()),
    }
    if protocol == "ppdm":
        # There a class begins with the category of its subject, which is the person.
        true_class = np.where(truth.box_object[truth.human] == 0, true_class, -1)
        found_class = np.where(found.box_object[found.human] == 0, found_class, -1)
        wrong = int((found_class < 0).sum()) - dropped["predictions_of_no_class"]
        dropped["predictions_with_a_subject_that_is_not_a_person"] = wrong
    ranked, hits = (_match_ppdm if protocol == "ppdm" else _match_ho_rcnn)(
        found, found_class, truth, true_class
    )
    group = found_class[ranked]
    total = np.bincount(true_class[true_class >= 0], minlength=vocabulary.num_classes)
    settings = {}
    for name in SETTINGS[protocol]:
        kept = np.ones(len(ranked), bool)
        if name == "known_object":
            # The same matches: an image with a class's ground truth has the class's object.
            listed = _listed_objects(truth, vocabulary)
            objects = np.array([obj for _, obj in vocabulary.classes])
            kept = listed[found.image[ranked], objects[group]]
        columns = score_classes(group[kept], hits[kept], total, average_precision.eleven_point)
        if name == "ppdm":
            columns["ap"] = np.where(total > 0, columns["ap"], np.nan)
        settings[name] = _scores(columns, vocabulary)
    counts = {
        "images": len(truth.file_names),
        "images_without_an_entry": len(truth.file_names)
        - (len(found.file_names) - found.dropped["unknown_images"]),
        "predictions": len(found.verb),
        "ground_truth_pairs": int(total.sum()),
    }
    left_out = {k: v for k, v in {**found.dropped, **truth.dropped, **dropped}.items() if v}
    return Result(
        title=f"{vocabulary.name}: {vocabulary.num_classes} classes, protocol {protocol}",
        settings=settings,
        counts={**counts, **left_out},
        notes=found.notes + truth.notes,
    )


def _classes(pairs: Interactions, vocabulary: Vocabulary) -> np.ndarray:
    """[m] class of every pair, -1 where it is none."""
    return vocabulary.class_index[pairs.verb, pairs.box_object[pairs.object]]


def _listed_objects(truth: Interactions, vocabulary: Vocabulary) -> np.ndarray:
    """[I, O] bool: the objects of an image's annotated pairs, for Known Object.

    (HICO-DET's own table is not published with its code.) A person counts only where a person is
    the object of a pair; an image without pairs lists nothing.
    """
    listed = np.zeros((len(truth.file_names), vocabulary.num_objects), bool)
    listed[truth.image, truth.box_object[truth.object]] = True
    return listed


def _match_ho_rcnn(
    found: Interactions, found_class: np.ndarray, truth: Interactions, true_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every prediction takes the first pair that matches and is still free.

    Returns:
        The rows of the predictions that have a class, ranked, and whether each is a true positive.
    """
    ranked = _rank(found, found_class, truth.file_names)
    candidates = _same_class_and_image(found, found_class, ranked, truth, true_class)
    blocks = _overlapping(
        candidates, ranked, found, found.boxes, truth, overlap.ho_rcnn, lambda iou: iou > 0.5
    )
    matches = ((row, pair) for row, pair, _ in blocks)
    return ranked, matching.first_free(matches, len(ranked), len(truth.verb))


def _match_ppdm(
    found: Interactions, found_class: np.ndarray, truth: Interactions, true_class: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every prediction claims the pair whose smaller overlap is largest; the first one gets it.

    Returns:
        The rows of the predictions that have a class, ranked, and whether each is a true positive.
    """
    ranked = _rank(found, found_class, truth.file_names)
    candidates = _same_class_and_image(found, found_class, ranked, truth, true_class)
    blocks = _overlapping(
        candidates, ranked, found, found.boxes + 1, truth, overlap.ppdm, lambda iou: iou >= 0.5
    )
    best = (_best_of_each(*block) for block in blocks)
    return ranked, matching.first_of_each(best, len(ranked), len(truth.verb))


def _best_of_each(row: np.ndarray, pair: np.ndarray, smaller: np.ndarray) -> matching.Matches:
    """Of each row the pair with the largest overlap; of equals the first of the annotation."""
    order = np.lexsort((pair, -smaller, row))
    row, pair = row[order], pair[order]
    best = np.flatnonzero(np.diff(row, prepend=-1))
    return row[best], pair[best]


def _rank(found: Interactions, group: np.ndarray, file_names: Sequence[str]) -> np.ndarray:
    """Rows of the predictions that have a class, ordered by class, then descending score."""
    rows = np.flatnonzero(group >= 0)
    order = matching.by_descending_score(
        group[rows], found.score[rows], lambda: found.tie_columns(rows, name_rank(file_names))
    )
    return rows[order]


def _same_class_and_image(
    found: Interactions,
    found_class: np.ndarray,
    ranked: np.ndarray,
    truth: Interactions,
    true_class: np.ndarray,
) -> Iterator[matching.Matches]:
    """Blocks of candidates: (position in `ranked`, row of `truth`), in annotation order."""
    num_images = len(truth.file_names)
    pairs = np.flatnonzero(true_class >= 0)
    key = true_class[pairs] * num_images + truth.image[pairs]
    order = np.argsort(key, kind="stable")
    pairs, key = pairs[order], key[order]
    wanted = found_class[ranked] * num_images + found.image[ranked]
    for row, place in matching.candidates(wanted, key):
        yield row, pairs[place]


def _overlapping(
    candidates: Iterator[matching.Matches],
    ranked: np.ndarray,
    found: Interactions,
    boxes: np.ndarray,
    truth: Interactions,
    overlap_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    enough: Callable[[np.ndarray], np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The candidates whose human and object boxes both overlap enough.

    Args:
        candidates: from `_same_class_and_image`.
        ranked: rows of the predictions.
        found, truth: predictions and ground truth.
        boxes: [n, 4] the boxes of `found` as the protocol takes them.
        overlap_of: a function of `overlap`.
        enough: overlaps -> bool.

    Yields:
        For each block position in `ranked`, row of `truth` and the smaller of the two overlaps, in
        the order of the candidates. (All of them at once would fill the memory where an image has
        thousands of equal pairs.)
    """
    for row, pair in candidates:
        human = overlap_of(boxes[found.human[ranked[row]]], truth.boxes[truth.human[pair]])
        row, pair, human = (column[enough(human)] for column in (row, pair, human))
        target = overlap_of(boxes[found.object[ranked[row]]], truth.boxes[truth.object[pair]])
        kept = enough(target)
        yield row[kept], pair[kept], np.minimum(human, target)[kept]


def _scores(columns: dict[str, np.ndarray], vocabulary: Vocabulary) -> Scores:
    """A setting's scores with the names and groups of the classes."""
    rare = vocabulary.rare
    groups = {"full": np.ones(vocabulary.num_classes, bool)}
    if rare is not None:
        groups |= {"rare": np.array(rare, bool), "non_rare": ~np.array(rare, bool)}
    return Scores(
        labels=tuple(vocabulary.verb_phrase(*pair) for pair in vocabulary.classes),
        classes=tuple(
            {"verb": vocabulary.verbs[verb], "object": vocabulary.objects[obj]}
            | ({} if rare is None else {"rare": rare[index]})
            for index, (verb, obj) in enumerate(vocabulary.classes)
        ),
        **columns,
        groups=groups,
    )


def read_vocabulary(
    name: str, ground_truth: Source, accept_losses: bool = False
) -> tuple[Vocabulary, Source, str]:
    """The classes that `--vocabulary` names.

    Args:
        name: of a shipped class list, or of a JSON file: a vocabulary, such as a run's
            `vocabulary.json`, or a class list as training takes it, {"objects": {id: name},
            "verbs": {id: name}}, whose classes are the pairs of the ground truth.
        ground_truth: path or entries.
        accept_losses: see `evaluate`.

    Returns:
        The vocabulary; the ground truth, read if it was needed; a note, "" if there is none.

    Raises:
        UserError: there is no such file, it holds no classes, or the ground truth is malformed.
    """
    path = Path(name)
    fields: Any = None
    if path.is_file() and name not in vocabularies.names():
        fields = io.read_json(path)
    if not isinstance(fields, dict) or "classes" in fields:
        return load_vocabulary(name), ground_truth, ""
    if not {"objects", "verbs"} <= fields.keys():
        return load_vocabulary(name), ground_truth, ""
    entries = list(iterate(ground_truth, "ground truth", allow_nan=True))
    lists = {"objects": fields["objects"], "verbs": fields["verbs"], "name": path.stem}
    try:
        bare = vocabularies.from_annotations([], **lists)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    read_ground_truth(entries, bare, accept_losses=accept_losses)  # says what is wrong with it
    found = vocabularies.from_annotations(entries, **lists)
    note = (
        f"{path} is a class list: the {found.num_classes} pairs of the ground truth are the "
        "classes, and which are rare is not known; a run's vocabulary.json has both of training"
    )
    return dataclasses.replace(found, rare=None), entries, note


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring."""
    parser = command.parser(__doc__ or "")
    parser.add_argument(
        "--protocol", default="ho_rcnn", choices=SETTINGS, help="which rules (ho_rcnn)"
    )
    parser.add_argument(
        "--vocabulary",
        default="hico_det",
        help="a shipped class list, or a JSON file: a run's vocabulary.json or a class list as "
        "training takes it (hico_det)",
    )
    arguments = parser.parse_args(argv)

    def score(progress: Progress) -> Result:
        vocabulary, truth, note = read_vocabulary(
            arguments.vocabulary, arguments.ground_truth, arguments.accept_losses
        )
        result = evaluate(
            arguments.predictions,
            truth,
            vocabulary,
            protocol=arguments.protocol,
            unknown_images=arguments.unknown_images,
            accept_losses=arguments.accept_losses,
            progress=progress,
        )
        notes = (note, *result.notes) if note else result.notes
        return dataclasses.replace(result, notes=notes)

    return command.run(arguments, score)


if __name__ == "__main__":
    sys.exit(main())
