"""Boxes for other people's tools: each once, with its class and what it takes part in."""

import json
import sys
from functools import partial

import numpy as np
import pytest
from tiny import VOCABULARY

from ggnet_jax.errors import UserError
from ggnet_jax.inference.box_formats import to_coco_results, to_supervision
from ggnet_jax.inference.interactions import Interaction

PERSON, OTHER, BICYCLE = (10.0, 20.0, 40.0, 90.0), (50.0, 20.0, 70.0, 80.0), (5.0, 60.0, 60.0, 99.5)


def interaction(verb, human, obj, box, scores) -> Interaction:
    verb_score, human_score, object_score = scores
    score = verb_score * human_score * object_score
    point = (0.0, 0.0)
    return Interaction(
        human, box, obj, verb, f"{verb} {obj}", score, human_score, object_score, verb_score,
        point, point, point, point, point,
    )  # fmt: skip


INTERACTIONS = [
    interaction("ride", PERSON, "bicycle", BICYCLE, (0.9, 0.8, 0.7)),
    interaction("push", PERSON, "bicycle", BICYCLE, (0.5, 0.8, 0.7)),
    interaction("hug", OTHER, "person", PERSON, (0.4, 0.6, 0.8)),
]


def test_coco_results_have_each_box_once():
    entries = to_coco_results(INTERACTIONS, VOCABULARY, image_id="a.jpg")
    assert entries == [
        {"image_id": "a.jpg", "category_id": 1, "bbox": [10, 20, 30, 70], "score": 0.8},
        {"image_id": "a.jpg", "category_id": 2, "bbox": [5, 60, 55, 39.5], "score": 0.7},
        {"image_id": "a.jpg", "category_id": 1, "bbox": [50, 20, 20, 60], "score": 0.6},
    ]
    assert to_coco_results([], VOCABULARY, image_id=1) == []


def test_coco_results_are_json_whatever_the_id_comes_from():
    entries = to_coco_results(INTERACTIONS, VOCABULARY, image_id=np.int64(7))
    assert json.loads(json.dumps(entries))[0]["image_id"] == 7


@pytest.mark.parametrize("to", [to_supervision, partial(to_coco_results, image_id=1)])
def test_results_of_a_list_are_not_those_of_an_image(to):
    with pytest.raises(TypeError, match="of one image are needed"):
        to([INTERACTIONS, INTERACTIONS], VOCABULARY)


def test_supervision_has_the_boxes_and_what_they_take_part_in():
    supervision = pytest.importorskip(
        "supervision", reason="an optional install: pip install supervision"
    )
    found = to_supervision(INTERACTIONS, VOCABULARY)
    assert isinstance(found, supervision.Detections)
    np.testing.assert_array_equal(found.xyxy, [PERSON, BICYCLE, OTHER])
    np.testing.assert_allclose(found.confidence, [0.8, 0.7, 0.6])
    assert list(found.class_id) == [0, 1, 0]
    assert list(found["class_name"]) == ["person", "bicycle", "person"]
    assert list(found["label"]) == ["ride bicycle 0.50", "ride bicycle 0.50", "hug person 0.19"]
    person, bicycle, other = found["interactions"]
    assert [(one["role"], one["verb"], one["other"]) for one in person] == [
        ("human", "ride", BICYCLE),
        ("human", "push", BICYCLE),
        ("object", "hug", OTHER),
    ]
    assert [one["verb"] for one in bicycle] == ["ride", "push"] and len(other) == 1
    # They survive what people do with detections.
    kept = found[found.class_id == 1]
    assert kept["interactions"][0] == bicycle
    empty = to_supervision([], VOCABULARY)
    assert len(empty) == 0
    both = supervision.Detections.merge(
        [found, empty, to_supervision(INTERACTIONS[2:], VOCABULARY)]
    )
    assert len(both) == 5 and both["interactions"][4][0]["role"] == "object"


def test_without_supervision_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        to_supervision(INTERACTIONS, VOCABULARY)
