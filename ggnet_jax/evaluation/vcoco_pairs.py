"""V-COCO by pair lists: the figure of PPDM's repository."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ggnet_jax.evaluation import matching, overlap
from ggnet_jax.evaluation.average_precision import area_under_curve
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.reading import Progress, Source
from ggnet_jax.evaluation.records import (
    Interactions,
    name_rank,
)
from ggnet_jax.evaluation.results import Result, Scores, score_classes
from ggnet_jax.evaluation.vcoco_reading import image_key, read_pairs, role_groups
from ggnet_jax.vocabularies import Vocabulary


def evaluate_pairs(
    predictions: Source,
    truth: Interactions,
    vocabulary: Vocabulary,
    unknown_images: str,
    progress: Progress | None,
) -> tuple[Result, Callable[[], Matched]]:
    """PPDM's figure: a prediction takes every free pair that it matches, and counts once."""
    images = {image_key(name): number for number, name in enumerate(truth.file_names)}
    found = read_pairs(predictions, images, vocabulary, unknown_images, progress)
    members = np.flatnonzero(found.verb < vocabulary.num_verbs)
    order = matching.by_descending_score(
        found.verb[members],
        found.score[members],
        lambda: found.tie_columns(members, name_rank(truth.file_names)),
    )
    ranked = members[order]
    key = truth.verb * len(truth.file_names) + truth.image
    by_key = np.argsort(key, kind="stable")
    wanted = found.verb[ranked] * len(truth.file_names) + found.image[ranked]

    def overlapping() -> Iterator[matching.Matches]:
        for row, place in matching.candidates(wanted, key[by_key]):
            pair, prediction = by_key[place], ranked[row]
            human = overlap.plain(
                found.boxes[found.human[prediction]], truth.boxes[truth.human[pair]]
            )
            target = overlap.plain(
                found.boxes[found.object[prediction]], truth.boxes[truth.object[pair]]
            )
            good = (human >= 0.5) & (target >= 0.5)
            yield row[good], pair[good]

    # It takes all of them, so a pair always goes to the first prediction that matches it.
    taken = matching.first_of_each(overlapping(), len(ranked), len(truth.verb))
    total = np.bincount(truth.verb, minlength=vocabulary.num_verbs)
    columns = score_classes(found.verb[ranked], taken >= 0, total, area_under_curve)
    columns["ap"] = np.where(total > 0, columns["ap"], 0.0)
    scores = Scores(
        labels=vocabulary.verbs,
        classes=tuple(
            {"verb": name, "verb_id": number}
            for name, number in zip(vocabulary.verbs, vocabulary.verb_ids, strict=True)
        ),
        groups=role_groups(vocabulary.verbs),
        **columns,
    )
    counts = {
        "images": len(truth.file_names),
        "predictions": len(found.verb),
        "ground_truth_pairs": len(truth.verb),
    }
    left_out = {k: v for k, v in {**found.dropped, **truth.dropped}.items() if v}
    result = Result(
        "v_coco: protocol ppdm, on pair lists (PPDM's repository)",
        {"ppdm": scores},
        {**counts, **left_out},
        found.notes + truth.notes,
    )
    return result, partial(
        Matched,
        title="v_coco, protocol ppdm",
        found=found,
        truth=truth,
        rows=ranked,
        group=found.verb[ranked],
        taken=taken,
        true_class=truth.verb,
        boxes=found.boxes,
        true_boxes=truth.boxes,
        overlap=overlap.plain,
        enough=overlap.at_least_half,
        average_precision=area_under_curve,
        scores=scores,
        categories=False,
    )
