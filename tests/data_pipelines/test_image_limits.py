"""Images that would fill the memory of a training are left out, as `data.max_pixels` says."""

import numpy as np
import pytest
from data_trees import own_config
from PIL import Image

import data_pipelines

SIZES = {"large.png": (80, 60), "small.png": (40, 30)}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "images").mkdir()
    for name, (width, height) in SIZES.items():
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(tmp_path / "images" / name)
    boxes = [{"bbox": [1, 2, 20, 28], "category_id": 1}, {"bbox": [5, 5, 30, 25], "category_id": 2}]
    relation = {"subject_id": 0, "object_id": 1, "category_id": 1}
    entries = [{"file_name": n, "annotations": boxes, "hoi_annotation": [relation]} for n in SIZES]
    return own_config(tmp_path, entries, entries)


def built(config):
    """(images of the evaluation split, what the report says of unreadable ones)."""
    dataset = data_pipelines.load_dataset(config.data)
    findings = dataset.builder.metadata["reports"]["test"]["findings"]
    return dataset.num_eval, findings.get("image_unreadable", {}).get("examples", [])


def test_the_limit_is_in_the_report_and_another_limit_builds_again(config):
    assert built(config) == (2, [])
    config.data.max_pixels = 40 * 30
    number, (reason,) = built(config)
    assert number == 1
    assert reason.startswith("large.png: too large (4,800 pixels; max_pixels is 1,200")
    config.data.max_pixels = 80 * 60
    assert built(config) == (2, [])
