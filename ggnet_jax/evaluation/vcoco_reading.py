"""What V-COCO's protocols share: which image a file name means, the predictions, the means."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ggnet_jax.evaluation.formats.vcoco_pickle import ACTIONS_WITHOUT_OBJECT
from ggnet_jax.evaluation.reading import Progress, Source
from ggnet_jax.evaluation.records import (
    Interactions,
    read_predictions,
)
from ggnet_jax.vocabularies import Vocabulary

_COCO_ID = re.compile(r"(\d{12})(?:\.\w+)?$")


def image_key(file_name: str) -> Any:
    """COCO's image id, the last 12 digits of a file name; any other name is its own key."""
    match = _COCO_ID.search(file_name)
    return int(match[1]) if match else file_name


def read_pairs(
    predictions: Source,
    images: Mapping[Any, int],
    vocabulary: Vocabulary,
    unknown_images: str,
    progress: Progress | None,
) -> Interactions:
    """The predictions, with V-COCO's ids and its ways to say that there is no object."""
    return read_predictions(
        predictions,
        images,
        vocabulary,
        more_verb_ids=tuple(ACTIONS_WITHOUT_OBJECT),
        key=image_key,
        unknown_images=unknown_images,
        missing_object=True,
        progress=progress,
    )


def role_groups(names: Sequence[str]) -> dict[str, np.ndarray]:
    """The roles without and with `point`."""
    everyone = np.ones(len(names), bool)
    without = np.array([not name.startswith("point_") for name in names])
    return {f"roles_{without.sum()}": without, f"roles_{len(names)}": everyone}
