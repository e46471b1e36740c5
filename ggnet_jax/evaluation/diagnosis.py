"""Why predictions fail: kinds of mistakes, and the points of mAP that each of them costs.

A box is *found* where it overlaps an annotated box of its image enough for the rule that scores: a
human box any annotated human, an object box any annotated object of its own category. Every false
positive has one kind, the first of these that fits:

duplicate      both boxes match a pair of its class, which has its prediction already
wrong_verb     both boxes match a pair with the same object, but none of its verb
wrong_pairing  both boxes are found, but no annotated pair joins them
human_box      the object box is found, the human box is not
object_box     the human box is found, the object box is not: misplaced, or of another category
both_boxes     neither is found, both overlap an annotated box (as above) by 0.1 or more
background     none of these

and every annotated pair without a prediction is *missed*, with a predicted box that matches its
human and one that matches its object (`missed_both_there`), with one of them, or with neither. The
predicted boxes are all those of the image, whatever pairs they are in.

The cost of a kind is what mAP gains once that kind alone is mended and all else stays as it is. In
descending order of score, each false positive of the kind becomes right for the pair that it was
meant for, if that is still free (nobody has predicted it, and none of the kind took it before);
otherwise it is removed. It was meant for the free pair of its image that its boxes overlap most
(the sum of the two) of those that differ from it by that mistake only:

wrong_verb     pairs that both boxes match; it gets the verb, and competes in the class, of the pair
wrong_pairing  pairs of its class that one of its boxes matches
human_box      pairs of its class whose object the object box matches
object_box     pairs of its verb whose human the human box matches, and whose object either is of
               the predicted category or is matched by the object box
both_boxes     pairs of its class that both boxes overlap by 0.1 or more

Duplicates and background are removed. Missed pairs are taken out of the ground truth; a class that
has nothing left to find then has AP 1. Classes without an AP, or without ground truth, stay as they
are. Costs don't add up to what is missing: mending one kind changes what another is worth. With
all kinds mended every class has AP 1.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ggnet_jax.evaluation import matching
from ggnet_jax.evaluation.average_precision import best_precision
from ggnet_jax.evaluation.records import Interactions
from ggnet_jax.evaluation.results import Scores, score_classes

MISTAKES = (
    "duplicate",
    "wrong_verb",
    "wrong_pairing",
    "human_box",
    "object_box",
    "both_boxes",
    "background",
)
"""Kinds of false positives."""
MISSED = ("missed_both_there", "missed_human_there", "missed_object_there", "missed_neither_there")
"""Kinds of pairs that nobody predicted."""
ALL_WRONG, ALL_MISSED = "all_false_positives", "all_missed"
"""All of either: false positives are removed, missed pairs taken out of the ground truth."""

NEAR = 0.1
"""The overlap from which on a box is near another, as in TIDE."""
RECALLS = np.arange(101) / 100
"""Where the curves have their points."""

_RIGHT = -1
_DUPLICATE, _VERB, _PAIRING, _HUMAN, _OBJECT, _BOTH, _BACKGROUND = range(len(MISTAKES))


@dataclasses.dataclass(frozen=True)
class Matched:
    """Predictions that a rule has matched to annotated pairs.

    Attributes:
        title: data set and rule in words.
        found, truth: predictions and ground truth.
        rows: [m] rows of the predictions that count, by class, then descending score.
        group: [m] their classes, ascending.
        taken: [m] the pair that each of them is right for, -1 for a false positive.
        true_class: [t] class of every pair, -1 for one that does not count.
        boxes, true_boxes: [n, 4] those of `found` and `truth` as the rule takes them.
        overlap, enough: how the rule measures overlaps, and which of them match.
        average_precision: (hits, number of ground truth) -> AP.
        scores: what the rule makes of them.
        categories: whether the rule compares the categories of objects; otherwise an object box
            may be found on any annotated box.
    """

    title: str
    found: Interactions
    truth: Interactions
    rows: np.ndarray
    group: np.ndarray
    taken: np.ndarray
    true_class: np.ndarray
    boxes: np.ndarray
    true_boxes: np.ndarray
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray]
    enough: Callable[[np.ndarray], np.ndarray]
    average_precision: Callable[[np.ndarray, int], float]
    scores: Scores
    categories: bool = True

    @property
    def human(self) -> np.ndarray:
        """[m] rows of the predicted human boxes."""
        return self.found.human[self.rows]

    @property
    def object(self) -> np.ndarray:
        """[m] rows of the predicted object boxes."""
        return self.found.object[self.rows]

    @property
    def image(self) -> np.ndarray:
        """[m] image of each prediction."""
        return self.found.image[self.rows]

    @property
    def score(self) -> np.ndarray:
        """[m] score of each prediction."""
        return self.found.score[self.rows]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one kind of mistake costs.

    Attributes:
        count: mistakes of the kind.
        mended: how many of them become right, the others are removed.
        points: group of classes -> what its mAP gains, as a fraction.
        classes: [C] what each class's AP gains, NaN where it has none.
        curve: [101] precision at `RECALLS` after mending; see `Diagnosis.curves`.
    """

    count: int
    mended: int
    points: Mapping[str, float]
    classes: np.ndarray
    curve: np.ndarray


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Mistakes and what they cost.

    Attributes:
        matches: what was diagnosed.
        kind: [m] index into `MISTAKES` of every prediction, -1 for a true positive.
        meant: [m] the pair that mending makes it right for, -1 for none.
        other_category: [m] bool, whether an `object_box` matches an object of another category.
        missed: [t] index into `MISSED` of every pair, -1 for one that is found or does not count.
        costs: kind -> cost, for `MISTAKES`, `MISSED`, `ALL_WRONG` and `ALL_MISSED`.
        curves: [C, 101] best precision at each of `RECALLS` or more, NaN without ground truth.
    """

    matches: Matched
    kind: np.ndarray
    meant: np.ndarray
    other_category: np.ndarray
    missed: np.ndarray
    costs: Mapping[str, Cost]
    curves: np.ndarray

    @property
    def points_lost(self) -> np.ndarray:
        """[C] what each class takes from the first mean, as a fraction; 0 outside of it."""
        scores = self.matches.scores
        members = next(iter(scores.groups.values())) & ~np.isnan(scores.ap)
        return np.where(members, 1 - np.nan_to_num(scores.ap), 0.0) / max(1, members.sum())

    def costliest(self, number: int = 10) -> np.ndarray:
        """Classes with ground truth that take most from the first mean, those with more first."""
        total = self.matches.scores.ground_truth
        order = np.lexsort((-total, -np.where(total > 0, self.points_lost, -1.0)))
        return order[: min(number, int((total > 0).sum()))]


def diagnose(matches: Matched) -> Diagnosis:
    """Find the kind of every mistake and what the kinds cost; see the module's docstring."""
    kind, other_category = _kinds(matches)
    meant = np.full(len(kind), -1)
    costs: dict[str, Cost] = {}
    hits = matches.taken >= 0
    curves = _curves(matches, matches.group, hits, matches.scores.ground_truth)
    for number, name in enumerate(MISTAKES):
        ours = np.flatnonzero(kind == number)
        meant[ours] = _meant(matches, number, ours)
        costs[name] = _cost(matches, kind == number, np.where(kind == number, meant, -1))
    missed = _missed(matches)
    for number, name in enumerate(MISSED):
        costs[name] = _cost_of_missed(matches, missed == number)
    costs[ALL_WRONG] = _cost(matches, ~hits, np.full(len(kind), -1))
    costs[ALL_MISSED] = _cost_of_missed(matches, missed >= 0)
    return Diagnosis(matches, kind, meant, other_category, missed, costs, curves)


