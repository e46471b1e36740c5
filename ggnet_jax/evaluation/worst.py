"""Which single mistakes cost most, and what is annotated and predicted there."""

import dataclasses
from typing import Any

import numpy as np

from ggnet_jax.evaluation.diagnosis import MISSED, MISTAKES, Diagnosis
from ggnet_jax.evaluation.records import Interactions

EACH = 2
"""How many of a kind are shown."""
_BESIDE = 3  # pairs shown on the other side


@dataclasses.dataclass(frozen=True)
class Pair:
    """A human-object pair: boxes (x1, y1, x2, y2), image pixels as in the file, and a text."""

    human: tuple[float, ...]
    object: tuple[float, ...]
    label: str


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A mistake to look at.

    Attributes:
        kind: of `MISTAKES` or `MISSED`.
        file_name: of the image.
        label: class that is predicted, or missed.
        score: of the prediction, None for a missed pair.
        points: about what it takes from mAP, as a fraction.
        predicted: the prediction; for a missed pair the predictions nearest to it.
        annotated: the pair that was meant or missed, otherwise the pairs nearest to the prediction.
    """

    kind: str
    file_name: str
    label: str
    score: float | None
    points: float
    predicted: tuple[Pair, ...]
    annotated: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON's types."""
        return dataclasses.asdict(self)


def worst(diagnosis: Diagnosis, each: int = EACH) -> list[Mistake]:
    """The mistakes of every kind that cost most, each of another class and image where possible."""
    m = diagnosis.matches
    lost, missed_lost = _lost(diagnosis)
    mistakes = []
    for number, kind in enumerate(MISTAKES):
        rows = np.flatnonzero(diagnosis.kind == number)
        rows = rows[np.lexsort((rows, -m.score[rows], -lost[rows]))]
        for row in _various(rows, m.image, m.group, each):
            human, target = m.human[row], m.object[row]
            label = m.scores.labels[m.group[row]]
            meant = diagnosis.meant[row]
            near = [meant] if meant >= 0 else _nearest_annotated(diagnosis, row)
            mistakes.append(
                Mistake(
                    kind=kind,
                    file_name=m.truth.file_names[m.image[row]],
                    label=label,
                    score=float(m.score[row]),
                    points=float(lost[row]),
                    predicted=(_pair(m.found, human, target, f"{label} {m.score[row]:.2g}"),),
                    annotated=_annotated(diagnosis, near),
                )
            )
    for number, kind in enumerate(MISSED):
        pairs = np.flatnonzero(diagnosis.missed == number)
        pairs = pairs[np.lexsort((pairs, -missed_lost[pairs]))]
        for pair in _various(pairs, m.truth.image, m.true_class, each):
            mistakes.append(
                Mistake(
                    kind=kind,
                    file_name=m.truth.file_names[m.truth.image[pair]],
                    label=m.scores.labels[m.true_class[pair]],
                    score=None,
                    points=float(missed_lost[pair]),
                    predicted=_nearest_predicted(diagnosis, pair),
                    annotated=_annotated(diagnosis, [pair]),
                )
            )
    return mistakes


def _lost(diagnosis: Diagnosis) -> tuple[np.ndarray, np.ndarray]:
    """About what each prediction [m] and each missed pair [t] takes from the first mean.

    A false positive lowers the precision at every true positive of its class that follows, from
    k / (n - 1) to k / n; and if it would become right, the recall that comes with it is lost too. A
    missed pair costs its share of the class's recall. The envelope of the curve is left aside.
    """
    m = diagnosis.matches
    total = np.maximum(m.scores.ground_truth, 1)
    members = next(iter(m.scores.groups.values()))
    weight = members / max(1, members.sum()) / total
    hits = m.taken >= 0
    place = np.arange(len(m.group)) - np.searchsorted(m.group, m.group)
    before = np.cumsum(hits) - hits
    found = before - before[np.searchsorted(m.group, m.group)] if len(hits) else before
    share = np.where(hits, (found + 1) / np.maximum(place * (place + 1), 1), 0.0)
    after = np.cumsum(share[::-1])[::-1] - share
    end = np.searchsorted(m.group, m.group, side="right") - 1
    rest = after - after[end] if len(hits) else after
    lost = np.where(hits, 0.0, rest * weight[m.group])
    mended = diagnosis.meant >= 0
    if mended.any():
        gain = weight[m.true_class[diagnosis.meant]] * (found + 1) / (place + 1)
        lost += np.where(mended, gain, 0.0)
    return lost, np.where(diagnosis.missed >= 0, weight[m.true_class], 0.0)


def _various(rows: np.ndarray, image: np.ndarray, group: np.ndarray, each: int) -> list[int]:
    """The first rows of different images and classes; of the first ones what is lacking then."""
    chosen: list[int] = []
    images, groups = set(), set()
    for row in rows[:1000].tolist():
        if len(chosen) < each and image[row] not in images and group[row] not in groups:
            chosen.append(row)
            images.add(image[row])
            groups.add(group[row])
    more = [row for row in rows[: 2 * each].tolist() if row not in chosen]
    return (chosen + more)[:each]


def _nearest_annotated(diagnosis: Diagnosis, row: int) -> list[int]:
    """The pairs of the image that the boxes of a prediction overlap most."""
    m = diagnosis.matches
    pairs = np.flatnonzero((m.truth.image == m.image[row]) & (m.true_class >= 0))
    human = np.broadcast_to(m.boxes[m.human[row]], (len(pairs), 4))
    target = np.broadcast_to(m.boxes[m.object[row]], (len(pairs), 4))
    near = m.overlap(human, m.true_boxes[m.truth.human[pairs]])
    near = near + m.overlap(target, m.true_boxes[m.truth.object[pairs]])
    return pairs[np.argsort(-near, kind="stable")[:_BESIDE]].tolist()


def _nearest_predicted(diagnosis: Diagnosis, pair: int) -> tuple[Pair, ...]:
    """The predictions of the image whose boxes overlap those of a pair most, then by score."""
    m = diagnosis.matches
    rows = np.flatnonzero(m.image == m.truth.image[pair])
    human = np.broadcast_to(m.true_boxes[m.truth.human[pair]], (len(rows), 4))
    target = np.broadcast_to(m.true_boxes[m.truth.object[pair]], (len(rows), 4))
    near = m.overlap(m.boxes[m.human[rows]], human) + m.overlap(m.boxes[m.object[rows]], target)
    rows = rows[np.lexsort((-m.score[rows], -near))][:_BESIDE]
    return tuple(
        _pair(m.found, m.human[r], m.object[r], f"{m.scores.labels[m.group[r]]} {m.score[r]:.2g}")
        for r in rows
    )


def _annotated(diagnosis: Diagnosis, pairs: list[int]) -> tuple[Pair, ...]:
    m = diagnosis.matches
    return tuple(
        _pair(m.truth, m.truth.human[p], m.truth.object[p], m.scores.labels[m.true_class[p]])
        for p in pairs
    )


def _pair(these: Interactions, human: Any, target: Any, label: str) -> Pair:
    return Pair(tuple(these.boxes[human].tolist()), tuple(these.boxes[target].tolist()), label)
