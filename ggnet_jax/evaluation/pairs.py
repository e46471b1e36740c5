"""Whether the pairs of a file mean what they are taken for: numbering, order and count of ids."""

from collections.abc import Sequence

import numpy as np

from ggnet_jax.evaluation.columns import UNKNOWN, Columns
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies.numbering import Numbering, recognize

_IDS = 1000  # ids from here on are in no numbering of any data set
_FEWEST_VERBS = 4  # predictions of fewer, which may all be wrong, tell no numbering
_MOST, _NEARLY_ALL = 0.5, 0.9


def outside(index: np.ndarray, columns: Columns) -> np.ndarray:
    """[m] bool: whether a pair's subject or object is none of its image's boxes."""
    return (index < 0) | (index >= columns.num_boxes)


def index_of(ids: np.ndarray, known: Sequence[int]) -> np.ndarray:
    """Position of every id in `known`, -1 where it is unknown."""
    order = np.argsort(known, kind="stable")
    ordered = np.asarray(known, np.int64)[order]
    at = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    return np.where(ordered[at] == ids, order[at], -1)


def repeated(
    image: np.ndarray, human: np.ndarray, target: np.ndarray, obj: np.ndarray, verb: np.ndarray
) -> np.ndarray:
    """[m] bool: the pairs that say what an earlier one of the same image says."""
    rows = np.column_stack([image, human, target, obj, verb])
    first = np.unique(rows, axis=0, return_index=True)[1]
    return ~np.isin(np.arange(len(rows)), first)


def numbering_of(columns: Columns, vocabulary: Vocabulary, *, predicted: bool) -> Numbering:
    """The numbering of a file's ids, told by its pairs."""
    if not vocabulary.classes:
        return Numbering()
    rows = np.flatnonzero(~outside(columns.object, columns) & (columns.verb != UNKNOWN))
    verb = columns.verb[rows]
    obj = columns.category[columns.object[rows] + columns.first_box[rows]]
    weight = None
    if predicted:  # files with a score for every verb have mostly wrong pairs, of low scores
        score = columns.score[rows]
        score = np.clip(np.where(np.isfinite(score), score, 0.0), -1e9, 1e9)
        weight = (score - score.min(initial=0.0)) ** 2
    known = (verb >= 0) & (verb < _IDS) & (obj >= 0) & (obj < _IDS)
    kind = np.where(known, verb * _IDS + obj, _IDS * _IDS)
    total = np.bincount(kind, weight)
    pairs = {divmod(int(one), _IDS): float(total[one]) for one in np.flatnonzero(total)}
    if predicted and len({one for one, _ in pairs}) < _FEWEST_VERBS:
        return Numbering()
    return recognize(pairs, vocabulary, predicted=predicted)


def pair_problem(columns: Columns, vocabulary: Vocabulary, *, predicted: bool) -> str:
    """What is wrong with the subjects of most pairs, with the likeliest cause; "" if nothing is.

    Predictions may be wrong: there it takes a cause that explains nearly all of them.
    """
    number = len(columns.verb)
    right = _people(columns, vocabulary, columns.subject, columns.object)
    if right >= _MOST * number:
        return ""
    causes = {
        "subject_id and object_id were exchanged": (columns.object, columns.subject),
        "subject_id and object_id counted from 0, not from 1": (
            columns.subject - 1,
            columns.object - 1,
        ),
    }
    fit = {name: _people(columns, vocabulary, *ids) for name, ids in causes.items()}
    cause = max(fit, key=fit.__getitem__)
    likely = f"; {fit[cause]:,} would if {cause}" if fit[cause] >= _NEARLY_ALL * number else ""
    if predicted and not likely:
        return ""
    nameless = int((columns.category == UNKNOWN).sum())
    if nameless:
        likely += f"; {nameless:,} boxes have a category_id that is no whole number"
    return (
        f"only {right:,} of {number:,} pairs have a person (category_id "
        f"{vocabulary.object_ids[0]}) as subject and a box as object{likely}"
    )


def _people(columns: Columns, vocabulary: Vocabulary, subject: np.ndarray, obj: np.ndarray) -> int:
    """How many pairs would have a person as subject with such ids (and an object, or none)."""
    inside = ~(outside(subject, columns) | (outside(obj, columns) & (obj != -1)))
    box = subject[inside] + columns.first_box[inside]
    return int((columns.category[box] == vocabulary.object_ids[0]).sum())
