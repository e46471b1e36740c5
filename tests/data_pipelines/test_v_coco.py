"""V-COCO's own annotations with COCO's instances: the reader, and the builder on a tiny tree."""

import json

import numpy as np
import pytest
from data_trees import VSRL, coco_instances, config_of, examples, write_images

import data_pipelines
from data_pipelines import annotations
from data_pipelines.report import Report
from data_pipelines.v_coco import vsrl
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError


def test_vsrl_rows_become_relations_role_by_role():
    vocabulary = vocabularies.load("v_coco")
    first, second = vsrl.read(VSRL, coco_instances(), vocabulary)
    assert first["annotations"][2] == {"bbox": [2, 2.5, 12, 22.5], "category_id": 49}
    triples = [tuple(relation.values()) for relation in first["hoi_annotation"]]
    assert triples == [(0, 2, 2), (0, 3, 4)]  # cut_instr is 2, cut_obj 4
    # The person of image 9 cuts, but nothing is annotated: known, counted, not trained.
    assert [r["object_id"] for r in second["hoi_annotation"]] == [-1, -1]
    report = Report()
    assert len(annotations.clean(first, vocabulary, report).boxes) == 4
    assert not len(annotations.clean(second, vocabulary, report).relations)
    assert report.counts == {"crowd_region": 1, "relation_without_object": 2}


def test_a_bad_box_among_cocos_is_left_to_the_cleaning():
    instances = coco_instances()
    instances["annotations"][2]["bbox"] = [1, 2, 3]
    first, _ = vsrl.read(VSRL, instances, vocabularies.load("v_coco"))
    report = Report()
    cleaned = annotations.clean(first, vocabularies.load("v_coco"), report)
    np.testing.assert_array_equal(cleaned.relations, [[0, 2, 3]])  # verb 3 is cut_obj, id 4
    assert report.counts["box_malformed"] == report.counts["relation_lost_box"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_name": "slice"}, "'slice' has the unknown role 'instr'"),
        ({"label": [1, 0]}, "'cut' has lists of different lengths"),
        ({"ann_id": None}, "'cut' lacks a list"),
    ],
)
def test_a_file_that_is_not_v_cocos_is_named(change, message):
    with pytest.raises(UserError, match=message):
        vsrl.read([VSRL[0] | change], coco_instances(), vocabularies.load("v_coco"))


def test_v_coco_builds_from_its_own_files_with_images_of_2017(tmp_path):
    write_images(tmp_path / "train2017", ["000000000007.jpg", "000000000009.jpg"])
    (tmp_path / "vcoco_train.json").write_text(json.dumps(VSRL))
    (tmp_path / "vcoco_train.ids").write_text("7\n8\n9\n")
    (tmp_path / "instances.json").write_text(json.dumps(coco_instances()))
    config = config_of(
        tmp_path,
        "v_coco",
        train_annotations=str(tmp_path / "vcoco_train.json"),
        train_images=str(tmp_path / "train2017"),
        eval_split="train",
    )
    with pytest.raises(UserError, match=r"data\.train_instances"):
        data_pipelines.load_dataset(config.data)
    with config.data.unlocked():
        config.data.train_instances = str(tmp_path / "instances.json")
    dataset = data_pipelines.load_dataset(config.data)
    names = [example["file_name"].decode() for example in examples(dataset.builder, "train")]
    assert names == ["COCO_train2014_000000000007.jpg", "COCO_train2014_000000000009.jpg"]
    assert dataset.builder.metadata["reports"]["train"]["findings"]["image_missing"]


def test_vsrl_of_images_that_the_instances_lack_is_an_error():
    with pytest.raises(UserError, match="the first 12, are not in the instances"):
        vsrl.read(VSRL, coco_instances(), vocabularies.load("v_coco"), [7, 12])
