"""Random damage is read, reported or one line: no traceback, nothing else trained on silently."""

import json

import pytest
from data_trees import VSRL, coco_instances
from fuzzing import outcomes, read

from data_pipelines.files import Source
from data_pipelines.hoi_json import HoiJson
from data_pipelines.v_coco import VCoco

CLASSES = {"objects": {"1": "person", "2": "dog", "7": "kite"}, "verbs": {"1": "walk", "4": "fly"}}


def entries():
    return [
        {
            "file_name": f"{number}.png",
            "width": 64,
            "height": 48,
            "annotations": [
                {"bbox": [1, 2, 20, 40], "category_id": 1},
                {"bbox": [15.5, 20, 50, 45], "category_id": 2},
                {"bbox": [30, 3, 60, 25.25], "category_id": 7},
            ],
            "hoi_annotation": [
                {"subject_id": 0, "object_id": 1, "category_id": 1},
                {"subject_id": 0, "object_id": 2, "category_id": 4},
            ],
        }
        for number in range(4)
    ]


@pytest.fixture
def own(tmp_path):
    """Files of one's own data, and what reads them."""
    (tmp_path / "train.json").write_text(json.dumps(entries()))
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES))
    source = Source(str(tmp_path / "train.json"), (str(tmp_path),), "train")
    sizes = {entry["file_name"]: (64, 48) for entry in entries()}
    classes = str(tmp_path / "classes.json")
    return tmp_path, lambda: read(HoiJson, source, sizes, tmp_path, classes)


@pytest.fixture
def vcoco(tmp_path):
    (tmp_path / "vcoco_train.json").write_text(json.dumps(VSRL))
    (tmp_path / "instances.json").write_text(json.dumps(coco_instances()))
    instances = (str(tmp_path / "instances.json"),)
    source = Source(
        str(tmp_path / "vcoco_train.json"), (str(tmp_path),), "train", instances=instances
    )
    sizes = {image["file_name"]: (64, 48) for image in coco_instances()["images"]}
    return tmp_path, lambda: read(VCoco, source, sizes, tmp_path)


@pytest.mark.parametrize("name", ["train.json", "classes.json"])
def test_own_data(own, name):
    folder, call = own
    counts, bad = outcomes(folder / name, call, 40, seed=1)
    assert not bad
    assert counts["line"] and counts["reported"]


@pytest.mark.parametrize("name", ["vcoco_train.json", "instances.json"])
def test_v_cocos_own_files(vcoco, name):
    folder, call = vcoco
    counts, bad = outcomes(folder / name, call, 40, seed=1)
    assert not bad
    assert counts["line"]
