"""Kinds of mistakes and their costs: hand-worked scenes, the plain oracle, real predictions."""

import numpy as np
import plain_diagnosis
import pytest
from evaluation_scenes import SMALL, found, random_scenes, shuffled, truth

from ggnet_jax.evaluation import diagnosis, hico, vcoco
from ggnet_jax.evaluation.diagnosis import ALL_MISSED, ALL_WRONG, MISSED, MISTAKES

MAN, CUP, DOG = (0, 0, 40, 40, 1), (50, 0, 70, 20, 47), (50, 50, 90, 90, 18)
WOMAN = (100, 0, 140, 40, 1)
HOLD, PET, CARRY = SMALL.verb_ids


def diagnose(predictions, ground_truth, **kwargs):
    matches = hico.evaluate_and_match(predictions, ground_truth, SMALL, **kwargs)[1]()
    return diagnosis.diagnose(matches)


def shifted(box, x, y=0):
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y, box[4])


def counts(result):
    return {name: cost.count for name, cost in result.costs.items() if cost.count}


def one_mistake(result):
    """The kind of the only false positive, and how many of it mending makes right."""
    [(name, cost)] = [(k, result.costs[k]) for k in MISTAKES if result.costs[k].count]
    assert cost.count == 1
    return name, cost.mended


HOLDS_CUP = [truth("a", [MAN, CUP], [(0, 1, HOLD)])]


def test_what_is_right_costs_nothing():
    result = diagnose([found("a", [MAN, CUP], [(0, 1, HOLD, 0.5)])], HOLDS_CUP)
    assert counts(result) == {}
    assert all(value == 0 for cost in result.costs.values() for value in cost.points.values())
    assert result.kind.tolist() == [-1] and result.missed.tolist() == [-1]


@pytest.mark.parametrize(
    ("boxes", "verb", "kind", "mended", "missed"),
    [
        ([shifted(MAN, 25), CUP], HOLD, "human_box", 1, "missed_object_there"),
        ([shifted(MAN, 300), CUP], HOLD, "human_box", 1, "missed_object_there"),
        ([MAN, shifted(CUP, 12)], HOLD, "object_box", 1, "missed_human_there"),
        ([MAN, shifted(CUP, 300)], HOLD, "object_box", 1, "missed_human_there"),
        ([shifted(MAN, 25), shifted(CUP, 12)], HOLD, "both_boxes", 1, "missed_neither_there"),
        ([shifted(MAN, 300), shifted(CUP, 12)], HOLD, "background", 0, "missed_neither_there"),
        ([shifted(MAN, 300), shifted(CUP, 300)], HOLD, "background", 0, "missed_neither_there"),
        ([MAN, CUP], CARRY, "wrong_verb", 1, "missed_both_there"),
    ],
)
def test_one_wrong_prediction_of_one_pair(boxes, verb, kind, mended, missed):
    result = diagnose([found("a", boxes, [(0, 1, verb, 0.5)])], HOLDS_CUP)
    assert one_mistake(result) == (kind, mended)
    assert counts(result) == {kind: 1, ALL_WRONG: 1, missed: 1, ALL_MISSED: 1}
    cup = SMALL.classes.index((0, 1))
    assert result.costs[kind].classes[cup] == pytest.approx(float(mended))
    assert result.costs[missed].classes[cup] == pytest.approx(1.0), "nothing is left to find"


def test_the_cost_of_a_wrong_box_by_hand():
    """Right, wrong, right by score: mending the wrong one makes both pairs of its class found."""
    real = [truth(name, [MAN, CUP], [(0, 1, HOLD)]) for name in "abc"]
    predictions = [
        found("a", [MAN, CUP], [(0, 1, HOLD, 0.9)]),
        found("b", [shifted(MAN, 25), CUP], [(0, 1, HOLD, 0.8)]),
        found("c", [MAN, CUP], [(0, 1, HOLD, 0.7)]),
    ]
    result = diagnose(predictions, real)
    # Recall 1/3 at precision 1, 2/3 at 2/3; of 11 recalls 4 are up to 1/3, 3 more up to 2/3.
    before = (4 + 3 * 2 / 3) / 11
    assert result.matches.scores.ap[0] == pytest.approx(before)
    assert result.costs["human_box"].classes[0] == pytest.approx(1 - before)
    # Five classes, of which four are neither annotated nor predicted: AP 0 by this rule.
    assert result.costs["human_box"].points["full"] == pytest.approx((1 - before) / 5)
    assert result.costs["human_box"].points["rare"] == pytest.approx((1 - before) / 2)
    # Taking the missed pair out of the ground truth leaves right, wrong, right of two.
    without = (6 + 5 * 2 / 3) / 11
    assert result.costs["missed_object_there"].classes[0] == pytest.approx(without - before)
    # Leaving the wrong one out leaves two right ones of three: recall up to 2/3.
    assert result.costs[ALL_WRONG].classes[0] == pytest.approx(7 / 11 - before)


