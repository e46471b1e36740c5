"""Anyone's own data: class lists, and files that the builder stops at before any work."""

import codecs
import copy
import json

import pytest
from data_trees import CLASSES, own_config, write_images

import data_pipelines
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.io import read_json
from ggnet_jax.vocabularies import class_list


def entry(name, verb=1):
    boxes = [
        {"bbox": [1, 2, 20, 40], "category_id": 1},
        {"bbox": [15, 20, 50, 45], "category_id": 2},
    ]
    relation = {"subject_id": 0, "object_id": 1, "category_id": verb}
    return {"file_name": name, "annotations": boxes, "hoi_annotation": [relation]}


def load(folder, entries, classes=CLASSES, **data):
    write_images(folder / "images", ["a.png", "b.png"])
    config = own_config(folder, entries, entries, classes)
    config.data.update(data)
    return data_pipelines.load_dataset(config.data)


def error_of(folder, entries, classes=CLASSES, **data):
    with pytest.raises(UserError) as caught:
        load(folder, entries, classes, **data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ENTRIES = [entry("a.png"), entry("b.png", 2)]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "is not a JSON object"),
        (
            {"objects": CLASSES["objects"], "verb": {}},
            "no 'verbs' among 'objects', 'verb'; is 'verb'",
        ),
        ({"verbs": {}, "actions": {}}, "no 'objects'"),
        ({**CLASSES, "objects": {"1": "Person", "2": "dog"}}, "rename 'Person' to 'person'"),
        ({**CLASSES, "objects": {"1": "human", "2": "dog"}}, "rename 'human' to 'person'"),
        ({**CLASSES, "objects": {"1": "persn", "2": "dog"}}, "rename 'persn' to 'person'"),
        ({**CLASSES, "objects": {"person": 1, "dog": 2}}, "give {id: name}, not {name: id}"),
        ({**CLASSES, "objects": [{"id": 1, "name": "person"}]}, "which is not a name"),
        ({**CLASSES, "verbs": {"1": ""}}, "is '', which is not a name"),
        ({**CLASSES, "verbs": "walk"}, "the verbs are 'walk'"),
        ({**CLASSES, "verbs": {"1": "walk", "01": "feed"}}, "the verb id 1 twice"),
        ({**CLASSES, "verbs": {"1": "walk", "2": "walk"}}, "the verb name 'walk' twice"),
        ({**CLASSES, "verbs": {"9" * 30: "walk"}}, "too large for an id"),
        ({**CLASSES, "verbs": {}}, "has no verb"),
    ],
)
def test_a_class_list_of_another_form_is_named(tmp_path, classes, message):
    found = error_of(tmp_path, ENTRIES, classes)
    assert message in found and str(tmp_path / "classes.json") in found
    assert not list(tmp_path.glob("prepared/*/*/*/*.tfrecord*"))


