"""V-COCO's scenarios, agent AP and PPDM's figure: hand-worked, by oracle, by the reference."""

import json
from pathlib import Path

import numpy as np
import plain_evaluation
import pytest
from evaluation_scenes import found, random_scenes, shuffled, truth
from vcoco_scenes import (
    CUT,
    CUT_WITH,
    HOLD,
    POINT,
    STAND,
    V_COCO,
    annotation,
    corners,
    name_of,
    random_split,
)

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import vcoco
from ggnet_jax.io import read_json

# COCO boxes (x, y, width, height, category), and the same as a prediction's corners.
MAN, WOMAN = (0, 0, 40, 80, 1), (60, 0, 40, 80, 1)
KNIFE, CAKE = (20, 40, 9, 9, 49), (30, 60, 30, 20, 61)
NOTHING = (0, 0, 0, 0, 1)


def predict(*entries):
    return [
        found(name_of(n), [corners(b) if b[2] else b for b in boxes], pairs)
        for n, boxes, pairs in entries
    ]


def ap(result, setting, name):
    scores = result[setting]
    return scores.ap[scores.labels.index(name)]


def test_both_scenarios_agree_where_the_object_is_annotated():
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"hold": {1: 1}}})})
    right = predict((1, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]))
    wrong = predict((1, [MAN, CAKE], [(0, 1, HOLD, 0.5)]))
    for setting in ("scenario_1", "scenario_2"):
        assert ap(vcoco.evaluate(right, vsrl, coco), setting, "hold_obj") == 1.0
        assert ap(vcoco.evaluate(wrong, vsrl, coco), setting, "hold_obj") == 0.0


def test_a_missing_role_wants_no_object_in_scenario_1_and_takes_any_in_scenario_2():
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"cut": {1: 1}}})})  # with a knife, nothing cut
    some = predict((1, [MAN, CAKE], [(0, 1, CUT, 0.5)]))
    result = vcoco.evaluate(some, vsrl, coco)
    assert ap(result, "scenario_1", "cut_obj") == 0.0
    assert ap(result, "scenario_2", "cut_obj") == 1.0
    none = [
        predict((1, [MAN, NOTHING], [(0, 1, CUT, 0.5)])),
        predict((1, [MAN, (float("nan"),) * 4 + (0,)], [(0, 1, CUT, 0.5)])),
        predict((1, [MAN], [(0, -1, CUT, 0.5)])),
    ]
    none[1][0]["predictions"][1]["category_id"] = 1
    for predictions in none:
        result = vcoco.evaluate(predictions, vsrl, coco)
        assert ap(result, "scenario_1", "cut_obj") == 1.0
        assert ap(result, "scenario_2", "cut_obj") == 1.0
        # With an annotated object, no object is wrong in both.
        predictions[0]["hoi_prediction"][0]["category_id"] = CUT_WITH
        result = vcoco.evaluate(predictions, vsrl, coco)
        assert ap(result, "scenario_1", "cut_instr") == ap(result, "scenario_2", "cut_instr") == 0.0


def test_an_object_whose_box_is_unusable_counts_as_missing():
    flat = (20, 40, 1, 9, 49)  # one pixel wide: dropped, as by the original
    vsrl, coco = annotation({1: ([MAN, flat], {0: {"hold": {1: 1}}})})
    result = vcoco.evaluate(predict((1, [MAN], [(0, -1, HOLD, 0.5)])), vsrl, coco)
    assert ap(result, "scenario_1", "hold_obj") == 1.0
    assert result.counts["annotated_objects_without_a_box"] == 1


@pytest.mark.parametrize(
    "bbox",
    [None, [1, 2, 3], [0, 0, float("nan"), 9], [-float("inf"), 0, float("inf"), 9], [0, 0, -5, 9]],
)
def test_a_malformed_instance_is_counted_as_by_the_builder(bbox):
    """What did not stop a training must not stop its first evaluation."""
    vsrl, coco = annotation({1: ([MAN, KNIFE, WOMAN], {0: {"hold": {1: 1}}, 2: {"hold": {1: 1}}})})
    predictions = predict((1, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]))
    coco["annotations"][2]["bbox"] = bbox
    del coco["annotations"][2]["area"]
    result = vcoco.evaluate(predictions, vsrl, coco)
    assert ap(result, "scenario_1", "hold_obj") == 1.0
    assert result.counts["instances_without_area"] == 1
    assert result.counts["annotated_people_without_a_box"] == 1
    coco["images"][0]["width"] = coco["annotations"][2]["category_id"] = None
    result = vcoco.evaluate(predictions, vsrl, coco)
    assert ap(result, "scenario_1", "hold_obj") == 1.0
    assert result.counts["images_without_a_size"] == 1
    assert result.counts["instances_of_unknown_category"] == 1