def test_a_duplicate_is_removed():
    pairs = [(0, 1, HOLD, 0.9), (0, 1, HOLD, 0.8)]
    result = diagnose([found("a", [MAN, CUP], pairs)], HOLDS_CUP)
    assert one_mistake(result) == ("duplicate", 0)
    assert result.missed.tolist() == [-1]


def test_a_wrong_box_for_a_pair_that_is_found_is_removed():
    """It loses precision, but there is nothing left that it could be right for."""
    pairs = [(0, 1, HOLD, 0.8), (2, 1, HOLD, 0.9)]
    result = diagnose([found("a", [MAN, CUP, shifted(MAN, 25)], pairs)], HOLDS_CUP)
    assert one_mistake(result) == ("human_box", 0)
    assert result.costs["human_box"].classes[0] == pytest.approx(0.5)


def test_of_two_for_one_pair_the_better_scored_becomes_right():
    pairs = [(0, 2, HOLD, 0.8), (1, 2, HOLD, 0.9)]
    boxes = [shifted(MAN, 25), shifted(MAN, 26), CUP]
    result = diagnose([found("a", boxes, pairs)], HOLDS_CUP)
    assert result.costs["human_box"].count == 2 and result.costs["human_box"].mended == 1
    assert result.meant[result.matches.score == 0.9].tolist() == [0]
    assert result.meant[result.matches.score == 0.8].tolist() == [-1]


def test_two_people_whose_cups_were_exchanged():
    """Both boxes are annotated, but not as a pair."""
    other_cup = shifted(CUP, 100)
    real = [truth("a", [MAN, CUP, WOMAN, other_cup], [(0, 1, HOLD), (2, 3, HOLD)])]
    predictions = [found("a", [MAN, CUP, WOMAN, other_cup], [(0, 3, HOLD, 0.9)])]
    result = diagnose(predictions, real)
    assert one_mistake(result) == ("wrong_pairing", 1)
    assert result.costs["missed_both_there"].count == 2


def test_an_annotated_person_in_no_pair_is_a_person_too():
    real = [truth("a", [MAN, CUP, WOMAN], [(0, 1, HOLD)])]
    assert one_mistake(diagnose([found("a", [WOMAN, CUP], [(0, 1, HOLD, 0.9)])], real)) == (
        "wrong_pairing",
        1,
    )


def test_a_wrong_verb_moves_to_the_class_of_its_pair():
    real = [truth("a", [MAN, DOG], [(0, 1, HOLD)]), truth("b", [MAN, DOG], [(0, 1, PET)])]
    predictions = [
        found("a", [MAN, DOG], [(0, 1, PET, 0.9)]),
        found("b", [MAN, DOG], [(0, 1, PET, 0.8)]),
    ]
    result = diagnose(predictions, real)
    assert one_mistake(result) == ("wrong_verb", 1)
    pet, hold = SMALL.classes.index((1, 2)), SMALL.classes.index((0, 2))
    gains = result.costs["wrong_verb"].classes
    assert gains[pet] == pytest.approx(0.5), "the right one is no longer second"
    assert gains[hold] == pytest.approx(1.0), "and the pair that was missed is found"


def test_an_object_in_its_place_under_another_name_is_an_object_mistake():
    """`hold dog` where the cup is: the cup's pair is the one that was meant."""
    boxes = [MAN, (*CUP[:4], DOG[4])]
    result = diagnose([found("a", boxes, [(0, 1, HOLD, 0.9)])], HOLDS_CUP)
    assert one_mistake(result) == ("object_box", 1)
    assert result.other_category.tolist() == [True]
    assert result.costs["missed_human_there"].count == 1, "no cup was there"
    assert result.costs["object_box"].classes[0] == pytest.approx(1.0)


