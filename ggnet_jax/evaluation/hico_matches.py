"""HICO-DET: which predictions are right, by a rule of `hico_rules`."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from ggnet_jax.evaluation import matching
from ggnet_jax.evaluation.hico_rules import Rule
from ggnet_jax.evaluation.records import Interactions, name_rank


def match(
    rule: Rule,
    found: Interactions,
    found_class: np.ndarray,
    truth: Interactions,
    true_class: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Match predictions to pairs of the same class in the same image.

    Returns:
        The rows of the predictions that have a class, ranked, and the row of `truth` that each is
        a true positive for, -1 for a false positive.
    """
    ranked = _rank(found, found_class, truth.file_names)
    blocks = _overlapping(
        _same_class_and_image(found, found_class, ranked, truth, true_class),
        ranked,
        found,
        found.boxes + rule.predicted_shift,
        truth,
        truth.boxes + np.array(rule.truth_shift),
        rule,
    )
    if rule.takes_first:
        matches = ((row, pair) for row, pair, _ in blocks)
        return ranked, matching.first_free(matches, len(ranked), len(truth.verb))
    # Every prediction claims its best pair; the first to claim a pair gets it.
    best = (_best_of_each(*block) for block in blocks)
    return ranked, matching.first_of_each(best, len(ranked), len(truth.verb))


def note_on_axes(
    rule: Rule,
    found: Interactions,
    found_class: np.ndarray,
    truth: Interactions,
    true_class: np.ndarray,
    right: int,
) -> tuple[str, ...]:
    """A line where x and y are exchanged in one of two files, by what would be right then.

    Args:
        rule, found, found_class, truth, true_class: as for `match`.
        right: predictions that are.
    """
    turned = dataclasses.replace(found, boxes=found.boxes[:, [1, 0, 3, 2]])
    would_be = int((match(rule, turned, found_class, truth, true_class)[1] >= 0).sum())
    if would_be < max(10, 10 * right):
        return ()
    return (
        f"{right} predictions are right, and {would_be} would be with x and y exchanged; boxes are "
        "x1, y1, x2, y2 in both files",
    )


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
    true_boxes: np.ndarray,
    rule: Rule,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The candidates whose human and object boxes both overlap enough.

    Args:
        candidates: from `_same_class_and_image`.
        ranked: rows of the predictions.
        found, truth: predictions and ground truth.
        boxes, true_boxes: [n, 4] those of `found` and `truth` as the rule takes them.
        rule: how boxes overlap and what is enough.

    Yields:
        For each block position in `ranked`, row of `truth` and the smaller of the two overlaps, in
        the order of the candidates. (All of them at once would fill the memory where an image has
        thousands of equal pairs.)
    """
    for row, pair in candidates:
        human = rule.overlap(boxes[found.human[ranked[row]]], true_boxes[truth.human[pair]])
        row, pair, human = (column[rule.enough(human)] for column in (row, pair, human))
        target = rule.overlap(boxes[found.object[ranked[row]]], true_boxes[truth.object[pair]])
        kept = rule.enough(target)
        yield row[kept], pair[kept], np.minimum(human, target)[kept]