def test_people_who_do_it_without_an_object_are_to_be_found_too():
    vsrl, coco = annotation({1: ([MAN, KNIFE, WOMAN], {0: {"hold": {1: 1}}, 2: {"hold": {}}})})
    result = vcoco.evaluate(predict((1, [MAN, KNIFE], [(0, 1, HOLD, 0.5)])), vsrl, coco)
    assert result["scenario_1"].ground_truth[0] == 2
    assert ap(result, "scenario_1", "hold_obj") == 0.5
    assert result["scenario_1"].recall[0] == 0.5


def test_a_person_counts_once_and_the_same_prediction_twice_is_one():
    vsrl, coco = annotation(
        {1: ([MAN, KNIFE], {0: {"hold": {1: 1}}}), 2: ([MAN, KNIFE], {0: {"hold": {1: 1}}})}
    )
    near = (1, 0, 40, 80, 1)
    predictions = predict(
        (
            1,
            [MAN, KNIFE, near, MAN, KNIFE],
            [(0, 1, HOLD, 0.9), (2, 1, HOLD, 0.8), (3, 4, HOLD, 0.95), (0, 1, HOLD, 0.1)],
        ),
        (2, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]),
    )
    result = vcoco.evaluate(predictions, vsrl, coco)
    scores = result["scenario_1"]
    assert scores.predictions[0] == 3, "three of the five say the same"
    assert result.counts["repeated_predictions"] == 2
    assert scores.true_positives[0] == 2
    assert scores.ap[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_predictions_for_people_without_annotation_do_not_count():
    vsrl, coco = annotation({1: ([MAN, KNIFE, WOMAN], {0: {"hold": {1: 1}}})})
    predictions = predict((1, [MAN, KNIFE, WOMAN], [(2, 1, HOLD, 0.9), (0, 1, HOLD, 0.5)]))
    result = vcoco.evaluate(predictions, vsrl, coco)
    assert ap(result, "scenario_1", "hold_obj") == 1.0
    assert result["scenario_1"].predictions[0] == 1
    assert result.counts["people_without_annotation"] == 1
    # Nobody is overlapped: the first person decides, so the order of COCO's file does.
    far = (150, 150, 20, 20, 1)
    predictions = predict((1, [far, KNIFE], [(0, 1, HOLD, 0.9)]))
    assert vcoco.evaluate(predictions, vsrl, coco)["scenario_1"].predictions[0] == 1
    vsrl, coco = annotation({1: ([WOMAN, KNIFE, MAN], {2: {"hold": {1: 1}}})})
    assert vcoco.evaluate(predictions, vsrl, coco)["scenario_1"].predictions[0] == 0


def test_an_image_without_people_makes_every_prediction_wrong():
    vsrl, coco = annotation(
        {
            1: ([MAN, KNIFE], {0: {"hold": {1: 1}}}),
            2: ([(5, 5, 1, 1, 1), KNIFE], {0: {"hold": {1: 1}}}),
        }
    )
    predictions = predict(
        (1, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]), (2, [MAN, KNIFE], [(0, 1, HOLD, 0.9)])
    )
    result = vcoco.evaluate(predictions, vsrl, coco)
    assert ap(result, "scenario_1", "hold_obj") == 0.5
    assert result.counts["annotated_people_without_a_box"] == 1


def test_no_prediction_at_all_and_roles_with_nobody():
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"hold": {1: 1}}})})
    result = vcoco.evaluate([], vsrl, coco)
    assert set(result.means["scenario_1"].values()) == {0.0}
    result = vcoco.evaluate(predict((1, [MAN, KNIFE], [(0, 1, CUT, 0.5)])), vsrl, coco)
    assert np.isnan(ap(result, "scenario_1", "cut_obj"))
    assert ap(result, "scenario_1", "hold_obj") == 0.0