def test_predicted_boxes_that_are_in_no_pair_are_there_all_the_same():
    predictions = [found("a", [MAN, CUP, DOG], [(0, 2, PET, 0.9)])]
    result = diagnose(predictions, HOLDS_CUP)
    assert result.costs["missed_both_there"].count == 1


def test_an_image_without_an_entry_and_one_without_annotations():
    real = [*HOLDS_CUP, truth("b", [], [])]
    result = diagnose([found("b", [MAN, CUP], [(0, 1, HOLD, 0.9)])], real)
    assert counts(result) == {
        "background": 1, "missed_neither_there": 1, ALL_WRONG: 1, ALL_MISSED: 1,
    }  # fmt: skip


def test_no_prediction_at_all():
    result = diagnose([], HOLDS_CUP)
    assert counts(result) == {"missed_neither_there": 1, ALL_MISSED: 1}
    assert result.curves[0].tolist() == [0.0] * 101


def scenes(seed):
    """Random ones, half of them with half of the predicted boxes left out, and their pairs."""
    predictions, ground_truth = random_scenes(seed)
    if seed % 2:
        rng = np.random.default_rng(seed)
        for entry in predictions:
            kept = rng.permutation(len(entry["predictions"]))[: len(entry["predictions"]) // 2]
            new = {int(old): place for place, old in enumerate(kept)}
            entry["predictions"] = [entry["predictions"][old] for old in kept]
            entry["hoi_prediction"] = [
                pair | {key: new[pair[key]] for key in ("subject_id", "object_id")}
                for pair in entry["hoi_prediction"]
                if {pair["subject_id"], pair["object_id"]} <= new.keys()
            ]
    return predictions, ground_truth


@pytest.mark.parametrize("rule", plain_diagnosis.RULES)
@pytest.mark.parametrize("seed", range(4))
def test_random_scenes_as_the_plain_oracle(rule, seed):
    predictions, ground_truth = scenes(seed)
    result = diagnose(predictions, ground_truth, protocol=rule)
    expected, before = plain_diagnosis.diagnose(predictions, ground_truth, SMALL, rule)
    scores = result.matches.scores
    assert scores.ap == pytest.approx([before[key] for key in range(len(scores.ap))])
    for name in (*MISTAKES, *MISSED):
        cost = result.costs[name]
        count, mended, after = expected[name]
        assert (cost.count, cost.mended) == (count, mended), name
        gains = [after[key] - before[key] for key in range(len(scores.ap))]
        assert cost.classes == pytest.approx(gains, abs=1e-12), name
        assert cost.points["full"] == pytest.approx(np.mean(gains), abs=1e-12), name
    assert sum(result.costs[name].count for name in MISTAKES) == result.costs[ALL_WRONG].count


def test_random_scenes_have_every_kind():
    """So that the comparison above compares something."""
    totals = dict.fromkeys((*MISTAKES, *MISSED), 0)
    for seed in range(4):
        costs = diagnose(*scenes(seed)).costs
        totals = {name: number + costs[name].count for name, number in totals.items()}
    assert min(totals.values()) > 5, totals


@pytest.mark.parametrize("rule", hico.RULES)
def test_removing_a_kind_from_the_file_gains_what_removing_costs(rule):
    """Duplicates, background and everything wrong, left out of the file and scored again."""
    predictions, ground_truth = random_scenes(7, images=40)
    result = diagnose(predictions, ground_truth, protocol=rule)
    m = result.matches
    rank = {"duplicate": [0], "background": [6], ALL_WRONG: list(range(7))}
    for name, kinds in rank.items():
        gone = {int(row) for row in m.rows[np.isin(result.kind, kinds)]}
        left, at = [], 0
        for entry in predictions:
            pairs = entry["hoi_prediction"]
            kept = [pair for place, pair in enumerate(pairs, at) if place not in gone]
            left.append(entry | {"hoi_prediction": kept})
            at += len(pairs)
        again = hico.evaluate(left, ground_truth, SMALL, protocol=rule)
        full = next(iter(again.settings.values())).means["full"]
        assert full - m.scores.means["full"] == pytest.approx(result.costs[name].points["full"])


def test_the_order_of_a_file_does_not_matter():
    predictions, ground_truth = random_scenes(3)
    one, other = (
        diagnose(entries, ground_truth).costs for entries in (predictions, shuffled(predictions, 1))
    )
    for name in one:
        assert (one[name].count, one[name].mended) == (other[name].count, other[name].mended)
        assert one[name].points == other[name].points


def test_with_nothing_wrong_and_nothing_missed_every_class_is_perfect():
    predictions, ground_truth = random_scenes(5, images=60)
    m = diagnose(predictions, ground_truth).matches
    right = m.taken >= 0
    perfect = diagnosis.Matched(
        **{**vars(m), "rows": m.rows[right], "group": m.group[right], "taken": m.taken[right]}
    )
    gains = diagnosis.diagnose(perfect).costs[ALL_MISSED].classes
    assert (gains + m.scores.ap)[m.scores.ground_truth > 0] == pytest.approx(1.0)


def test_curves_are_the_best_precision_at_a_recall_or_more():
    real = [truth(name, [MAN, CUP], [(0, 1, HOLD)]) for name in "ab"]
    pairs = [(0, 1, HOLD, 0.9), (0, 1, HOLD, 0.8)]
    predictions = [found("a", [MAN, CUP], pairs), found("b", [MAN, CUP], [(0, 1, HOLD, 0.7)])]
    result = diagnose(predictions, real)
    assert result.curves[0] == pytest.approx([1.0] * 51 + [2 / 3] * 50)
    assert np.isnan(result.curves[1:]).all(), "classes without ground truth have none"
    assert result.costs["duplicate"].curve == pytest.approx(np.ones(101))


def test_the_costliest_classes_are_those_with_the_lowest_ap_and_most_to_find():
    real = [
        truth("a", [MAN, CUP, DOG], [(0, 1, HOLD), (0, 2, HOLD), (0, 2, PET)]),
        truth("b", [MAN, CUP, DOG], [(0, 1, CARRY), (0, 2, PET)]),
    ]
    result = diagnose([found("a", [MAN, CUP], [(0, 1, HOLD, 0.9)])], real)
    labels = [result.matches.scores.labels[index] for index in result.costliest(3)]
    assert labels == ["pet dog", "hold dog", "carry cup"], "and none without ground truth"
    assert result.points_lost[SMALL.classes.index((1, 2))] == pytest.approx(1 / 5)


def vcoco_files(cup=True):
    """VSRL and instances: a man on image 7 who holds a cup, or nothing that is annotated."""
    man = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 41, 41], "area": 900}
    other = {"id": 2, "image_id": 7, "category_id": 47, "bbox": [50, 0, 21, 21], "area": 400}
    vsrl = [
        {
            "action_name": "hold",
            "role_name": ["agent", "obj"],
            "include": [[], []],
            "image_id": [7],
            "ann_id": [1],
            "label": [1],
            "role_object_id": [1, 2 if cup else 0],
        }
    ]
    images = [{"id": 7, "file_name": "7.jpg", "width": 200, "height": 200}]
    return vsrl, {"images": images, "annotations": [man, other]}


