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
        ({"ann_id": [70, "71", 90]}, r"ann_id\[1\] is '71', not a whole number"),
        ({"image_id": [7, 7, [9]]}, r"image_id\[2\] is \[9\]"),
        ({"label": [1, 0, 2]}, r"label\[2\] is 2, not 0 or 1"),
        ({"role_object_id": [70, 71, 90, 72, 0, 0, 73, 0, None]}, r"role_object_id\[8\] is None"),
        ({"role_name": []}, "lists of different lengths"),
        ({"role_name": "agent"}, "lacks a list: 'role_name' is 'agent'"),
        ({"role_name": {"agent": 1}}, "lacks a list"),
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


@pytest.mark.parametrize(
    ("key", "number", "change", "message"),
    [
        ("images", 0, {"id": "7"}, r"images\[0\] needs an id and a file_name"),
        ("images", 1, {"file_name": None}, r"images\[1\] needs"),
        ("images", 1, {"id": 7}, "two images with the id 7"),
        ("annotations", 2, {"id": None}, r"annotations\[2\] needs an id and the image_id"),
        ("annotations", 2, {"image_id": 12}, r"annotations\[2\] needs"),
        ("annotations", 2, {"image_id": [7]}, r"annotations\[2\] needs"),
        ("annotations", 2, {"id": 70}, "two annotations with the id 70"),
    ],
)
def test_damaged_instances_are_named(key, number, change, message):
    instances = coco_instances()
    instances[key][number] |= change
    with pytest.raises(UserError, match=message):
        vsrl.read(VSRL, instances, vocabularies.load("v_coco"))


def test_instances_that_are_given_twice_count_once():
    once, twice = coco_instances(), coco_instances()
    twice = {key: values + twice[key] for key, values in once.items()}
    vocabulary = vocabularies.load("v_coco")
    assert vsrl.read(VSRL, twice, vocabulary) == vsrl.read(VSRL, once, vocabulary)


def test_an_object_of_another_image_points_nowhere():
    """Its place among the boxes of its own image says nothing here."""
    actions = [VSRL[0] | {"role_object_id": [70, 71, 90, 90, 0, 0, 73, 0, 0]}]
    first, _ = vsrl.read(actions, coco_instances(), vocabularies.load("v_coco"))
    report = Report()
    annotations.clean(first, vocabularies.load("v_coco"), report)
    assert report.counts["relation_nowhere"] == 1


def test_an_action_that_is_there_twice_is_an_error():
    with pytest.raises(UserError, match="'cut' is there twice"):
        vsrl.read([VSRL[0], VSRL[0]], coco_instances(), vocabularies.load("v_coco"))
    with pytest.raises(UserError, match="action 1 is 3; it lacks 'action_name'"):
        vsrl.read([VSRL[0], 3], coco_instances(), vocabularies.load("v_coco"))  # type: ignore


def test_images_beyond_the_list_of_ids_are_left_out_and_said():
    notes = []
    (entry,) = vsrl.read(VSRL, coco_instances(), vocabularies.load("v_coco"), [9], notes)
    assert entry["img_id"] == 9
    assert len(notes) == 1 and "1 images of the actions, 7 for one" in notes[0]


def test_a_list_of_ids_in_any_unicode_is_read_and_anything_else_is_named(tmp_path):
    ids = tmp_path / "vcoco_train.ids"
    ids.write_bytes("7\r\n9\r\n".encode("utf-16"))
    assert vsrl.read_ids(str(tmp_path / "vcoco_train.json.gz")) == [7, 9]
    for text, message in (
        ("7\nnine\n", "'nine' is none"),
        ("7\n" + "9" * 5000, "999' is none"),
        ("", "it is empty"),
    ):
        ids.write_text(text)
        with pytest.raises(UserError, match=message):
            vsrl.read_ids(str(tmp_path / "vcoco_train.json"))