def test_images_are_told_by_their_names_not_by_what_is_found_in_them():
    """The first evaluation of a training, whose network finds nothing yet."""
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"hold": {1: 1}}})})
    pairs = [truth(name_of(1), [MAN, corners(KNIFE)], [(0, 1, HOLD)])]
    for predictions in ([], predict((1, [], [])), predict((1, [MAN], []))):
        for result in (
            vcoco.evaluate(predictions, vsrl, coco),
            vcoco.evaluate(predictions, pairs),
        ):
            said = "no interaction is predicted" if predictions else "an empty list"
            assert said in result.notes[0]
            for means in result.means.values():
                assert set(means.values()) == {0.0}


SCENE = {  # pairs of an object, with PPDM's and VSRL's ids of the same verb-roles
    "boxes": [(0, 0, 40, 80, 1), (20, 40, 29, 49, 49), (30, 60, 60, 80, 62), (10, 10, 30, 30, 73)],
    "pairs": [(0, 1, 25, 0), (0, 1, 2, 16), (0, 2, 10, 2), (0, 3, 18, 5), (0, 3, 8, 19)],
}


@pytest.mark.parametrize("truth_column", [2, 3])
@pytest.mark.parametrize("column", [2, 3])
def test_both_numberings_of_v_coco_are_recognized_and_said(column, truth_column):
    boxes, pairs = SCENE["boxes"], SCENE["pairs"]
    real = [truth(name_of(1), boxes, [(p[0], p[1], p[truth_column]) for p in pairs])]
    predictions = [found(name_of(1), boxes, [(p[0], p[1], p[column], 0.9) for p in pairs])]
    result = vcoco.evaluate(predictions, real)
    scores = result["ppdm"]
    np.testing.assert_array_equal(scores.ap[scores.ground_truth > 0], 1.0)
    assert scores.ground_truth.sum() == scores.true_positives.sum() == len(pairs)
    for note, what, order in zip(
        result.notes, ("predictions", "ground truth"), (column, truth_column), strict=True
    ):
        assert note.startswith(f"{what}: verb ids are")
        assert ("in VSRL's order" in note) == (order == 3)
    # Where neither fits, ground truth is refused; these count backwards.
    wrong = [truth(name_of(1), boxes, [(p[0], p[1], 29 - p[3]) for p in pairs])]
    with pytest.raises(UserError, match=r"ground truth: only . of 5 pairs are classes of 'v_coco'"):
        vcoco.evaluate(predictions, wrong)


def test_the_mean_without_point_leaves_only_point_out():
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"hold": {1: 1}, "point": {1: 1}}})})
    predictions = predict((1, [MAN, KNIFE], [(0, 1, POINT, 0.5)]))
    scores = vcoco.evaluate(predictions, vsrl, coco)["scenario_1"]
    assert scores.labels == ("hold_obj", "cut_instr", "cut_obj", "point_instr")
    assert scores.means == {"roles_3": 0.0, "roles_4": 0.25}


def test_agent_ap_takes_a_persons_best_score_whatever_the_object():
    vsrl, coco = annotation(
        {1: ([MAN, KNIFE, WOMAN, CAKE], {0: {"cut": {1: 1}, "stand": {}}, 2: {"stand": {}}})}
    )
    predictions = predict(
        (
            1,
            [MAN, KNIFE, WOMAN, CAKE],
            [(0, 1, CUT_WITH, 0.4), (0, 3, CUT, 0.9), (2, 3, CUT, 0.6), (2, -1, STAND, 0.3)],
        )
    )
    result = vcoco.evaluate(predictions, vsrl, coco)
    scores = result["agent"]
    assert scores.labels == ("hold", "stand", "cut", "point")
    assert scores.predictions.tolist() == [0, 1, 2, 0], "one for each person and action"
    assert ap(result, "agent", "cut") == 1.0, "the man's best comes before the woman's"
    assert ap(result, "agent", "stand") == 0.5
    assert scores.means == pytest.approx({"actions_3": 1 / 3, "actions_4": 1.5 / 4})