@pytest.mark.parametrize(
    ("boxes", "target", "cup", "kind"),
    [
        ([MAN, CUP], 1, True, None),
        ([MAN, shifted(CUP, 100)], 1, True, "object_box"),
        ([shifted(MAN, 25), CUP], 1, True, "human_box"),
        ([MAN], -1, True, "object_box"),
        ([MAN], -1, False, None),  # Scenario 1: nothing is annotated, nothing has to be predicted
        ([MAN, CUP], 1, False, "object_box"),
    ],
)
def test_vcoco_scenario_1(boxes, target, cup, kind):
    prediction = found(f"COCO_val2014_{7:012d}.jpg", boxes, [(0, target, 25, 0.9)])
    result, match = vcoco.evaluate_and_match([prediction], *vcoco_files(cup))
    assert result["scenario_1"].ap[0] == (kind is None)
    diagnosed = diagnosis.diagnose(match())
    if kind is None:
        assert counts(diagnosed) == {}
    else:
        assert one_mistake(diagnosed) == (kind, 1)
        assert diagnosed.costs[kind].classes[0] == pytest.approx(1.0)


def test_vcoco_pair_lists_do_not_compare_categories():
    name, hold, look = f"COCO_val2014_{7:012d}.jpg", 25, 28
    real = [truth(name, [MAN, CUP], [(0, 1, hold)])]
    as_dog = [MAN, (*CUP[:4], DOG[4])]
    predictions = [found(name, as_dog, [(0, 1, hold, 0.9), (0, 1, look, 0.8)])]
    result = diagnosis.diagnose(vcoco.evaluate_and_match(predictions, real, None)[1]())
    assert one_mistake(result) == ("wrong_verb", 0), "what was meant is found already"