def _kinds(m: Matched) -> tuple[np.ndarray, np.ndarray]:
    """Index into `MISTAKES` of every prediction; which object boxes have another category."""
    predicted, annotated = _category(m, m.found), _category(m, m.truth)
    every, used = np.arange(len(annotated)), _used(m.object, len(predicted))
    any_kind = np.zeros_like(predicted), np.zeros_like(annotated)
    people = _used(m.human, len(predicted))
    human = _best_overlap(m, people, any_kind[0], _humans(m.truth), any_kind[1])
    target = _best_overlap(m, used, predicted, every, annotated)[m.object]
    anything = _best_overlap(m, used, any_kind[0], every, any_kind[1])[m.object]
    human = human[m.human]
    human_found, object_found = m.enough(human), m.enough(target)
    kind = np.full(len(m.rows), _BACKGROUND)
    kind[(human >= NEAR) & (target >= NEAR)] = _BOTH
    kind[human_found] = _OBJECT
    kind[object_found] = _HUMAN
    kind[human_found & object_found] = _PAIRING
    both = np.flatnonzero((kind == _PAIRING) & (m.taken < 0))
    for row, pair, h, o in _pairs(m, both, predicted[m.object], annotated[m.truth.object]):
        right = m.enough(h) & m.enough(o)
        row, pair = row[right], pair[right]
        kind[row] = _VERB
        kind[row[m.true_class[pair] == m.group[row]]] = _DUPLICATE
    kind[m.taken >= 0] = _RIGHT
    return kind, (kind == _OBJECT) & m.enough(anything)


