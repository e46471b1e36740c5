"""Every kind of malformed annotation, planted in an entry whose clean version is known."""

import gzip
import json

import numpy as np
import pytest

from data_pipelines import annotations
from data_pipelines.report import Report
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

VOCABULARY = Vocabulary(
    name="toy",
    objects=("person", "bicycle", "kite"),
    object_ids=(1, 2, 38),
    verbs=("ride", "fly"),
    verb_ids=(7, 9),
    classes=((0, 1), (1, 2)),
)


def entry(boxes=None, relations=None, **extra):
    person, bicycle = [10, 20, 50, 90], [30, 40, 80, 95]
    default = [{"bbox": person, "category_id": 1}, {"bbox": bicycle, "category_id": 2}]
    return {
        "file_name": "a.jpg",
        "width": 100,
        "height": 100,
        "annotations": default + (boxes or []),
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 1, "category_id": 7},
            *(relations or []),
        ],
        **extra,
    }


def cleaned(given, **options):
    report = Report()
    return annotations.clean(given, VOCABULARY, report, **options), report


def test_a_clean_entry_passes_untouched():
    result, report = cleaned(entry())
    np.testing.assert_array_equal(result.boxes, [[10, 20, 50, 90], [30, 40, 80, 95]])
    np.testing.assert_array_equal(result.classes, [0, 1])
    np.testing.assert_array_equal(result.relations, [[0, 1, 0]])
    assert result.boxes.dtype == np.float32
    assert not report.counts


def test_one_based_boxes_lose_one_on_all_four_numbers():
    result, _ = cleaned(entry(), one_based=True)
    np.testing.assert_array_equal(result.boxes, [[9, 19, 49, 89], [29, 39, 79, 94]])


def test_an_entry_without_anything_has_empty_arrays_of_the_right_shape():
    result, report = cleaned({"file_name": "b.jpg", "annotations": [], "hoi_annotation": []})
    assert result.boxes.shape == (0, 4)
    assert result.classes.shape == (0,)
    assert result.relations.shape == (0, 3)
    assert report.entries == 1


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ({"bbox": [1, 2, 3], "category_id": 2}, "box_malformed"),
        ({"bbox": [1, 2, float("nan"), 4], "category_id": 2}, "box_malformed"),
        ({"bbox": None, "category_id": 2}, "box_malformed"),
        ("no box", "box_malformed"),
        ({"bbox": [10, 10, 10, 20], "category_id": 2}, "box_without_area"),
        ({"bbox": [30, 10, 10, 20], "category_id": 2}, "box_without_area"),
        ({"bbox": [120, 10, 130, 20], "category_id": 2}, "box_outside"),
        ({"bbox": [10, 10, 20, 20], "category_id": 3}, "unknown_category"),
        ({"bbox": [10, 10, 20, 20], "category_id": "bike"}, "unknown_category"),
        ({"bbox": [10, 10, 20, 20]}, "unknown_category"),
        ({"bbox": [10, 10, 20, 20], "category_id": 2, "iscrowd": 1}, "crowd_region"),
    ],
)
def test_a_box_of_no_use_goes_with_its_relations_and_indices_move_up(box, kind):
    given = entry(boxes=[box, {"bbox": [60, 0, 99, 30], "category_id": 38}])
    given["hoi_annotation"] += [
        {"subject_id": 0, "object_id": 2, "category_id": 7},
        {"subject_id": 0, "object_id": 3, "category_id": 9},
    ]
    result, report = cleaned(given)
    np.testing.assert_array_equal(result.classes, [0, 1, 2])
    np.testing.assert_array_equal(result.relations, [[0, 1, 0], [0, 2, 1]])
    assert report.counts == {kind: 1, "relation_lost_box": 1}
    assert "a.jpg: box 2" in report.examples[kind][0]


def test_a_box_over_the_edge_is_clipped():
    result, report = cleaned(entry(boxes=[{"bbox": [-5, 60, 20, 104.5], "category_id": 38}]))
    np.testing.assert_array_equal(result.boxes[2], [0, 60, 20, 100])
    assert report.counts == {"box_clipped": 1}


def test_the_images_own_size_wins_over_the_annotations():
    result, report = cleaned(entry(), size=(70, 100))
    np.testing.assert_array_equal(result.boxes[1], [30, 40, 70, 95])
    assert report.counts == {"box_clipped": 1}