def test_an_id_that_a_class_list_has_twice_is_an_error(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text('{"objects": {"1": "person", "2": "dog", "2": "cat"}, "verbs": {"1": "walk"}}')
    with pytest.raises(UserError, match="the key '2' twice"):
        class_list.read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_class_lists_in_every_encoding_of_unicode_are_read(tmp_path, encoding):
    path = tmp_path / "classes.json"
    path.write_bytes(json.dumps({"objects": {"1": "é人"}, "verbs": {}}).encode(encoding))
    assert class_list.read(path)["objects"] == {"1": "é人"}
    path.write_bytes(codecs.BOM_UTF8 + b"{'")
    with pytest.raises(UserError, match="is not JSON"):
        class_list.read(path)
    path.write_bytes('{"objects": "人"}'.encode("gb18030"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        class_list.read(path)


def test_entries_of_an_image_are_merged_for_training_and_evaluation(tmp_path):
    pairs = [entry("a.png"), entry("a.png", 2), *[entry("a.png")] * 9]
    dataset = load(tmp_path, pairs)
    assert (dataset.num_train, dataset.num_eval) == (1, 1)
    (truth,) = dataset.ground_truth("test")
    assert len(truth["annotations"]) == 2
    assert [pair["category_id"] for pair in truth["hoi_annotation"]] == [1, 2]
    assert dataset.statistics("train").pairs == {(1, 0): 1, (1, 1): 1}
    assert dataset.vocabulary.rare == (True, True)
    findings = dataset.builder.metadata["reports"]["train"]["findings"]
    assert {kind: found["count"] for kind, found in findings.items()} == {"image_twice": 10}


def test_nothing_is_built_of_files_that_are_something_else(tmp_path):
    unit = copy.deepcopy(ENTRIES)
    for one in unit:
        for box in one["annotations"]:
            box["bbox"] = [value / 64 for value in box["bbox"]]
    swapped = copy.deepcopy(ENTRIES)
    for one in swapped:
        one["hoi_annotation"][0] |= {"subject_id": 1, "object_id": 0}
    bare = [{**one, "hoi_annotation": []} for one in ENTRIES]
    for entries, message in (
        (unit, "all within 0..1"),
        (swapped, "are exchanged"),
        (bare, "0 relations with an object in 2 images"),
        ([{"action_name": "cut"}], "which config.data.name=v_coco reads"),
        ([{"filename": "a.png", "annotations": [], "hoi_annotation": []}], "rename 'filename'"),
    ):
        assert message in error_of(tmp_path, entries, accept_losses=True)
        assert not list(tmp_path.glob("prepared/hoi_json/*/1.0.0"))


def test_most_lost_is_a_question_that_a_field_answers(tmp_path):
    entries = copy.deepcopy(ENTRIES)
    nowhere = {"subject_id": 0, "object_id": 7, "category_id": 1}
    entries[1]["hoi_annotation"] = [nowhere] * 2
    assert "--config.data.accept_losses=True" in error_of(tmp_path, entries)
    dataset = load(tmp_path, entries, accept_losses=True)
    assert dataset.statistics("train").pairs == {(1, 0): 1}


def test_a_configuration_from_before_the_field_works(tmp_path):
    write_images(tmp_path / "images", ["a.png", "b.png"])
    config = own_config(tmp_path, ENTRIES, ENTRIES)
    with config.data.unlocked():
        del config.data.accept_losses
    assert data_pipelines.load_dataset(config.data).num_train == 2


def test_qpics_v_coco_is_converted_and_said(tmp_path, shared_dir, capsys):
    folder = shared_dir / "cases" / "qpic_vcoco"
    images = str(shared_dir / "data" / "vcoco_mini" / "images")
    config = own_config(tmp_path, [], [])
    config.data.update(
        name="v_coco",
        vocabulary="",
        train_annotations=str(folder / "trainval_vcoco.json"),
        eval_annotations=str(folder / "test_vcoco.json"),
        train_images=images,
        eval_images=images,
    )
    dataset = data_pipelines.load_dataset(config.data)
    assert "verb ids are in VSRL's order" in capsys.readouterr().err
    right = read_json(shared_dir / "data" / "vcoco_mini" / "mini_vcoco.json")

    def pairs(entries):
        found = set()
        for one in entries:
            for pair in one["hoi_annotation"]:
                if pair["object_id"] >= 0:
                    ends = (one["annotations"][pair[key]] for key in ("subject_id", "object_id"))
                    corners = (tuple(round(value) for value in end["bbox"]) for end in ends)
                    found.add((one["file_name"], *corners, pair["category_id"]))
        return found

    assert pairs(dataset.ground_truth("test")) == pairs(right)
    assert dataset.vocabulary == vocabularies.load("v_coco")
    report = dataset.builder.metadata["reports"]["test"]
    assert len(report["notes"]) == 1 and "pair_no_class" not in report["findings"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("xywh", "as x, y, width, height"),
        ("unit", "are all within 0..1"),
        ("indices_from_1", "count the entry's boxes from 1, not 0"),
        ("swapped", "are exchanged"),
        ("names_in_category", "are names such as 'person'"),
        ("plural", "rename 'hoi_annotations' to 'hoi_annotation'"),
        ("one_entry_a_pair", ""),
    ],
)
def test_cases_of_peoples_own_data(tmp_path, shared_dir, case, message):
    folder = shared_dir / "cases" / "own_data" / case
    images = str(shared_dir / "data" / "vcoco_mini" / "images")
    config = own_config(tmp_path, [], [])
    config.data.update(
        vocabulary=str(folder / "classes.json"),
        train_annotations=str(folder / "train.json"),
        eval_annotations=str(folder / "test.json"),
        train_images=images,
        eval_images=images,
    )
    if not message:
        truth = data_pipelines.load_dataset(config.data).ground_truth("test")
        assert sum(len(one["hoi_annotation"]) for one in truth) == 23
        return
    with pytest.raises(UserError, match=f"train.json: .*{message}"):
        data_pipelines.load_dataset(config.data)
