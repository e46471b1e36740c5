"""HICO-DET's zero-shot splits, against what their papers say of them."""

import numpy as np
import pytest

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import zero_shot

HICO = vocabularies.load("hico_det")
NUMBER = {"rf_uc": 120, "nf_uc": 120, "uo": 100, "uv": 84}


@pytest.mark.parametrize("split", zero_shot.SPLITS)
def test_a_split_has_as_many_unseen_classes_as_published(split):
    unseen = zero_shot.unseen_classes(split, HICO)
    assert unseen.shape == (600,) and unseen.sum() == NUMBER[split]
    pairs = zero_shot.unseen_pairs(split, HICO)
    assert pairs.sum() == NUMBER[split]
    for index in np.flatnonzero(unseen):
        verb, obj = HICO.classes[index]
        assert pairs[obj, verb]


def test_unseen_compositions_are_of_seen_verbs_and_objects():
    """And rare first means that all of them are rare, non-rare first that none is."""
    rare = np.array(HICO.rare)
    classes = np.array(HICO.classes)
    for split, flags in (("rf_uc", True), ("nf_uc", False)):
        unseen = zero_shot.unseen_classes(split, HICO)
        assert (rare[unseen] == flags).all()
        assert set(classes[~unseen, 0]) == set(range(117))
        assert set(classes[~unseen, 1]) == set(range(80))


def test_unseen_objects_and_verbs_are_seen_in_no_class():
    classes = np.array(HICO.classes)
    for split, column, number in (("uo", 1, 12), ("uv", 0, 20)):
        unseen = zero_shot.unseen_classes(split, HICO)
        there, elsewhere = set(classes[unseen, column]), set(classes[~unseen, column])
        assert len(there) == number and not there & elsewhere


def test_other_splits_and_vocabularies_are_refused():
    with pytest.raises(UserError, match=r"'uc'; there are rf_uc, nf_uc, uo, uv"):
        zero_shot.unseen_classes("uc", HICO)
    with pytest.raises(UserError, match="HICO-DET's 600 classes; the vocabulary 'figures_hoi'"):
        zero_shot.unseen_classes("uo", vocabularies.load("figures_hoi"))
