"""Annotation and prediction files -> checked NumPy columns, which the protocols work on.

Files are read image by image, so that a large one is never held in memory as Python objects.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.boxes import LARGEST, as_sizes, box_problem, clean_boxes
from ggnet_jax.evaluation.columns import ColumnReader
from ggnet_jax.evaluation.formats import Detections, Table, load_predictions, to_table
from ggnet_jax.evaluation.images import number_images
from ggnet_jax.evaluation.pairs import index_of, numbering_of, outside, pair_problem, repeated
from ggnet_jax.evaluation.reading import Progress, Source, iterate
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary
from ggnet_jax.vocabularies.numbering import Numbering

MERGED = "{} entries of the ground truth are of {} images: entries of one image are merged"


@dataclasses.dataclass(frozen=True)
class Interactions:
    """Boxes and human-object pairs of I images.

    Attributes:
        file_names: I names.
        box_image: [n] image of each box.
        boxes: [n, 4] float64, (x1, y1, x2, y2) in image pixels as the file has them.
        box_object: [n] object index in the vocabulary, -1 if unknown (ground truth only).
        image: [m] image of each pair.
        human, object: [m] rows of `boxes`.
        verb: [m] index into the verb ids asked for.
        score: [m] float64, zeros in ground truth.
        dropped: what was left out or put right, and how often.
        notes: lines that the user has to see.
    """

    file_names: tuple[str, ...]
    box_image: np.ndarray
    boxes: np.ndarray
    box_object: np.ndarray
    image: np.ndarray
    human: np.ndarray
    object: np.ndarray
    verb: np.ndarray
    score: np.ndarray
    dropped: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def tie_columns(
        self, rows: np.ndarray, image_rank: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """What orders pairs of equal score: image, human box and object box, 9 columns.

        Args:
            rows: of the pairs.
            image_rank: place of each image in an order that does not depend on a file's; None if
                their numbers are one.
        """
        image = self.image[rows] if image_rank is None else image_rank[self.image[rows]]
        return image, *self.boxes[self.human[rows]].T, *self.boxes[self.object[rows]].T


def name_rank(file_names: Sequence[str]) -> np.ndarray:
    """[I] place of each name in alphabetical order."""
    return np.argsort(np.argsort(np.array(file_names)))


def read_predictions(
    source: Source,
    images: Mapping[Any, int],
    vocabulary: Vocabulary,
    *,
    more_verb_ids: Sequence[int] = (),
    key: Callable[[str], Any] = str,
    unknown_images: str = "error",
    missing_object: bool = False,
    progress: Progress | None = None,
) -> Interactions:
    """Predictions, every entry checked.

    Args:
        source: path of a file of any kind that `formats` reads, or entries.
        images: number of each ground-truth image by its key; `Interactions.image` holds these
            numbers. An image with a negative one is known, but predictions for it don't count.
        vocabulary: whose ids they have. Another numbering of verbs is recognized and converted.
        more_verb_ids: ids of further verbs, which count on from the vocabulary's.
        key: file name -> key of `images`.
        unknown_images: "error", or "ignore" to leave out predictions for images without ground
            truth (a split scored by a part of its annotation, say).
        missing_object: take V-COCO's ways to say that there is no object: an `object_id` of -1,
            which becomes the box (0, 0, 0, 0) in a row after all others, or a box of four NaN,
            which becomes (0, 0, 0, 0).
        progress: called with what is being done and how much of it is done.

    Raises:
        UserError: a field is missing or of the wrong type, a category is unknown, a subject or
            object is out of range, a coordinate or score is not finite, a box has a negative size,
            an image is unknown or occurs twice. The message names image and entry. Or all images
            are unknown, all boxes as small as if they were divided by the image's size, or the ids
            numbered otherwise.
    """
    if unknown_images not in ("error", "ignore"):
        raise UserError(f"unknown_images must be 'error' or 'ignore', not {unknown_images!r}")
    reader = _read_columns(load_predictions(source, progress), vocabulary, progress)
    numbers, matched = number_images(
        reader.names, images, key, ignore_unknown=unknown_images == "ignore"
    )
    unknown = sum(number is None for number in numbers)
    best = max((-1 if number is None else number for number in numbers), default=0)
    if best < 0 <= max(images.values(), default=0):
        raise UserError(
            f"none of the {len(numbers)} predicted images is annotated; check that "
            "predictions and ground truth are of the same split"
        )
    columns = reader.columns()
    boxes = columns.boxes
    if missing_object:
        boxes[np.isnan(boxes).all(axis=1)] = 0.0
    reader.forbid_box(~np.isfinite(boxes).all(axis=1), "has a coordinate that is not finite", boxes)
    reader.forbid_box((abs(boxes) > LARGEST).any(axis=1), "has a coordinate too large", boxes)
    negative = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    reader.forbid_box(negative, f"has a negative size{as_sizes(boxes)}", boxes)
    absent = missing_object & (columns.object == -1)
    no_subject, no_object = outside(columns.subject, columns), outside(columns.object, columns)
    numbering = numbering_of(columns, vocabulary, predicted=True)
    problem = (
        box_problem(boxes, np.zeros(len(boxes), bool))
        or pair_problem(columns, vocabulary, predicted=True)
        or numbering.problem
    )
    if problem:
        raise UserError(f"predictions: {problem}")
    box_object = index_of(columns.category, vocabulary.object_ids)
    verb = index_of(numbering.convert(columns.verb), (*vocabulary.verb_ids, *more_verb_ids))
    unknown_id = "has an unknown category_id"
    if (box_object < 0).any() or (verb < 0).any():
        likely = numbering_of(columns, vocabulary, predicted=False).problem
        unknown_id += f" ({likely})" if likely else ""
    reader.forbid_box(box_object < 0, unknown_id, columns.category)
    reader.forbid_pair(no_subject, "has its subject_id out of range", columns.subject)
    reader.forbid_pair(no_object & ~absent, "has its object_id out of range", columns.object)
    reader.forbid_pair(verb < 0, unknown_id, columns.verb)
    reader.forbid_pair(~np.isfinite(columns.score), "has a score that is not finite", columns.score)
    image_of_entry = np.array([-1 if one is None else one for one in numbers], np.int64)
    image = image_of_entry[columns.pair_entry]
    known = image >= 0
    target = np.where(absent, len(boxes), columns.object + columns.first_box)
    box_image = image_of_entry[columns.box_entry]
    if missing_object:
        boxes = np.vstack([boxes, np.zeros((1, 4))])
        box_object, box_image = np.append(box_object, -1), np.append(box_image, -1)
    return Interactions(
        file_names=tuple(reader.names),
        box_image=box_image,
        boxes=boxes,
        box_object=box_object,
        image=image[known],
        human=(columns.subject + columns.first_box)[known],
        object=target[known],
        verb=verb[known],
        score=columns.score[known],
        dropped={
            "unknown_images": unknown,
            "predictions_in_images_without_ground_truth": int((~known).sum()),
        },
        notes=_notes(numbering, len(verb), len(numbers)) + matched,
    )


def _read_columns(
    source: Any, vocabulary: Vocabulary, progress: Progress | None
) -> ColumnReader | Table:
    """The predictions of a file of any kind, with the names of their images."""
    if isinstance(source, Detections):
        if vocabulary.verbs != load_vocabulary("v_coco").verbs:
            raise UserError(
                f"{source.path} holds V-COCO's verb-roles, not classes of {vocabulary.name!r}; "
                "score it with ggnet_jax.evaluation.vcoco"
            )
        return to_table(source)
    if isinstance(source, Table):
        return source
    reader = ColumnReader("predictions", "predictions", "hoi_prediction", truth=False)
    for entry in iterate(source, "predictions", progress, allow_nan=True):
        reader.add(entry)
    return reader


def _notes(numbering: Numbering, predictions: int, entries: int) -> tuple[str, ...]:
    """What the reader of a result has to know about the predictions."""
    if predictions:
        return (f"predictions: {numbering.note}",) if numbering.note else ()
    if entries:
        return (f"no interaction is predicted in any of the {entries} images of the predictions",)
    return ("the predictions are an empty list: nothing is found in any image",)


def read_ground_truth(
    source: Source,
    vocabulary: Vocabulary,
    *,
    key: Callable[[str], Any] = str,
    accept_losses: bool = False,
    progress: Progress | None = None,
) -> Interactions:
    """Annotations in PPDM's format; boxes stay as they are.

    Real files have malformed annotations. A pair that refers to no box, or whose verb or object is
    unknown, cannot be predicted by anybody: it is left out and counted in `dropped`. One that
    refers to a box without area stays, and is counted: nobody finds it.

    Some files have several entries of an image, one for each pair. They become one image, in
    which a pair that is written twice counts once.

    Args:
        source: path or entries.
        vocabulary: whose ids they have. Another numbering of verbs is recognized and converted.
        key: file name -> what tells images apart.
        accept_losses: only note what is wrong with most of the boxes or pairs.
        progress: called with what is being done and how much of it is done.

    Raises:
        UserError: an image has no name, no list of boxes or pairs, or a box that is not four
            numbers; there is no image, or most boxes or pairs are no use.
    """
    reader = ColumnReader("ground truth", "annotations", "hoi_annotation", truth=True)
    images: dict[Any, int] = {}
    names, numbers = [], []
    for entry in iterate(source, "ground truth", progress, allow_nan=True):
        name = reader.add(entry).strip()
        number = images.setdefault(key(name), len(images))
        numbers.append(number)
        if number == len(names):
            names.append(name)
    if not names:
        raise UserError("the ground truth has no image: its list is empty")
    columns = reader.columns()
    boxes, flat = clean_boxes(columns.boxes)
    inside = ~(outside(columns.subject, columns) | outside(columns.object, columns))
    numbering = numbering_of(columns, vocabulary, predicted=False)
    box_object = index_of(columns.category, vocabulary.object_ids)
    verb = index_of(numbering.convert(columns.verb), vocabulary.verb_ids)
    human = np.where(inside, columns.subject + columns.first_box, 0)
    target = np.where(inside, columns.object + columns.first_box, 0)
    known = inside & (verb >= 0)
    if len(box_object):
        known &= box_object[target] >= 0
    image_of_entry = np.array(numbers, np.int64)
    image = image_of_entry[columns.pair_entry]
    merged = len(numbers) - len(names)
    rows = np.flatnonzero(known)
    if merged:
        h, t = human[rows], target[rows]
        rows = rows[~repeated(image[rows], boxes[h], boxes[t], box_object[t], verb[rows])]
    of_pairs = (pair_problem(columns, vocabulary, predicted=False), numbering.problem)
    problem = box_problem(boxes, flat) or "; ".join(filter(None, of_pairs))
    if len(known) and not len(rows):
        problem = problem or (
            f"none of {len(known):,} pairs can be scored: the category_id of the verb or of the "
            f"object is none of {vocabulary.name!r}"
        )
    if problem and not accept_losses:
        raise UserError(f"ground truth: {problem} (accept_losses scores what is left)")
    lines = [f"ground truth: {line}" for line in (problem, numbering.note) if line]
    if merged:
        lines.append(MERGED.format(len(numbers), len(names)))
    return Interactions(
        file_names=tuple(names),
        box_image=image_of_entry[columns.box_entry],
        boxes=boxes,
        box_object=box_object,
        image=image[rows],
        human=human[rows],
        object=target[rows],
        verb=verb[rows],
        score=columns.score[rows],
        dropped={
            "ground_truth_pairs_pointing_nowhere": int((~inside).sum()),
            "ground_truth_pairs_of_unknown_category": int((inside & ~known).sum()),
            "ground_truth_pairs_written_twice": int(known.sum()) - len(rows),
            "ground_truth_pairs_with_a_box_without_area": int(
                (flat[human[rows]] | flat[target[rows]]).sum()
            ),
        },
        notes=tuple(lines),
    )
