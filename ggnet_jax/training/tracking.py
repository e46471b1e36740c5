"""What an evaluation during training gives to look at, beside its numbers."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ggnet_jax.evaluation.precision_recall import Curve


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        metrics: numbers by name, "mAP/default/full".
        images: drawings by name, RGB uint8 [h, w, 3].
        curves: precision over recall by name.
    """

    metrics: Mapping[str, float]
    images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    curves: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
