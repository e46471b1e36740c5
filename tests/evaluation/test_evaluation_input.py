"""What the evaluators accept, and how they name what they don't."""

import copy
import gzip
import json

import pytest
from evaluation_scenes import SMALL, found, truth

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico
from ggnet_jax.evaluation.reading import iterate, load, load_instances

MAN, CUP = (0, 0, 40, 40, 1), (50, 0, 70, 20, 47)
TRUTH = [truth("a.jpg", [MAN, CUP], [(0, 1, 1)]), truth("b.jpg", [MAN, CUP], [(0, 1, 1)])]
GOOD = [
    found("a.jpg", [MAN, CUP], [(0, 1, 1, 0.9)]),
    found("b.jpg", [CUP, MAN, CUP], [(1, 0, 1, 0.8), (1, 2, 1, 0.7)]),
]


def evaluate(predictions, ground_truth=TRUTH, **kwargs):
    return hico.evaluate(predictions, ground_truth, SMALL, **kwargs)


def changed(where, value, entries=GOOD):
    """The second image with one value replaced (or removed)."""
    entries = copy.deepcopy(entries)
    item = entries[1]
    for key in where[:-1]:
        item = item[key]
    if value is None:
        del item[where[-1]]
    else:
        item[where[-1]] = value
    return entries


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (["predictions", 2, "category_id"], 2, r"predictions\[2\] has an unknown category_id: 2"),
        (["predictions", 2, "category_id"], "a", r"predictions\[2\] needs a 'category_id'.*'a'"),
        (["predictions", 2, "category_id"], None, r"predictions\[2\] needs a 'category_id'.*None"),
        (["predictions", 2, "category_id"], 1.5, r"predictions\[2\] needs a 'category_id'.*1.5"),
        (["predictions", 1, "bbox"], [0, 0, -1, 9], r"predictions\[1\] has a negative size.*-1.0"),
        (["predictions", 1, "bbox"], [0, 0, 1], r"predictions\[1\] needs a 'bbox' of four.*0, 1\]"),
        (["predictions", 1, "bbox"], [0, 0, 1, "2"], r"predictions\[1\] needs a 'bbox' of four"),
        (["predictions", 1, "bbox"], None, r"predictions\[1\] needs a 'bbox' of four.*None"),
        (["predictions", 1, "bbox", 2], float("nan"), r"predictions\[1\] has a coordinate.*nan"),
        (["predictions", 1, "bbox", 2], float("inf"), r"predictions\[1\] has a coordinate.*inf"),
        (["predictions", 1], 7, r"predictions\[1\] is not a JSON object but 7"),
        (["predictions"], None, r"no list 'predictions'"),
        (["hoi_prediction"], "none", r"no list 'hoi_prediction'"),
        (["hoi_prediction", 1, "category_id"], 3, r"hoi_prediction\[1\] has an unknown.*: 3"),
        (["hoi_prediction", 1, "subject_id"], 3, r"hoi_prediction\[1\] has its subject_id.*: 3"),
        (["hoi_prediction", 1, "object_id"], -1, r"hoi_prediction\[1\] has its object_id.*: -1"),
        (["hoi_prediction", 1, "object_id"], None, r"hoi_prediction\[1\] needs a 'object_id'"),
        (["hoi_prediction", 1, "score"], float("nan"), r"hoi_prediction\[1\] has a score.*nan"),
        (["hoi_prediction", 1, "score"], "0.5", r"hoi_prediction\[1\] needs a 'score'.*'0.5'"),
        (["hoi_prediction", 1, "score"], True, r"hoi_prediction\[1\] needs a 'score'.*True"),
        (["hoi_prediction", 1, "category_id"], True, r"\[1\] needs a 'category_id'.*True"),
        (["hoi_prediction", 1, "object_id"], False, r"\[1\] needs a 'object_id'.*False"),
        (["predictions", 1, "bbox", 0], False, r"predictions\[1\] needs a 'bbox' of four.*False"),
        (["predictions", 1, "bbox", 2], 1e300, r"predictions\[1\] has a coordinate too large"),
        (["predictions"], {}, r"no list 'predictions' \(found \{\}\)"),
        (["hoi_prediction", 1, "score"], None, r"hoi_prediction\[1\] needs a 'score'.*None"),
    ],
)
def test_a_bad_prediction_is_named_with_its_image_and_place(where, value, message):
    with pytest.raises(UserError, match=rf"image 'b\.jpg'.*{message}") as caught:
        evaluate(changed(where, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("c.jpg", r"'c\.jpg' \(entry 1\) is not in the ground truth; check"),
        ("test/b.png", r"'test/b\.png' .* is not in the ground truth, which has 'b\.jpg'; check"),
        ("C:\\x\\b.png", r"is not in the ground truth, which has 'b\.jpg'; check"),
        ("b", r"'b' \(entry 1\) is not in the ground truth, which has 'b\.jpg'; check"),
        ("a.jpg", r"'a\.jpg' occurs twice"),
        (None, r"entry 1 has no 'file_name'"),
        (5, r"entry 1 has no 'file_name' \(found 5\)"),
    ],
)
def test_a_bad_file_name_is_named(value, message):
    with pytest.raises(UserError, match=message):
        evaluate(changed(["file_name"], value))


