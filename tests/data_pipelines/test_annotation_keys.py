"""Files that are not PPDM's list of entries, keys that are misnamed, entries of one image."""

import json
from typing import Any

import numpy as np
import pytest

from data_pipelines import annotations
from data_pipelines.merging import unique_entries
from data_pipelines.report import Report
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError


def entry(name="a.jpg", **changes) -> Any:
    """An entry; `changes` rename keys, `bbox="box"` say."""
    fields = {
        "file_name": name,
        "annotations": [
            {"bbox": [10, 20, 50, 90], "category_id": 1},
            {"bbox": [30, 40, 80, 95], "category_id": 2},
        ],
        "hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 7}],
    }

    def rename(value):
        if isinstance(value, list):
            return [rename(one) for one in value]
        if isinstance(value, dict):
            return {changes.get(key, key): rename(one) for key, one in value.items()}
        return value

    return rename(fields)


def error_of(tmp_path, content):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        annotations.read_entries(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("file_name", "filename"),
        ("file_name", "File_Name"),
        ("file_name", "image"),
        ("annotations", "annotation"),
        ("annotations", "boxes"),
        ("annotations", "box_annotations"),
        ("hoi_annotation", "hoi_annotations"),
        ("hoi_annotation", "hoi"),
        ("hoi_annotation", "interactions"),
        ("bbox", "box"),
        ("bbox", "Bbox"),
        ("category_id", "category"),
        ("category_id", "label"),
        ("subject_id", "subject"),
        ("subject_id", "human_id"),
        ("object_id", "obj_id"),
    ],
)
def test_a_key_that_most_entries_lack_is_named_with_the_close_one(tmp_path, key, instead):
    message = error_of(tmp_path, [entry(f"{number}.jpg", **{key: instead}) for number in range(3)])
    assert f"have no {key!r}" in message
    assert f"rename {instead!r} to {key!r}" in message


def test_the_keys_that_are_there_are_named_where_none_is_close(tmp_path):
    bare = {"file_name": "a.jpg", "annotations": [], "xyz": 3}
    message = error_of(tmp_path, [bare, bare, entry()])
    assert "2 of 3 entries have no 'hoi_annotation'" in message
    assert "their keys are 'file_name', 'annotations', 'xyz'" in message and "rename" not in message


def test_one_odd_entry_is_a_finding(tmp_path):
    path = tmp_path / "train.json"
    odd = entry("b.jpg", hoi_annotation="hoi_annotations")
    path.write_text(json.dumps([entry(), odd, entry("c.jpg"), entry("d.jpg", bbox="box"), 7]))
    found = annotations.read_entries(path)
    report = Report()
    annotations.clean(found[1], vocabularies.load("hico_det"), report)
    assert report.counts == {"list_missing": 1}
    assert "is 'hoi_annotations' meant?" in report.examples["list_missing"][0]


COCO = {"images": [{"id": 1}], "annotations": [{"id": 1}], "categories": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (COCO, "holds a dict, COCO's instances"),
        ({"objects": {}, "verbs": {}}, "a class list or vocabulary, which is given as"),
        ({"data": [entry()]}, "is the list 'data' in it meant?"),
        (entry(), "a single entry"),
        ({}, "holds a dict"),
        ([], "is an empty list"),
        ([[entry()]], "1 of 1 entries are not JSON objects"),
        (["a.jpg", "b.jpg", entry()], "2 of 3 entries are not JSON objects but like 'a.jpg'"),
        ("text", "not a JSON list"),
        (None, "not a JSON list"),
        ([{}, {}], "2 of 2 entries have no 'file_name': they are empty"),
        ([{**entry(), "file_name": 12}], "'file_name' is not a name in 1 of 1 entries but like 12"),
        ([{**entry(), "annotations": {}}], "'annotations' is not a list in 1 of 1 entries"),
        ([{**entry(), "hoi_annotation": None}], "'hoi_annotation' is not a list"),
        ([{**entry(), "annotations": [[1, 2, 3, 4, 1]]}], "1 of 1 items of 'annotations' are not"),
        ([{**entry(), "hoi_annotation": [[0, 1, 7]]}], "subject_id, object_id, category_id"),
        (
            [entry(annotations="predictions", hoi_annotation="hoi_prediction")],
            "(predictions, not annotations)",
        ),
    ],
)
def test_another_kind_of_file_is_named(tmp_path, content, message):
    assert message in error_of(tmp_path, content)


def test_actions_without_an_object_need_no_object_id(tmp_path):
    path = tmp_path / "train.json"
    walks = {"subject_id": 0, "category_id": 3}
    content = [{**entry(), "hoi_annotation": [walks, walks, *entry()["hoi_annotation"]]}]
    path.write_text(json.dumps(content))
    assert annotations.read_entries(path) == content


def test_entries_of_an_image_are_merged_box_by_box():
    first, second, third = entry(), entry("a.jpg\n"), entry()
    second["annotations"].insert(0, {"bbox": [0, 0, 9, 9], "category_id": 3})
    second["hoi_annotation"] = [
        {"subject_id": 1, "object_id": 2, "category_id": 7},  # the same as the first entry's
        {"subject_id": "1", "object_id": 0, "category_id": 8},
        {"subject_id": 1, "object_id": -1, "category_id": 8},
        {"subject_id": 1, "object_id": 3, "category_id": 8},  # no such box in its entry
        "odd",
    ]
    third["annotations"][0] = {"bbox": [10.0, 20.0, 50.0, 90.0], "category_id": "1\n"}
    third["annotations"].append("odd")
    third["width"] = 640
    report = Report()
    other = entry("b.jpg")
    merged, same = unique_entries([first, second, other, third, 3], report)
    assert same == other
    assert merged["file_name"] == "a.jpg" and merged["width"] == 640
    assert merged["annotations"] == [
        *entry()["annotations"],
        {"bbox": [0, 0, 9, 9], "category_id": 3},
        "odd",
    ]
    assert merged["hoi_annotation"] == [
        {"subject_id": 0, "object_id": 1, "category_id": 7},
        {"subject_id": 0, "object_id": 2, "category_id": 8},
        {"subject_id": 0, "object_id": -1, "category_id": 8},
        {"subject_id": 0, "object_id": 10**6, "category_id": 8},
        "odd",
    ]
    assert report.counts == {"image_twice": 2, "string_id": 1, "entry_malformed": 1}
    assert first == entry()  # the caller's entries are left alone


def test_an_entry_for_every_pair_gives_the_images_one_for_all(tmp_path):
    generator = np.random.default_rng(0)
    boxes = [{"bbox": box, "category_id": 1} for box in generator.random((4, 4)).tolist()]
    pairs = [
        {"subject_id": a, "object_id": b, "category_id": v}
        for a, b, v in generator.integers(0, 4, (9, 3)).tolist()
    ]
    whole = [{"file_name": "a.jpg", "annotations": boxes, "hoi_annotation": pairs}]
    apart = []
    for pair in pairs:
        ends = [boxes[pair["subject_id"]], boxes[pair["object_id"]]]
        alone = {"subject_id": 0, "object_id": 1, "category_id": pair["category_id"]}
        apart.append({"file_name": "a.jpg", "annotations": ends, "hoi_annotation": [alone]})
    (merged,) = unique_entries(apart, Report())

    def triples(given):
        at = [tuple(box["bbox"]) for box in given["annotations"]]
        return {
            (at[r["subject_id"]], at[r["object_id"]], r["category_id"])
            for r in given["hoi_annotation"]
        }

    assert triples(merged) == triples(whole[0])