@pytest.mark.parametrize(
    ("relation", "kind"),
    [
        ({"subject_id": 0, "object_id": 9, "category_id": 7}, "relation_nowhere"),
        ({"subject_id": -2, "object_id": 1, "category_id": 7}, "relation_nowhere"),
        ({"subject_id": 0, "object_id": -1, "category_id": 9}, "relation_without_object"),
        ({"subject_id": 0, "category_id": 9}, "relation_without_object"),
        ({"subject_id": 0, "object_id": 1, "category_id": 8}, "unknown_verb"),
        ({"subject_id": 1, "object_id": 0, "category_id": 7}, "subject_no_person"),
        ({"subject_id": 0, "object_id": 1, "category_id": 7}, "relation_twice"),
        ({"subject_id": "x", "object_id": 1, "category_id": 7}, "relation_malformed"),
        ({"subject_id": 0.5, "object_id": 1, "category_id": 7}, "relation_malformed"),
        (None, "relation_malformed"),
    ],
)
def test_a_relation_of_no_use_is_left_out_and_counted(relation, kind):
    result, report = cleaned(entry(relations=[relation]))
    np.testing.assert_array_equal(result.relations, [[0, 1, 0]])
    assert report.counts == {kind: 1}


def test_a_pair_that_is_no_class_is_kept_and_counted():
    result, report = cleaned(entry(relations=[{"subject_id": 0, "object_id": 1, "category_id": 9}]))
    np.testing.assert_array_equal(result.relations, [[0, 1, 0], [0, 1, 1]])
    assert report.counts == {"pair_no_class": 1}


def test_string_ids_with_newlines_are_read():
    given = entry(
        boxes=[{"bbox": [60, 0, 99, 30], "category_id": "38\n"}],
        relations=[{"subject_id": "0", "object_id": "2", "category_id": " 9\n"}],
    )
    result, report = cleaned(given)
    np.testing.assert_array_equal(result.relations, [[0, 1, 0], [0, 2, 1]])
    assert report.counts == {"string_id": 4}


@pytest.mark.parametrize(
    "bad", [None, [], {}, {"file_name": " "}, {"file_name": "a", "annotations": 3}]
)
def test_a_malformed_entry_is_told_apart(bad):
    assert annotations.image_name(bad) is None
    with pytest.raises(ValueError, match="not an annotation entry"):
        cleaned(bad)


def test_evaluation_keeps_the_raw_boxes_and_can_index_every_relation():
    given = entry(
        boxes=[{"bbox": [-5, 60, 20, 204.5], "category_id": "38\n"}, "no box"],
        relations=[
            {"subject_id": "0", "object_id": 2, "category_id": "9\n", "hoi_category_id": 4},
            {"subject_id": 0, "object_id": 77, "category_id": 9},
        ],
        file_name="a.jpg\n",
    )
    result = annotations.evaluation_entry(given)
    assert result["file_name"] == "a.jpg"
    assert result["annotations"][2] == {"bbox": [-5, 60, 20, 204.5], "category_id": 38}
    assert result["annotations"][3] == {"bbox": [0, 0, 0, 0], "category_id": -1}
    assert result["hoi_annotation"][1:] == [
        {"subject_id": 0, "object_id": 2, "category_id": 9, "hoi_category_id": 4}
    ]
    assert given["annotations"][2]["category_id"] == "38\n"  # the caller's entry is left alone


def test_a_report_survives_json_and_merges():
    first, second = Report(), Report()
    for index in range(7):
        first.add("box_clipped", f"{index}.jpg")
    for kind in ("box_clipped", "box_clipped", "image_gray"):
        second.add(kind, "x.jpg")
    copy = Report.from_dict(json.loads(json.dumps(first.to_dict())))
    copy.merge(second)
    assert copy.counts == {"box_clipped": 9, "image_gray": 1}
    assert copy.examples["box_clipped"] == [f"{index}.jpg" for index in range(5)]
    table = copy.table("train")
    assert "9  box across the image's border: clipped to the image" in table
    assert "1  gray image" in table
    with pytest.raises(ValueError, match="KINDS"):
        first.add("no such kind", "z.jpg")


def test_a_report_that_version_0_1_stored_is_read():
    finding = {"count": 3, "treatment": "grey repeated as R, G and B", "examples": ["a.jpg"]}
    report = Report.from_dict({"entries": 7, "findings": {"picture_grey": finding}})
    assert report.entries == 7 and report.counts == {"image_gray": 3}
    assert report.examples == {"image_gray": ["a.jpg"]}


def test_files_are_read_plain_and_compressed_and_named_when_they_are_no_use(tmp_path):
    plain, compressed = tmp_path / "a.json", tmp_path / "a.json.gz"
    plain.write_text(json.dumps([entry()]))
    compressed.write_bytes(gzip.compress(plain.read_bytes()))
    assert annotations.read_entries(plain) == annotations.read_entries(compressed) == [entry()]
    with pytest.raises(UserError, match=r"no\.json"):
        annotations.read_entries(tmp_path / "no.json")
    for content, message in (("[", "not JSON"), ("{}", "is not a JSON list")):
        plain.write_text(content)
        with pytest.raises(UserError, match=message):
            annotations.read_entries(plain)