def test_unknown_images_are_left_out_on_request_and_counted():
    result = evaluate(changed(["file_name"], "c.jpg"), unknown_images="ignore")
    assert result.counts["unknown_images"] == 1
    assert result.counts["predictions_in_images_without_ground_truth"] == 2
    assert result.counts["images_without_an_entry"] == 1
    with pytest.raises(UserError, match="'skip'"):
        evaluate(GOOD, unknown_images="skip")


def test_white_space_around_a_file_name_means_nothing():
    """As for training, whose builder takes it off."""
    expected = evaluate(GOOD).to_dict()
    assert evaluate(changed(["file_name"], " b.jpg\n")).to_dict() == expected
    assert evaluate(GOOD, changed(["file_name"], "b.jpg ", TRUTH)).to_dict() == expected


@pytest.mark.parametrize("bad", [["no entry"], {"a.jpg": []}, [None]])
def test_predictions_that_are_no_list_of_entries(bad):
    with pytest.raises(UserError, match=r"predictions.*(list|not a JSON object)"):
        evaluate(bad)


def test_ids_as_text_and_whole_floats_mean_the_same():
    """Real annotation has ids such as "1\\n"."""
    expected = evaluate(GOOD).to_dict()
    odd = changed(["hoi_prediction", 1, "category_id"], "1\n")
    odd[0]["predictions"][0]["category_id"] = 1.0
    assert evaluate(odd).to_dict() == expected
    ground_truth = copy.deepcopy(TRUTH)
    ground_truth[0]["annotations"][0]["category_id"] = "1\n"
    ground_truth[1]["hoi_annotation"][0]["category_id"] = "1"
    assert evaluate(GOOD, ground_truth).to_dict() == expected


def test_dirty_ground_truth_is_left_out_and_counted():
    ground_truth = copy.deepcopy(TRUTH)
    dirt = [
        {"subject_id": 0, "object_id": 2, "category_id": 1},
        {"subject_id": -1, "object_id": 1, "category_id": 1},
        {"subject_id": 0, "object_id": 1, "category_id": 99},
        {"subject_id": 0, "object_id": 1, "category_id": "hold"},
        {"subject_id": 0, "object_id": 1},
    ]
    ground_truth[0]["hoi_annotation"] = dirt + ground_truth[0]["hoi_annotation"]
    ground_truth.append({"file_name": "empty.jpg", "annotations": [], "hoi_annotation": None})
    result = evaluate(GOOD, ground_truth)
    assert result["default"].ap[0] == evaluate(GOOD)["default"].ap[0]
    assert result.counts["ground_truth_pairs"] == 2
    assert result.counts["ground_truth_pairs_pointing_nowhere"] == 2
    assert result.counts["ground_truth_pairs_of_unknown_category"] == 3
    with pytest.raises(UserError, match="ground truth has no image"):
        evaluate(GOOD, [])


