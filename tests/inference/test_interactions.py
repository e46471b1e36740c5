"""From map cells to an image's own pixels, with names, and into the prediction format."""

from typing import Any

import numpy as np
import pytest
from tiny import VOCABULARY

from ggnet_jax.inference import geometry
from ggnet_jax.inference.decoding import Detections
from ggnet_jax.inference.detection import Found
from ggnet_jax.inference.interactions import boxes_to_image, to_interactions, to_prediction_entry
from ggnet_jax.models.outputs import ActPoints


def found_by_hand() -> Found:
    """One image, three slots: two valid ones that share the person, and padding."""
    human = np.array([[[4, 8, 12, 24.5]] * 3], np.float32)
    obj = np.array([[[10, 14, 20, 22], [3, 6, 6, 9], [0, 0, 1, 1]]], np.float32)
    fields: dict[str, Any] = {
        "human_box": human,
        "object_box": obj,
        "object_class": np.array([[1, 2, 0]]),
        "verb": np.array([[0, 2, 3]]),
        "score": np.array([[0.5, 0.2, 0.9]], np.float32),
        "human_score": np.array([[0.9, 0.9, 0.9]], np.float32),
        "object_score": np.array([[0.8, 0.4, 0.4]], np.float32),
        "verb_score": np.array([[0.7, 0.55, 0.4]], np.float32),
        "human_cell": np.zeros((1, 3), int),
        "object_cell": np.zeros((1, 3), int),
        "interaction_cell": np.zeros((1, 3), int),
        "valid": np.array([[True, True, False]]),
    }
    points: Any = np.array([[[11, 17], [6, 12], [0, 0]]], np.float32)
    weights: Any = np.full((1, 3, 9), 0.25)
    steps = (ActPoints(points[:, :, None] + np.ones((9, 2)), weights),)
    return Found(Detections(**fields), points, points, points, steps)


def test_interactions_in_image_pixels():
    """An input of 128 x 128 for an image of 256 x 128: half its size, 32 black rows on top."""
    ones = to_interactions(
        found_by_hand(), 0, VOCABULARY, width=256, height=128, input_size=(128, 128)
    )
    assert [one.phrase for one in ones] == ["ride bicycle", "fly kite"]
    first = ones[0]
    assert first.label == "ride bicycle 0.50"
    # x = 2 * 4 * cell, y = 2 * (4 * cell - 32)
    assert first.human_box == pytest.approx((32, 0, 96, 128))  # no higher than the image
    assert first.object_box == pytest.approx((80, 48, 160, 112))
    assert first.interaction_point == pytest.approx((88, 72))
    assert first.human_point == pytest.approx((64, 66))
    position, weight = first.act_points[0]
    np.testing.assert_allclose(position, np.full((9, 2), (96, 80)))
    np.testing.assert_allclose(weight, 0.25)
    kwargs = {"width": 256, "height": 128, "input_size": (128, 128)}
    assert len(to_interactions(found_by_hand(), 0, VOCABULARY, threshold=0.3, **kwargs)) == 1
    assert len(to_interactions(found_by_hand(), 0, VOCABULARY, top_k=1, **kwargs)) == 1


def test_boxes_go_there_and_back():
    rng = np.random.default_rng(0)
    corner = rng.uniform(20, 200, (50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(15, 80, (50, 2))], axis=1)
    for size in ((300, 400), (640, 300), (1000, 1000)):
        matrix = geometry.letterbox(*size, (512, 384))
        cells = geometry.apply(matrix, boxes.reshape(-1, 2, 2)).reshape(-1, 4) / 4
        np.testing.assert_allclose(boxes_to_image(cells, *size, (512, 384)), boxes, atol=1e-9)


def test_prediction_entry_lists_each_box_once_and_uses_ids():
    entry = to_prediction_entry(
        found_by_hand().detections,
        0,
        VOCABULARY,
        file_name="a.jpg",
        width=256,
        height=128,
        input_size=(128, 128),
    )
    assert entry["file_name"] == "a.jpg"
    assert [box["category_id"] for box in entry["predictions"]] == [1, 2, 38]
    assert entry["hoi_prediction"] == [
        {"subject_id": 0, "object_id": 1, "category_id": 3, "score": 0.5},
        {"subject_id": 0, "object_id": 2, "category_id": 8, "score": pytest.approx(0.2)},
    ]
    assert all(len(box["bbox"]) == 4 for box in entry["predictions"])