def test_ppdms_prediction_takes_all_pairs_that_it_matches():
    near, knife = (1, 0, 40, 80, 1), corners(KNIFE)
    real = [truth(name_of(1), [MAN, near, knife], [(0, 2, HOLD), (1, 2, HOLD)])]
    predictions = [found(name_of(1), [MAN, knife], [(0, 1, HOLD, 0.9), (0, 1, HOLD, 0.8)])]
    scores = vcoco.evaluate(predictions, real)["ppdm"]
    hold = V_COCO.verbs.index("hold_obj")
    assert scores.true_positives[hold] == 1
    assert scores.ground_truth[hold] == 2
    assert scores.ap[hold] == 0.5
    assert list(scores.means) == ["roles_24", "roles_25"]
    assert scores.means["roles_24"] == pytest.approx(0.5 / 24)


def test_images_are_known_by_their_coco_id():
    vsrl, coco = annotation({7: ([MAN, KNIFE], {0: {"hold": {1: 1}}})})
    predictions = predict((7, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]))
    predictions[0]["file_name"] = "000000000007.jpg"  # COCO 2017's name
    assert ap(vcoco.evaluate(predictions, vsrl, coco), "scenario_1", "hold_obj") == 1.0
    predictions[0]["file_name"] = name_of(8)
    with pytest.raises(UserError, match=r"000000000008.jpg.*not in the ground truth"):
        vcoco.evaluate(predictions, vsrl, coco)
    with pytest.raises(UserError, match="none of the 1 predicted images is annotated"):
        vcoco.evaluate(predictions, vsrl, coco, unknown_images="ignore")
    predictions += predict((7, [MAN, KNIFE], [(0, 1, HOLD, 0.5)]))
    result = vcoco.evaluate(predictions, vsrl, coco, unknown_images="ignore")
    assert result.counts["unknown_images"] == 1
    assert ap(result, "scenario_1", "hold_obj") == 1.0


def test_wrong_files_are_named():
    vsrl, coco = annotation({1: ([MAN, KNIFE], {0: {"hold": {1: 1}}})})
    with pytest.raises(UserError, match="--instances"):
        vcoco.evaluate([], vsrl)
    with pytest.raises(UserError, match="the ground truth is COCO's instances"):
        vcoco.evaluate([], coco, coco)
    with pytest.raises(UserError, match="first with id 1, are not in the instances"):
        vcoco.evaluate([], vsrl, coco | {"images": []})
    with pytest.raises(UserError, match="not COCO's"):
        vcoco.evaluate([], vsrl, {"pictures": []})
    with pytest.raises(UserError, match="not a VSRL list"):
        vcoco.evaluate([], [{"action_name": "hold"}], coco)
    vsrl[0]["label"] = []
    with pytest.raises(UserError, match="'hold' has 1 ann_id, 0 label"):
        vcoco.evaluate([], vsrl, coco)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_plain_rules_in_any_order(seed):
    predictions, vsrl, coco = random_split(seed)
    names = dict(zip(V_COCO.verb_ids, V_COCO.verbs, strict=True))
    for setting, any_object in (("scenario_1", False), ("scenario_2", True)):
        expected = plain_evaluation.vcoco(predictions, vsrl, coco, names, any_object=any_object)
        for order in (predictions, shuffled(predictions, seed)):
            scores = vcoco.evaluate(order, vsrl, coco)[setting]
            assert list(expected) == list(scores.labels)
            np.testing.assert_allclose(scores.ap, list(expected.values()), atol=1e-12)
    assert np.nanmax(scores.ap) > 0.1, "the scenes must have something to find"


@pytest.mark.parametrize("seed", range(4))
def test_ppdms_figure_agrees_with_the_plain_rules_in_any_order(seed):
    predictions, entries = random_scenes(seed, vocabulary=V_COCO, name="COCO_val2014_{:012d}.jpg")
    rng = np.random.default_rng(seed)
    for one in predictions + entries:
        for pair in one.get("hoi_prediction", one.get("hoi_annotation")):
            pair["category_id"] = int(rng.choice([HOLD, CUT]))
    expected = plain_evaluation.vcoco_ppdm(predictions, entries, V_COCO.verb_ids)
    for order in (predictions, shuffled(predictions, seed)):
        scores = vcoco.evaluate(order, entries)["ppdm"]
        np.testing.assert_allclose(scores.ap, list(expected.values()), atol=1e-12)
    assert scores.ap.max() > 0.05, "the scenes must have something to find"