def test_an_image_with_pairs_but_no_boxes():
    ground_truth = [*TRUTH, truth("c.jpg", [], [(0, 1, 1)])]
    result = evaluate(GOOD, ground_truth)
    assert result.counts["ground_truth_pairs_pointing_nowhere"] == 1
    nothing = [truth("c.jpg", [], [(0, 1, 1)])]
    with pytest.raises(UserError, match=r"ground truth: only 0 of 1 pairs have a person"):
        evaluate([], nothing)
    assert evaluate([], nothing, accept_losses=True).counts["ground_truth_pairs"] == 0


def test_input_is_a_file_or_its_content(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(GOOD))
    lines = "".join(json.dumps(entry) + "\n" for entry in GOOD)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for source in (GOOD, tmp_path / "p.json", str(tmp_path / "p.json"), tmp_path / "p.jsonl.gz"):
        assert load(source) == GOOD
        assert list(iterate(source, "predictions")) == GOOD
        assert evaluate(source).to_dict() == evaluate(GOOD).to_dict()
    seen = []
    list(iterate(tmp_path / "p.json", "predictions", lambda *args: seen.append(args)))
    assert seen[0][0] == "reading predictions"
    assert 0 < seen[0][1] <= 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.json", "{}", r"p\.json: predictions, .* must be a JSON list"),
        ("p.json", "[nul]", r"p\.json is not JSON"),
        ("p.jsonl", '{"file_name": "a.jpg"', r"p\.jsonl is not JSON"),
        ("p.json", '[{"file_name": "a.jpg"}]', r"image 'a\.jpg' has no list 'predictions'"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path / name)


def test_a_number_that_is_not_finite_is_named_with_its_image(tmp_path):
    """Python writes NaN; a true box that has it is counted, and nobody finds it."""
    path = tmp_path / "p.json"
    path.write_text(json.dumps(changed(["predictions", 1, "bbox", 2], float("nan"))))
    with pytest.raises(UserError, match=r"image 'b\.jpg', predictions\[1\] has a coordinate"):
        evaluate(path)
    for corner in (float("nan"), float("inf"), -float("inf"), 1e300, 49):
        path.write_text(json.dumps(changed(["annotations", 1, "bbox", 2], corner, TRUTH)))
        for ground_truth in (path, changed(["annotations", 1, "bbox", 2], corner, TRUTH)):
            for protocol in ("no_frills", "ppdm"):
                result = evaluate(GOOD, ground_truth, protocol=protocol)
                assert result.counts["ground_truth_pairs_with_a_box_without_area"] == 1
                scores = next(iter(result.settings.values()))
                assert (scores.ground_truth[0], scores.true_positives[0]) == (2, 1)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (["predictions", 1, "bbox", 2], 10**400, r"predictions\[1\] needs a 'bbox'.*000"),
        (["hoi_prediction", 1, "score"], 10**400, r"hoi_prediction\[1\] needs a 'score'.*000"),
        (["hoi_prediction", 1, "subject_id"], 10**400, r"hoi_prediction\[1\] needs a 'subject_id'"),
    ],
)
def test_a_number_too_large_for_any_column_is_named(where, value, message):
    with pytest.raises(UserError, match=rf"image 'b\.jpg', {message}") as caught:
        evaluate(changed(where, value))
    assert len(str(caught.value)) < 200