def _used(rows: np.ndarray, number: int) -> np.ndarray:
    """Each of these rows, of so many, once."""
    used = np.zeros(number, bool)
    used[rows] = True
    return np.flatnonzero(used)


def _humans(these: Interactions) -> np.ndarray:
    """Rows of the boxes that are people or the subject of a pair."""
    people = these.box_object == 0
    people[these.human] = True
    return np.flatnonzero(people)


def _category(m: Matched, these: Interactions) -> np.ndarray:
    """[n] what object boxes have to agree in: their categories, or nothing."""
    return these.box_object if m.categories else np.zeros_like(these.box_object)


def _best_overlap(
    m: Matched, rows: np.ndarray, key: np.ndarray, others: np.ndarray, other_key: np.ndarray
) -> np.ndarray:
    """The largest overlap of predicted boxes with annotated ones of the same image and key.

    Args:
        m: predictions and ground truth.
        rows: of the predicted boxes.
        key: [n] of all predicted boxes.
        others: rows of the annotated boxes.
        other_key: of all annotated boxes.

    Returns:
        [n] of all predicted boxes: 0 for those that are not in `rows` or overlap nothing.
    """
    best = np.zeros(len(m.boxes))
    for i, value, _ in _box_overlaps(
        m.found.box_image * _KEYS + key, m.boxes, rows,
        m.truth.box_image * _KEYS + other_key, m.true_boxes, others, m.overlap,
    ):  # fmt: skip
        first = np.flatnonzero(np.diff(i, prepend=-1))
        best[rows[i[first]]] = np.maximum.reduceat(value, first)
    return best


_KEYS = 1 << 20  # more than there are categories, verbs or classes


