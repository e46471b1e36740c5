"""What an inspection says of classes, verbs and objects."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ggnet_jax.inspection.columns import Inspection, Split
from ggnet_jax.inspection.parts import Section, Table, counted, some, split_title
from ggnet_jax.vocabularies import Vocabulary

RARE_BELOW = 10
"""Training relations from which a class is not rare; HICO-DET's rule."""


def class_sections(
    inspection: Inspection, counts: Sequence[np.ndarray], remarks: list[str]
) -> list[Section]:
    """Of classes, verbs and objects."""
    splits, vocabulary = inspection.splits, inspection.vocabulary
    training = counts[0] if inspection.training else None
    header = tuple(map(split_title, splits))
    known = _class_marks(vocabulary, training, counts)
    table = _count_table(
        "class",
        header,
        [vocabulary.verb_phrase(verb, obj) for verb, obj in known],
        [[int(count[verb, obj]) for count in counts] for verb, obj in known],
        list(known.values()),
    )
    notes = [f"Rare: fewer than {RARE_BELOW} relations in training, HICO-DET's rule."]
    if training is None:
        notes = ["Which are rare is known with the training split."]
        if _has_both(vocabulary.rare):
            notes = ["Rare are those that the vocabulary has as rare."]
    elif vocabulary.rare is not None:
        pairs = zip(vocabulary.classes, vocabulary.rare, strict=True)
        other = sum(flag != (training[pair] < RARE_BELOW) for pair, flag in pairs)
        if other:
            notes.append(
                f"Evaluation groups classes by the vocabulary's own flags, which differ for "
                f"{counted(other, 'class')}."
            )
    number = Counter(known.values())
    if training is not None:
        rare = number["rare"] + number["rare, none in training"]
        if rare:
            remarks.append(f"{rare} of {len(known)} classes {'is' if rare == 1 else 'are'} rare.")
        remarks += _unseen(vocabulary, splits, counts)
    if number["no class"]:
        notes.append(
            f"{number['no class']} (verb, object) pairs are annotated but no class of the "
            "vocabulary: they are trained on and never predicted."
        )
    absent = sum(not any(count[pair] for count in counts) for pair in vocabulary.classes)
    notes += _absent(absent, vocabulary.num_classes)
    verbs = _count_table(
        "verb",
        header,
        [name.replace("_", " ") for name in vocabulary.verbs],
        [[int(count[verb].sum()) for count in counts] for verb in range(vocabulary.num_verbs)],
        _rare_marks(None if training is None else training.sum(axis=1)),
    )
    boxes = [
        np.bincount(split.columns.classes, minlength=vocabulary.num_objects) for split in splits
    ]
    objects = _count_table(
        "object",
        tuple(f"boxes, {name}" for name in header),
        [name.replace("_", " ") for name in vocabulary.objects],
        [[int(count[obj]) for count in boxes] for obj in range(vocabulary.num_objects)],
        _rare_marks(boxes[0] if inspection.training else None),
    )
    return [
        Section("Classes", tuple(notes), (table,)),
        Section(
            "Verbs",
            (
                "Relations of each verb.",
                *_absent(vocabulary.num_verbs - len(verbs.rows), vocabulary.num_verbs),
            ),
            (verbs,),
        ),
        Section(
            "Objects",
            (
                "Boxes of each object.",
                *_absent(vocabulary.num_objects - len(objects.rows), vocabulary.num_objects),
            ),
            (objects,),
        ),
    ]


def _class_marks(
    vocabulary: Vocabulary, training: np.ndarray | None, counts: Sequence[np.ndarray]
) -> dict[tuple[int, int], str]:
    """{(verb, object): mark} of every class, and of annotated pairs that are none."""
    marks = {}
    flags = [False] * vocabulary.num_classes
    if vocabulary.rare is not None and _has_both(vocabulary.rare):
        flags = list(vocabulary.rare)
    for number, (verb, obj) in enumerate(vocabulary.classes):
        if training is not None:
            seen = int(training[verb, obj])
            mark = "rare" if seen < RARE_BELOW else ""
            marks[verb, obj] = mark if seen else "rare, none in training"
        else:
            marks[verb, obj] = "rare" if flags[number] else ""
    for verb, obj in np.argwhere(sum(counts) > 0).tolist():
        marks.setdefault((verb, obj), "no class")
    return marks


def _has_both(rare: Sequence[bool] | None) -> bool:
    """Whether flags tell rare classes from others; all are rare where no training split was."""
    return rare is not None and len(set(rare)) == 2


def _rare_marks(training: np.ndarray | None) -> list[str]:
    """Marks of verbs or objects by how often they occur in training; none if that is unknown."""
    if training is None:
        return []
    return [
        "none in training" if not n else "rare" if n < RARE_BELOW else "" for n in training.tolist()
    ]


def _unseen(
    vocabulary: Vocabulary, splits: Sequence[Split], counts: Sequence[np.ndarray]
) -> list[str]:
    """What the other splits have and the training split has not."""
    lines = []
    for split, count in zip(splits[1:], counts[1:], strict=True):
        only = np.argwhere((count > 0) & (counts[0] == 0))
        if len(only):
            relations = int(count[tuple(only.T)].sum())
            names = [vocabulary.verb_phrase(verb, obj) for verb, obj in only.tolist()]
            lines.append(
                f"{counted(len(only), 'class')} of {split_title(split)} "
                f"{'is' if len(only) == 1 else 'are'} not in training "
                f"({counted(relations, 'relation')}): {some(names)}."
            )
    idle = np.flatnonzero(counts[0].sum(axis=1) == 0).tolist()
    if idle:
        names = [vocabulary.verbs[verb].replace("_", " ") for verb in idle]
        lines.append(f"{counted(len(idle), 'verb')} without a training relation: {some(names)}.")
    return lines


def _count_table(
    what: str,
    header: tuple[str, ...],
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    marks: Sequence[str],
) -> Table:
    """Rows by descending first count; without those that are nowhere."""
    order = [row for row in range(len(names)) if any(counts[row])]
    order.sort(key=lambda row: [-count for count in counts[row]])
    return Table(
        (what, *header),
        [(names[row], *counts[row]) for row in order],
        [marks[row] for row in order] if any(marks) else (),
        [counts[row][0] for row in order],
    )


def _absent(number: int, total: int) -> list[str]:
    """How many of the vocabulary's names are nowhere, as a sentence; none if all are there."""
    return [f"{number:,} of the vocabulary's {total:,} are not annotated."] * (number > 0)