COCO = {
    "info": {"year": 2014},
    "images": [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 48, "license": 3}],
    "annotations": [
        {"id": 70, "image_id": 7, "category_id": 1, "bbox": [1.5, 2, 3, 4], "area": 9.5,
         "iscrowd": 0, "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 71, "image_id": 7, "category_id": 2, "bbox": [0, 0, 3, 4]},
    ],
    "categories": [],
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("indent", [None, 1])
def test_of_cocos_instances_everything_is_read_but_the_outlines(tmp_path, packed, indent):
    path = tmp_path / "instances.json"
    text = json.dumps(COCO, indent=indent).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    seen = []
    found = load_instances(path, lambda what, fraction: seen.append(fraction))
    first = {key: value for key, value in COCO["annotations"][0].items() if key != "segmentation"}
    assert found["annotations"] == [first, COCO["annotations"][1]]
    assert found["images"] == [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}]
    assert seen and all(0 < fraction <= 1 for fraction in seen)
    assert load_instances(COCO) is COCO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "holds no COCO instances: it is not a JSON object"),
        ('{"images": []}', "it has no list 'annotations'"),
        ('{"images": null, "annotations": []}', "it has no list 'images'"),
        ('{"images": [], "annotations": [3]}', r"annotations\[0\] is not a JSON object"),
        ('{"images": [{"id": 7}', "is not JSON"),
        ('{"images" []}', "is not JSON: Expecting ':'"),
    ],
)
def test_other_files_than_cocos_instances_are_named(tmp_path, text, message):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_instances(path)
    assert "wrong.json" in str(caught.value)


def renamed(entries, old, new):
    return [{new if key == old else key: value for key, value in e.items()} for e in entries]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hoi_annotation", "hoi_annotations", "no list 'hoi_annotation' .*; rename 'hoi_annot"),
        ("annotations", "box_annotations", "no list 'annotations' .*; rename 'box_annotations'"),
        ("annotations", "boxes", r"no list 'annotations' \(it has 'file_name', 'boxes', 'hoi_an"),
        ("file_name", "filename", "entry 0 has no 'file_name' .*; rename 'filename'"),
    ],
)
def test_a_missing_list_of_the_ground_truth_is_no_empty_one(old, new, message):
    with pytest.raises(UserError, match=f"ground truth: .*{message}"):
        evaluate(GOOD, renamed(TRUTH, old, new))
    predicted = {"hoi_annotation": "hoi_prediction", "annotations": "predictions"}.get(old, old)
    with pytest.raises(UserError, match=r"predictions: .*has no "):
        evaluate(renamed(GOOD, predicted, new + "_"))


def mapped(entries, box=lambda b: b, pair=lambda p: p):
    """Entries with their boxes and pairs changed."""
    boxes, pairs = "predictions", "hoi_prediction"
    if boxes not in entries[0]:
        boxes, pairs = "annotations", "hoi_annotation"
    return [
        entry
        | {boxes: [{**b, "bbox": box(b["bbox"])} for b in entry[boxes]]}
        | {pairs: [pair(dict(p)) for p in entry[pairs]]}
        for entry in entries
    ]


MISREAD = [
    (
        {"box": lambda b: [b[0] + 50, b[1] + 50, b[2] - b[0], b[3] - b[1]]},
        "as x, y, width, height all would fit",
        "as x, y, width, height all would fit",
    ),
    (
        {"box": lambda b: [v / 100 for v in b]},
        "all . boxes lie within 0..1",
        "all . boxes lie within 0..1",
    ),
    (
        {"pair": lambda p: p | {"subject_id": p["object_id"], "object_id": p["subject_id"]}},
        "only 0 of 2 pairs .*; 2 would if subject_id and object_id were exchanged",
        "only 0 of 3 pairs .*; 3 would if subject_id and object_id were exchanged",
    ),
    (
        {"pair": lambda p: {k: v + 1 if k.endswith("t_id") else v for k, v in p.items()}},
        "only 0 of 2 pairs .*; 2 would if subject_id and object_id counted from 0, not from 1",
        "only 0 of 3 pairs .*; 3 would if subject_id and object_id counted from 0, not from 1",
    ),
]


@pytest.mark.parametrize(("change", "of_truth", "of_predictions"), MISREAD)
def test_files_that_mean_something_else_are_refused_with_the_likeliest_cause(
    change, of_truth, of_predictions
):
    wrong = mapped(TRUTH, **change)
    with pytest.raises(UserError, match=f"ground truth: .*{of_truth}"):
        evaluate(GOOD, wrong)
    accepted = evaluate(GOOD, wrong, accept_losses=True)
    assert any("ground truth: " in note for note in accepted.notes)
    with pytest.raises(UserError, match=f"predictions: .*{of_predictions}"):
        evaluate(mapped(GOOD, **change))