def _box_overlaps(
    key: np.ndarray,
    boxes: np.ndarray,
    rows: np.ndarray,
    other_key: np.ndarray,
    other_boxes: np.ndarray,
    others: np.ndarray,
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of (position in `rows`, overlap, row of the other box) for boxes of equal key."""
    order = others[np.argsort(other_key[others], kind="stable")]
    for i, j in matching.candidates(key[rows], other_key[order]):
        if len(i):
            yield i, overlap(boxes[rows[i]], other_boxes[order[j]]), order[j]


def _pairs(
    m: Matched, rows: np.ndarray, key: np.ndarray, pair_key: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of (position, pair, overlap of the humans, of the objects) in an image.

    Args:
        m: predictions and ground truth.
        rows: positions in `m.rows`.
        key: [m] and
        pair_key: [t], which must be equal.
    """
    pairs = np.flatnonzero(m.true_class >= 0)
    pair_key = m.truth.image[pairs] * _KEYS + pair_key[pairs]
    order = np.argsort(pair_key, kind="stable")
    wanted = m.image[rows] * _KEYS + key[rows]
    human, target = m.human, m.object
    for i, j in matching.candidates(wanted, pair_key[order]):
        row, pair = rows[i], pairs[order[j]]
        yield (
            row,
            pair,
            m.overlap(m.boxes[human[row]], m.true_boxes[m.truth.human[pair]]),
            m.overlap(m.boxes[target[row]], m.true_boxes[m.truth.object[pair]]),
        )


def _meant(m: Matched, kind: int, rows: np.ndarray) -> np.ndarray:
    """The pair that mending a false positive makes it right for, -1 where it is removed.

    Args:
        m: predictions and ground truth.
        kind: of the false positives.
        rows: their positions in `m.rows`.
    """
    if kind in (_DUPLICATE, _BACKGROUND) or not len(rows):
        return np.full(len(rows), -1)
    predicted_object = _category(m, m.found)[m.object]
    pair_object = _category(m, m.truth)[m.truth.object]
    if kind == _VERB:
        key, pair_key = predicted_object, pair_object
    elif kind == _OBJECT:
        key, pair_key = m.found.verb[m.rows], m.truth.verb
    else:
        key, pair_key = m.group, m.true_class
    free = np.ones(len(m.truth.verb), bool)
    free[m.taken[m.taken >= 0]] = False
    rows_found, pairs_found, overlaps = [np.empty(0, int)], [np.empty(0, int)], [np.empty(0)]
    for row, pair, human, target in _pairs(m, rows, key, pair_key):
        at_human, at_object = m.enough(human), m.enough(target)
        fits = {
            _VERB: at_human & at_object,
            _PAIRING: at_human | at_object,
            _HUMAN: at_object,
            _OBJECT: at_human & (at_object | (pair_object[pair] == predicted_object[row])),
            _BOTH: (human >= NEAR) & (target >= NEAR),
        }[kind] & free[pair]
        rows_found.append(row[fits])
        pairs_found.append(pair[fits])
        overlaps.append((human + target)[fits])
    row, pair = np.concatenate(rows_found), np.concatenate(pairs_found)
    by_score = np.lexsort((rows, -m.score[rows]))
    place = np.empty(len(m.rows), int)
    place[rows[by_score]] = np.arange(len(rows))
    order = np.lexsort((pair, -np.concatenate(overlaps), place[row]))
    fitting = place[row][order], pair[order]
    taken = matching.first_free([fitting], len(rows), len(m.truth.verb))
    return taken[place[rows]]


def _missed(m: Matched) -> np.ndarray:
    """[t] index into `MISSED` of every pair, -1 for one that is found or does not count."""
    lost = m.true_class >= 0
    lost[m.taken[m.taken >= 0]] = False
    pairs = np.flatnonzero(lost)
    there = []
    for box, of_object, others in (
        (m.truth.human, 0, _humans(m.found)),
        (m.truth.object, 1, np.arange(len(m.boxes))),
    ):
        rows = _used(box[pairs], len(m.true_boxes))
        seen = np.zeros(len(m.true_boxes), bool)
        for i, value, _ in _box_overlaps(
            m.truth.box_image * _KEYS + of_object * _category(m, m.truth), m.true_boxes, rows,
            m.found.box_image * _KEYS + of_object * _category(m, m.found), m.boxes, others,
            m.overlap,
        ):  # fmt: skip
            seen[rows[i[m.enough(value)]]] = True
        there.append(seen[box[pairs]])
    missed = np.full(len(lost), -1)
    missed[pairs] = np.where(there[0], np.where(there[1], 0, 1), np.where(there[1], 2, 3))
    return missed


def _cost(m: Matched, wrong: np.ndarray, meant: np.ndarray) -> Cost:
    """The cost of some false positives ([m] bool), given the pairs that they become right for."""
    mended = meant >= 0
    group = np.where(mended, m.true_class[meant] if len(m.true_class) else -1, m.group)
    kept = np.flatnonzero(~wrong | mended)
    if (group != m.group).any():
        kept = kept[np.lexsort((kept, -m.score[kept], group[kept]))]
    hits = (m.taken >= 0) | mended
    total = m.scores.ground_truth
    return _gain(m, int(wrong.sum()), int(mended.sum()), group[kept], hits[kept], total)


def _cost_of_missed(m: Matched, missed: np.ndarray) -> Cost:
    """The cost of some missed pairs ([t] bool)."""
    gone = np.bincount(m.true_class[missed], minlength=len(m.scores.ap))
    left = m.scores.ground_truth - gone
    return _gain(m, int(missed.sum()), 0, m.group, m.taken >= 0, left)


def _gain(
    m: Matched, count: int, mended: int, group: np.ndarray, hits: np.ndarray, total: np.ndarray
) -> Cost:
    """What the APs and their means gain by other predictions or another ground truth."""
    before = m.scores.ap
    columns = score_classes(group, hits, total, m.average_precision)
    after = np.where(total > 0, columns["ap"], 1.0)
    after = np.where((m.scores.ground_truth > 0) & ~np.isnan(before), after, before)
    means = dataclasses.replace(m.scores, ap=after).means
    return Cost(
        count=count,
        mended=mended,
        points={name: means[name] - value for name, value in m.scores.means.items()},
        classes=after - before,
        curve=mean_curve(_curves(m, group, hits, total)),
    )


def mean_curve(curves: np.ndarray) -> np.ndarray:
    """[101] the mean over the classes that have one; NaN if none has."""
    known = np.flatnonzero(~np.isnan(curves[:, 0]))
    return curves[known].mean(axis=0) if len(known) else np.full(curves.shape[1], np.nan)


def _curves(m: Matched, group: np.ndarray, hits: np.ndarray, total: np.ndarray) -> np.ndarray:
    """[C, 101] best precision at each recall or more; NaN where the ground truth has nothing."""
    curves = np.full((len(total), len(RECALLS)), np.nan)
    start = np.searchsorted(group, np.arange(len(total) + 1))
    for index in np.flatnonzero(m.scores.ground_truth > 0):
        ours = hits[start[index] : start[index + 1]]
        curves[index] = best_precision(ours, total[index], RECALLS) if total[index] else 1.0
    return curves
