"""Mistakes of predictions are told apart, and leaving them out gives back what they cost."""

import pytest

from benchmarks.ablation.mistakes import costs, kinds
from ggnet_jax import vocabularies

PERSON, FAR_PERSON, KITE = [10, 10, 30, 60], [70, 10, 90, 60], [40, 10, 50, 20]


@pytest.fixture(scope="module")
def vocabulary():
    return vocabularies.load("figures_hoi")


@pytest.fixture(scope="module")
def ids(vocabulary):
    """Category ids: person, another object and two verbs that it is known with."""
    thing = max(range(1, vocabulary.num_objects), key=lambda o: vocabulary.valid_pairs[:, o].sum())
    first, second = vocabulary.valid_pairs[:, thing].nonzero()[0][:2]
    return {
        "person": vocabulary.object_ids[0],
        "thing": vocabulary.object_ids[thing],
        "verb": vocabulary.verb_ids[first],
        "other": vocabulary.verb_ids[second],
    }


def boxes(ids, moved=0):
    kinds_of = (ids["person"], ids["person"], ids["thing"])
    return [
        {"bbox": [value + moved for value in box], "category_id": one, "score": 0.9}
        for box, one in zip((PERSON, FAR_PERSON, KITE), kinds_of, strict=True)
    ]


def relation(verb, human, score):
    return {"subject_id": human, "object_id": 2, "category_id": verb, "score": score}


@pytest.fixture
def truth(ids):
    return {
        "file_name": "a.png",
        "annotations": boxes(ids),
        "hoi_annotation": [relation(ids["verb"], 0, 1.0)],
    }


def test_first_reason_that_fits(ids, truth):
    found = {
        "file_name": "a.png",
        "predictions": [*boxes(ids, moved=1), *boxes(ids, moved=40)],
        "hoi_prediction": [
            relation(ids["verb"], 0, 0.9),
            relation(ids["other"], 0, 0.8),
            relation(ids["verb"], 1, 0.7),
            relation(ids["other"], 1, 0.6),
            {**relation(ids["verb"], 0, 0.5), "object_id": 5},
        ],
    }
    assert kinds(found, truth) == ["", "verb", "pairing", "pairing", "box"]


def test_costs_of_a_wrong_pair_above_the_right_one(ids, truth, vocabulary):
    """Half precision at the only recall: without the wrong one the class would be perfect."""
    found = {
        "file_name": "a.png",
        "predictions": boxes(ids),
        "hoi_prediction": [relation(ids["verb"], 1, 0.9), relation(ids["verb"], 0, 0.8)],
    }
    one_class = 100 / vocabulary.num_classes
    assert costs([found], [truth], vocabulary) == pytest.approx(
        {"all": one_class / 2, "verb": 0, "pairing": one_class / 2, "box": 0}
    )