def test_two_roles_of_v_coco_have_the_references_figures():
    """Real annotation, cut out by fixtures/make_evaluation.py; `point` is one of the two."""
    fixture = read_json(Path(__file__).parents[1] / "fixtures" / "evaluation_vcoco.json.gz")
    for order in (fixture["predictions"], shuffled(fixture["predictions"], 2)):
        result = vcoco.evaluate(order, fixture["ground_truth"], fixture["instances"])
        for setting, expected in fixture["expected"].items():
            for role, figure in expected.items():
                assert ap(result, setting, role) == pytest.approx(figure, abs=1e-6)
    assert fixture["expected"]["scenario_1"] != fixture["expected"]["scenario_2"]


def test_agrees_with_the_reference(shared_dir):
    folder, data = shared_dir / "reference" / "eval", shared_dir / "data" / "vcoco"
    expected = json.loads((folder / "expected_vcoco.json").read_text())
    predictions = read_json(folder / "vcoco_predictions.json.gz")
    vsrl = read_json(data / "vcoco_val.json.gz")
    coco = read_json(data / "instances_vcoco_val.json.gz")
    for order in (predictions, shuffled(predictions, 0)):
        result = vcoco.evaluate(order, vsrl, coco)
        for setting in ("scenario_1", "scenario_2"):
            scores, rows = result[setting], expected[setting]["rows"]
            assert [(c["action"], c["role"]) for c in scores.classes] == [
                (row["action"], row["role"]) for row in rows
            ]
            for column, key in ((scores.ap, "AP"), (scores.recall, "max_recall")):
                np.testing.assert_allclose(column, [row[key] for row in rows], rtol=0, atol=1e-6)
            assert scores.predictions.tolist() == [row["n_det"] for row in rows]
            for group, key in (("roles_25", "mean_25"), ("roles_24", "mean_24")):
                assert scores.means[group] == pytest.approx(expected[setting][key], abs=1e-6)
        people = dict(zip(result["agent"].labels, result["agent"].ground_truth, strict=True))
        assert people == expected["positives_per_action"]
        assert result.counts["people"] == expected["n_person_boxes"]

    result = vcoco.evaluate(predictions, data / "val_vcoco.json.gz")
    rows = expected["ppdm_style"]["rows"]
    np.testing.assert_allclose(result["ppdm"].ap, [r["AP"] for r in rows], rtol=0, atol=1e-9)
    assert result["ppdm"].predictions.tolist() == [row["n_det"] for row in rows]
    assert result["ppdm"].ground_truth.tolist() == [row["n_gt"] for row in rows]
    assert result["ppdm"].means["roles_24"] == pytest.approx(
        expected["ppdm_style"]["mAP"], abs=1e-9
    )


def test_the_seven_photos_annotation_scores_itself_full_marks(shared_dir):
    folder = shared_dir / "data" / "vcoco_mini"
    entries = read_json(folder / "mini_vcoco.json")
    predictions = []
    for entry in entries:
        boxes = [(*box["bbox"], box["category_id"]) for box in entry["annotations"]]
        pairs = [
            (r["subject_id"], r["object_id"], r["category_id"], 0.5)
            for r in entry["hoi_annotation"]
        ]
        predictions.append(found(entry["file_name"], boxes, pairs))
    result = vcoco.evaluate(
        predictions, folder / "vcoco_mini.json", folder / "instances_vcoco_mini.json"
    )
    for scores in (result["scenario_1"], result["scenario_2"]):
        there = scores.ground_truth > 0
        np.testing.assert_allclose(scores.ap[there & (scores.predictions > 0)], 1.0)
    pairs = vcoco.evaluate(predictions, entries)["ppdm"]
    np.testing.assert_allclose(pairs.ap[pairs.ground_truth > 0], 1.0)
