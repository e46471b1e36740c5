"""Boxes of other detectors: what is likely wrong with a file is named, what is right is read."""

import json

import numpy as np
import pytest
from tiny import VOCABULARY

from ggnet_jax.errors import UserError
from ggnet_jax.inference.external_detections import ExternalDetections

SIZE = (120, 60)
TRUTH = [{"file_name": f"{k}.jpg"} for k in range(4)]


def read(tmp_path, boxes, **changes):
    entries = [
        {"file_name": f"{k % 4}.jpg", "category_id": 1, "bbox": list(map(float, box)), "score": 0.5}
        | changes
        for k, box in enumerate(boxes)
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(entries))
    return ExternalDetections.read(path, VOCABULARY, TRUTH)


def batch(found):
    return found.batch(np.arange(4), np.array([SIZE] * 4), (64, 64))


def corners(number=40):
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 0.8, (number, 2))
    last = first + rng.uniform(0.05, 0.2, (number, 2))
    return np.concatenate([first, last], 1) * (SIZE * 2)


def sides(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def test_good_boxes_are_used_and_nothing_is_said(tmp_path):
    found = read(tmp_path, sides(corners()))
    assert batch(found).valid.sum() == 40
    assert found.notes() == []


def test_corners_are_named(tmp_path):
    found = read(tmp_path, corners())
    with pytest.raises(UserError, match=r"would fit as corners .* write x, y, width, height"):
        batch(found)


def test_coordinates_in_0_to_1_are_named(tmp_path):
    for boxes in (sides(corners()), corners()):
        with pytest.raises(UserError, match="within 0 to 1; multiply"):
            read(tmp_path, boxes / (SIZE * 2))


def test_boxes_far_beyond_the_image_and_of_other_images_are_counted(tmp_path):
    boxes = sides(corners())
    boxes[0] = 100, 50, 30, 80
    boxes[1] = 110, 0, 11, 60  # a pixel beyond is nothing to speak of
    found = read(tmp_path, boxes)
    batch(found)
    (note,) = found.notes()
    assert note.startswith("config.eval.detections: 1 of 40 boxes")
    path = tmp_path / "more.json"
    entry = {"category_id": 1, "bbox": [1, 2, 30, 4], "score": 0.5}
    path.write_text(json.dumps([entry | {"file_name": n} for n in ("0.jpg", "x.jpg", "y.jpg")]))
    (note,) = ExternalDetections.read(path, VOCABULARY, TRUTH).notes()
    assert "2 boxes are of images beside the split" in note


@pytest.mark.parametrize("score", [1.0000001, 1.0, 0.0, -1e-7])
def test_rounding_beyond_0_and_1_is_let_pass(tmp_path, score):
    found = batch(read(tmp_path, [[10, 5, 50, 50]], score=score))
    assert 0 <= found.scores[0, 0] <= 1 and found.scores[0, 0] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": 87.5}, "divide percentages by 100"),
        ({"score": float("inf")}, "scores lie between"),
        ({"bbox": [0, 0, float("nan"), 4]}, "entry 0 .* bbox"),
        ({"category_id": 1.5}, "a whole category_id, .*'category_id': 1.5"),
        ({"category_id": "person"}, "entry 0 .*person"),
        ({"category_id": 1e999}, "entry 0"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, [[10, 5, 50, 50]], **change)
    assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_named(tmp_path):
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(UserError, match="must hold a list, one entry a box, not a JSON object"):
        ExternalDetections.read(path, VOCABULARY, TRUTH)
