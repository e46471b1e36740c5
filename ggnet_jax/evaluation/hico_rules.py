"""The rules by which HICO-DET predictions are scored in the field, under their names.

The same predictions get figures that differ by tenths of a point, because the rules differ in how
boxes are compared, which of several matching pairs a prediction takes, and how the 11 recalls of
average precision are rounded:

            pair taken   overlap needed     boxes                          classes in the means
official    the best     at least 0.5       1 added to predictions;        all
                                            inclusive
no_frills   the first    more than 0.5      as they come; inclusive        those with an AP
            free one
pocket      the best     more than 0.5      1 taken from the truth's x1    all
                                            and y1; real-valued
ppdm        the best     at least 0.5,      1 added to predictions;        those with ground truth
                         both categories    inclusive
inp_cc      the best     at least 0.5       as they come; real-valued      all but `no_interaction`

"The best" is the pair of the largest smaller overlap; where an earlier prediction took it, the
prediction is wrong, even if another pair is free.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from ggnet_jax.evaluation import average_precision, overlap


@dataclasses.dataclass(frozen=True)
class Rule:
    """One way to score.

    Attributes:
        used_by: who scores with it.
        settings: Default and, where the rule has it, Known Object.
        overlap: of two arrays of boxes; a function of `overlap`.
        enough: which overlaps match.
        takes_first: a prediction takes the first free pair that matches, else the best one.
        predicted_shift: added to the four numbers of predicted boxes.
        truth_shift: added to those of the ground truth.
        recalls: the 11 recalls of average precision, as the rule rounds them.
        person_subject: only pairs whose subject is a person have a class.
        ap_without_truth: AP of a class that is predicted and has no ground truth.
        ap_of_nothing: AP of a class that has neither.
        without_verb: a verb whose classes are in no mean.
        most: predictions of a class that count; the best ones.
    """

    used_by: str
    settings: tuple[str, ...]
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray]
    enough: Callable[[np.ndarray], np.ndarray]
    takes_first: bool = False
    predicted_shift: float = 0.0
    truth_shift: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    recalls: np.ndarray = dataclasses.field(default_factory=lambda: average_precision.MULTIPLES)
    person_subject: bool = False
    ap_without_truth: float = 0.0
    ap_of_nothing: float = 0.0
    without_verb: str = ""
    most: int | None = None


RULES = {
    "official": Rule(
        used_by="HICO-DET's own Matlab code, which UPT, PViC, ADA-CM and LAIN write .mat files for",
        settings=("default", "known_object"),
        overlap=overlap.vsrl,
        enough=overlap.at_least_half,
        predicted_shift=1.0,
        # Its recalls are 0:0.1:1. Matlab may count those from both ends (`FROM_ENDS`); the field's
        # restatements in Python use NumPy's, and so does this one.
    ),
    "no_frills": Rule(
        used_by="no-frills' and GGNet's own code: the paper's figures",
        settings=("default", "known_object"),
        overlap=overlap.no_frills,
        enough=overlap.more_than_half,
        takes_first=True,
        ap_without_truth=np.nan,
    ),
    "pocket": Rule(
        used_by="UPT, PViC, ADA-CM, CMMP, EZ-HOI, HOLa and LAIN in Python",
        settings=("default",),
        overlap=overlap.plain,
        enough=overlap.more_than_half,
        truth_shift=(-1.0, -1.0, 0.0, 0.0),
        recalls=average_precision.FROM_ENDS,
    ),
    "ppdm": Rule(
        used_by="PPDM, QPIC, CDN and HOICLIP",
        settings=("ppdm",),
        overlap=overlap.ppdm,
        enough=overlap.at_least_half,
        predicted_shift=1.0,
        person_subject=True,
        ap_without_truth=np.nan,
        ap_of_nothing=np.nan,
    ),
    "inp_cc": Rule(
        used_by="INP-CC",
        settings=("default",),
        overlap=overlap.plain,
        enough=overlap.at_least_half,
        recalls=average_precision.TENTHS,
        without_verb="no_interaction",
        most=19_999,
    ),
}
"""Name -> rule."""

ALIASES = {"ho_rcnn": "no_frills"}
"""Names of earlier versions; HO-RCNN's own rule is `official`."""
