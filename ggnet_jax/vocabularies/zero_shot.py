"""HICO-DET's zero-shot splits: which classes a detector has not seen in training.

rf_uc   120 unseen compositions, rare ones first; every verb and object is seen
nf_uc   120 unseen compositions, non-rare ones first
uo      the 100 classes of 12 unseen objects
uv      the 84 classes of 20 unseen verbs
"""

from pathlib import Path

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies.vocabulary import Vocabulary

SPLITS = ("rf_uc", "nf_uc", "uo", "uv")

_FILE = Path(__file__).resolve().parent / "splits" / "hico_det_zero_shot.json"


def unseen_classes(split: str, vocabulary: Vocabulary) -> np.ndarray:
    """[C] bool: the classes of HICO-DET that a zero-shot split leaves out of training.

    Args:
        split: one of `SPLITS`.
        vocabulary: HICO-DET's, under any name.

    Raises:
        UserError: there is no such split, or the vocabulary is not HICO-DET's.
    """
    if split not in SPLITS:
        raise UserError(f"no zero-shot split {split!r}; there are {', '.join(SPLITS)}")
    if (vocabulary.num_classes, vocabulary.num_verbs, vocabulary.num_objects) != (600, 117, 80):
        raise UserError(
            f"the zero-shot split {split} is of HICO-DET's 600 classes; the vocabulary "
            f"{vocabulary.name!r} has {vocabulary.num_classes}"
        )
    fields = io.read_json(_FILE)[split]
    numbers = set(fields.get("classes", ()))
    objects, verbs = set(fields.get("objects", ())), set(fields.get("verbs", ()))
    unseen = [
        index in numbers
        or vocabulary.objects[obj].replace(" ", "_") in objects
        or vocabulary.verbs[verb].replace(" ", "_") in verbs
        for index, (verb, obj) in enumerate(vocabulary.classes)
    ]
    return np.array(unseen)


def unseen_pairs(split: str, vocabulary: Vocabulary) -> np.ndarray:
    """[O, V] bool: the (object, verb) pairs of `unseen_classes`."""
    pairs = np.zeros((vocabulary.num_objects, vocabulary.num_verbs), bool)
    verbs, objects = np.array(vocabulary.classes)[unseen_classes(split, vocabulary)].T
    pairs[objects, verbs] = True
    return pairs