@pytest.mark.parametrize("protocol", ["no_frills", "ppdm"])
def test_entries_of_one_image_are_merged(protocol):
    """As the converters write it that have one entry for a pair; a pair twice counts once."""
    dog = (50, 50, 90, 90, 18)
    whole = truth("a.jpg", [MAN, CUP, dog], [(0, 1, 1), (0, 2, 2)])
    parts = [
        truth("a.jpg", [MAN, CUP], [(0, 1, 1)]),
        TRUTH[1],
        truth("a.jpg", [dog, MAN], [(1, 0, 2)]),
        truth("a.jpg", [CUP, MAN], [(1, 0, 1)]),
    ]
    expected = evaluate(GOOD, [whole, TRUTH[1]], protocol=protocol)
    result = evaluate(GOOD, parts, protocol=protocol)
    assert result.to_dict()["settings"] == expected.to_dict()["settings"]
    assert result.counts["images"] == 2
    assert result.counts["ground_truth_pairs_written_twice"] == 1
    assert "4 entries of the ground truth are of 2 images" in result.notes[-1]
    with pytest.raises(UserError, match=r"predictions: image 'a\.jpg' occurs twice"):
        evaluate(GOOD + GOOD[:1], parts)


@pytest.mark.parametrize("predictions", [[], [found("a.jpg", [], [])], [found("b.jpg", [MAN], [])]])
def test_nothing_found_is_zero_and_said(predictions):
    result = evaluate(predictions)
    assert result["default"].means["full"] == 0.0
    assert result.notes == (
        "no interaction is predicted in any of the 1 images of the predictions"
        if predictions
        else "the predictions are an empty list: nothing is found in any image",
    )
    assert f"note: {result.notes[0]}" in result.table()


def test_predictions_for_another_split_are_refused_even_if_unknown_images_are_ignored():
    other = [{**entry, "file_name": f"other_{entry['file_name']}"} for entry in GOOD]
    with pytest.raises(UserError, match="none of the 2 predicted images is annotated"):
        evaluate(other, unknown_images="ignore")


def renumbered(entries, boxes=lambda number: number, verbs=lambda number: number):
    """Entries with other ids of the same things."""
    entries = mapped(entries, pair=lambda p: p | {"category_id": verbs(p["category_id"])})
    for entry in entries:
        for box in entry.get("annotations", entry.get("predictions")):
            box["category_id"] = boxes(box["category_id"])
    return entries


HICO_DET = vocabularies.load("hico_det")
CLASSES = [HICO_DET.classes[number] for number in range(0, 600, 12)]


def one_of_each():
    """A pair of every twelfth class of HICO-DET, as ground truth and as predictions."""
    real, predicted = [], []
    for number, (verb, obj) in enumerate(CLASSES):
        boxes = [MAN, (*CUP[:4], HICO_DET.object_ids[obj])]
        real.append(truth(f"{number}.jpg", boxes, [(0, 1, HICO_DET.verb_ids[verb])]))
        predicted.append(found(f"{number}.jpg", boxes, [(0, 1, HICO_DET.verb_ids[verb], 0.5)]))
    return predicted, real


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"verbs": lambda number: number - 1}, "verb ids are 0 to 116"),
        ({"verbs": lambda number: number + 1}, "verb ids are one too high"),
        ({"boxes": lambda n: HICO_DET.object_ids.index(n)}, "object ids are 0 to 79"),
        ({"boxes": lambda n: 1 + HICO_DET.object_ids.index(n)}, "object ids are 1 to 80"),
    ],
)
def test_ids_in_another_numbering_are_refused_with_its_name(change, cause):
    predicted, real = one_of_each()
    assert hico.evaluate(predicted, real).counts["predictions"] == len(CLASSES)
    with pytest.raises(UserError, match=f"predictions: .*{cause}"):
        hico.evaluate(renumbered(predicted, **change), real)
    with pytest.raises(UserError, match=f"ground truth: .*{cause}"):
        hico.evaluate(predicted, renumbered(real, **change))
