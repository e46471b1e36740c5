"""HICO-DET's protocols: hand-worked cases, the plain oracle, the reference's results."""

import dataclasses
import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import plain_evaluation
import pytest
from evaluation_scenes import SMALL, found, random_scenes, shuffled, truth

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico, hico_rules, matching
from ggnet_jax.io import read_json
from ggnet_jax.vocabularies import Vocabulary, load, zero_shot

MAN, CUP, DOG = (0, 0, 40, 40, 1), (50, 0, 70, 20, 47), (50, 50, 90, 90, 18)
HOLD_CUP, CARRY_MAN = 0, 3  # of the classes of SMALL


def evaluate(predictions, ground_truth, **kwargs):
    return hico.evaluate(predictions, ground_truth, SMALL, **kwargs)


def ap(result, setting="default"):
    return result[setting].ap


def test_one_right_prediction_is_worth_everything():
    result = evaluate(
        [found("a", [MAN, CUP], [(0, 1, 1, 0.3)])], [truth("a", [MAN, CUP], [(0, 1, 1)])]
    )
    scores = result["default"]
    assert scores.ap[HOLD_CUP] == pytest.approx(1.0)
    assert scores.recall[HOLD_CUP] == 1.0
    assert scores.ground_truth.tolist() == [1, 0, 0, 0, 0]
    assert scores.predictions.tolist() == [1, 0, 0, 0, 0]
    assert scores.true_positives.tolist() == [1, 0, 0, 0, 0]


def test_a_duplicate_is_a_false_positive():
    pairs = [(0, 1, 1, 0.9), (0, 1, 1, 0.8)]
    real = [truth("a", [MAN, CUP], [(0, 1, 1)]), truth("b", [MAN, CUP], [(0, 1, 1)])]
    predictions = [
        found("a", [MAN, CUP], pairs),
        found("b", [MAN, CUP], [(0, 1, 1, 0.7)]),
    ]
    # Right, wrong, right: recall 0.5 at precision 1, recall 1 at precision 2/3.
    for protocol, setting in (("no_frills", "default"), ("ppdm", "ppdm")):
        result = evaluate(predictions, real, protocol=protocol)
        assert ap(result, setting)[HOLD_CUP] == pytest.approx((6 + 5 * 2 / 3) / 11)
        assert result[setting].true_positives[HOLD_CUP] == 2


def test_a_taken_pair_is_free_for_nobody_but_the_protocols_differ_on_the_next_best():
    """Two annotated people almost on top of each other, two predictions closest to the second."""
    second = (2, 0, 42, 40, 1)
    real = [truth("a", [MAN, second, CUP], [(0, 2, 1), (1, 2, 1)])]
    predictions = [found("a", [second, CUP], [(0, 1, 1, 0.9), (0, 1, 1, 0.8)])]
    assert evaluate(predictions, real)["default"].true_positives[HOLD_CUP] == 2
    # PPDM's looks at the best pair alone; its added pixel doesn't change who that is.
    assert evaluate(predictions, real, protocol="ppdm")["ppdm"].true_positives[HOLD_CUP] == 1


def test_no_frills_takes_the_first_pair_and_not_the_best():
    """The first prediction matches both, takes the first, and the second finds that one gone."""
    left, right = (0, 0, 40, 40, 1), (10, 0, 50, 40, 1)
    real = [truth("a", [left, right, CUP], [(0, 2, 1), (1, 2, 1)])]
    far_left = (-12, 0, 28, 40, 1)  # overlaps the left one alone
    predictions = [found("a", [right, far_left, CUP], [(0, 2, 1, 0.9), (1, 2, 1, 0.8)])]
    assert evaluate(predictions, real)["default"].true_positives[HOLD_CUP] == 1
    assert evaluate(predictions, real, protocol="ppdm")["ppdm"].true_positives[HOLD_CUP] == 2


def test_recall_of_three_tenths_does_not_reach_the_point_above_it():
    real = [truth(f"{i:02d}", [MAN, CUP], [(0, 1, 1)]) for i in range(10)]
    predictions = [found(f"{i:02d}", [MAN, CUP], [(0, 1, 1, 0.9)]) for i in range(3)]
    # Recall 0.1, 0.2, 0.3, precision 1: the points at 0, 0.1 and 0.2, not 0.30000000000000004.
    for protocol, setting in (("no_frills", "default"), ("ppdm", "ppdm")):
        assert ap(evaluate(predictions, real, protocol=protocol), setting)[
            HOLD_CUP
        ] == pytest.approx(3 / 11)
    predictions += [found("03", [MAN, CUP], [(0, 1, 1, 0.9)])]
    assert ap(evaluate(predictions, real))[HOLD_CUP] == pytest.approx(5 / 11)


def test_the_predicted_category_decides_the_class_and_the_subject_only_in_ppdm():
    real = [truth("a", [MAN, CUP], [(0, 1, 1)])]
    dog_as_subject = (*MAN[:4], 18)
    predictions = [found("a", [dog_as_subject, CUP], [(0, 1, 1, 0.5)])]
    assert ap(evaluate(predictions, real))[HOLD_CUP] == pytest.approx(1.0)
    result = evaluate(predictions, real, protocol="ppdm")
    assert ap(result, "ppdm")[HOLD_CUP] == 0.0
    assert result.counts["predictions_with_a_subject_that_is_not_a_person"] == 1


def test_overlap_of_one_half():
    """Inclusive boxes of 20 x 10 and 10 x 10 pixels overlap by exactly 0.5 (but for epsilon)."""
    half = (0, 0, 9, 9, 1)
    real = [truth("a", [(0, 0, 19, 9, 1), CUP], [(0, 1, 1)])]
    assert ap(evaluate([found("a", [half, CUP], [(0, 1, 1, 0.5)])], real))[HOLD_CUP] == 0.0
    # PPDM adds 1 to predicted boxes, so these are the same ones there.
    shifted = [tuple(v - 1 for v in box[:4]) + box[4:] for box in (half, CUP)]
    result = evaluate([found("a", shifted, [(0, 1, 1, 0.5)])], real, protocol="ppdm")
    assert ap(result, "ppdm")[HOLD_CUP] == pytest.approx(1.0)


def test_classes_without_ground_truth_or_predictions():
    real = [truth("a", [MAN, CUP, DOG], [(0, 1, 1), (0, 2, 2)])]
    predictions = [found("a", [MAN, CUP, DOG], [(0, 1, 1, 0.9), (0, 2, 1, 0.4)])]
    scores = evaluate(predictions, real)["default"]
    expected = [1.0, 0.0, np.nan, 0.0, 0.0]
    np.testing.assert_allclose(scores.ap, expected)
    assert scores.invalid == 1
    assert scores.means == pytest.approx({"full": 1 / 4, "rare": 1 / 2, "non_rare": 0.0})
    np.testing.assert_allclose(scores.recall, [1, 0, np.nan, np.nan, np.nan])
    ppdm = evaluate(predictions, real, protocol="ppdm")["ppdm"]
    np.testing.assert_allclose(ppdm.ap, [1.0, 0.0, np.nan, np.nan, np.nan])


def test_known_object_scores_a_class_on_images_with_its_object():
    real = [
        truth("a", [MAN, CUP], [(0, 1, 1)]),
        truth("b", [MAN, DOG], [(0, 1, 2)]),
        truth("c", [MAN, CUP], []),  # a cup, but in no pair: not listed
        truth("d", [MAN, (60, 0, 90, 40, 1)], [(0, 1, 5)]),
    ]
    predictions = [
        found("a", [MAN, CUP], [(0, 1, 1, 0.5)]),
        found("b", [MAN, CUP], [(0, 1, 1, 0.9)]),
        found("c", [MAN, CUP], [(0, 1, 1, 0.8)]),
        found("d", [MAN, (60, 0, 90, 40, 1)], [(0, 1, 5, 0.5)]),
    ]
    result = evaluate(predictions, real)
    assert ap(result)[HOLD_CUP] == pytest.approx(1 / 3)
    assert ap(result, "known_object")[HOLD_CUP] == pytest.approx(1.0)
    assert result["known_object"].predictions[HOLD_CUP] == 1
    # A person in an image is not enough for a class whose object is a person.
    predictions[0] = found("a", [MAN, MAN, CUP], [(0, 2, 1, 0.5), (0, 1, 5, 0.9)])
    result = evaluate(predictions, real)
    assert ap(result)[CARRY_MAN] == pytest.approx(1 / 2)
    assert ap(result, "known_object")[CARRY_MAN] == pytest.approx(1.0)


def test_equal_scores_give_the_same_figures_in_any_order():
    """One hit and one miss of equal score, told apart by file name and boxes alone."""
    real = [truth("a", [MAN, CUP], []), truth("b", [MAN, CUP], [(0, 1, 1)])]
    predictions = [
        found("b", [MAN, CUP], [(0, 1, 1, 0.5)]),
        found("a", [MAN, CUP], [(0, 1, 1, 0.5)]),
    ]
    for order in (predictions, predictions[::-1]):
        for ordered in (real, real[::-1]):
            assert ap(evaluate(order, ordered))[HOLD_CUP] == pytest.approx(1 / 2)


def test_no_prediction_at_all():
    real = [truth("a", [MAN, CUP], [(0, 1, 1)])]
    for predictions in ([], [found("a", [], [])]):
        result = evaluate(predictions, real)
        assert result["default"].means == {"full": 0.0, "rare": 0.0, "non_rare": 0.0}
    assert ap(evaluate([], real, protocol="ppdm"), "ppdm")[HOLD_CUP] == 0.0


def test_a_pair_that_is_no_class_is_left_out_and_counted():
    real = [truth("a", [MAN, CUP], [(0, 1, 1), (0, 1, 2)])]
    result = evaluate([found("a", [MAN, CUP], [(0, 1, 2, 0.9), (0, 1, 1, 0.3)])], real)
    assert ap(result)[HOLD_CUP] == pytest.approx(1.0)
    assert result.counts["predictions_of_no_class"] == 1
    assert result.counts["ground_truth_pairs_of_no_class"] == 1


def test_unknown_rare_flags_leave_the_full_mean_alone():
    vocabulary = Vocabulary(
        "v", SMALL.objects, SMALL.object_ids, SMALL.verbs, SMALL.verb_ids, SMALL.classes
    )
    result = hico.evaluate([], [truth("a", [MAN, CUP], [(0, 1, 1)])], vocabulary)
    assert list(result["default"].means) == ["full"]


def test_exchanged_axes_are_told():
    """In either file; and nothing is told of predictions that are only wrong."""
    real = [truth(str(k), [MAN, CUP], [(0, 1, 1)]) for k in range(12)]
    right = [found(str(k), [MAN, CUP], [(0, 1, 1, 0.5)]) for k in range(12)]
    turned_cup = (CUP[1], CUP[0], CUP[3], CUP[2], CUP[4])
    turned = [found(str(k), [MAN, turned_cup], [(0, 1, 1, 0.5)]) for k in range(12)]
    turned_truth = [truth(str(k), [MAN, turned_cup], [(0, 1, 1)]) for k in range(12)]
    line = "0 predictions are right, and 12 would be with x and y exchanged"
    for predictions, annotated in ((turned, real), (right, turned_truth)):
        assert any(note.startswith(line) for note in evaluate(predictions, annotated).notes)
    elsewhere = [found(str(k), [MAN, DOG], [(0, 1, 1, 0.5)]) for k in range(12)]
    for predictions in (right, elsewhere, []):
        assert not any("exchanged" in note for note in evaluate(predictions, real).notes)


@pytest.mark.parametrize("protocol", list(hico.SETTINGS))
def test_a_protocol_has_its_settings(protocol):
    result = evaluate([], [truth("a", [MAN, CUP], [(0, 1, 1)])], protocol=protocol)
    assert tuple(result.settings) == hico.SETTINGS[protocol]


def test_an_unknown_protocol_is_refused():
    with pytest.raises(UserError, match=r"'mean'.*no_frills"):
        evaluate([], [truth("a", [], [])], protocol="mean")


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_plain_rules_in_any_order(seed):
    predictions, ground_truth = random_scenes(seed)
    expected = plain_evaluation.hico(predictions, ground_truth, SMALL)
    expected_ppdm = plain_evaluation.hico_ppdm(predictions, ground_truth, SMALL)
    for order in (predictions, shuffled(predictions, seed)):
        result = evaluate(order, ground_truth)
        for setting, figures in expected.items():
            np.testing.assert_allclose(ap(result, setting), list(figures.values()), atol=1e-12)
        result = evaluate(order, ground_truth, protocol="ppdm")
        np.testing.assert_allclose(ap(result, "ppdm"), list(expected_ppdm.values()), atol=1e-12)
    assert np.nanmax(ap(result, "ppdm")) > 0.1, "the scenes must have something to find"


@pytest.mark.parametrize("rule", ["official", "pocket", "inp_cc"])
@pytest.mark.parametrize("seed", range(4))
def test_rules_of_the_best_pair_agree_with_the_plain_ones(seed, rule):
    predictions, ground_truth = random_scenes(seed)
    expected = plain_evaluation.hico_best(predictions, ground_truth, SMALL, rule)
    for order in (predictions, shuffled(predictions, seed)):
        figures = ap(evaluate(order, ground_truth, protocol=rule))
        np.testing.assert_allclose(figures, list(expected.values()), rtol=0, atol=1e-12)
    assert figures.max() > 0.1, "the scenes must have something to find"


def test_all_rules_side_by_side_are_the_rules_one_by_one():
    predictions, ground_truth = random_scenes(11)
    together = evaluate(predictions, ground_truth, protocol="all")
    apart = [
        scores.ap
        for rule in hico_rules.RULES
        for scores in evaluate(predictions, ground_truth, protocol=rule).settings.values()
    ]
    for ours, alone in zip(together.settings.values(), apart, strict=True):
        np.testing.assert_array_equal(ours.ap, alone)
    assert len({round(means["full"], 9) for means in together.means.values()}) > 4


def test_the_old_name_is_the_papers_rule():
    predictions, ground_truth = random_scenes(3)
    old = evaluate(predictions, ground_truth, protocol="ho_rcnn")
    assert old.means == evaluate(predictions, ground_truth).means
    assert "no_frills" in old.title and "paper" in old.title


def test_inp_ccs_means_leave_no_interaction_out():
    predictions, ground_truth = random_scenes(5)
    verbs = ("hold", "no_interaction", "carry")
    vocabulary = dataclasses.replace(SMALL, verbs=verbs)
    scores = hico.evaluate(predictions, ground_truth, vocabulary, protocol="inp_cc")["default"]
    kept = [SMALL.verbs[verb] != "pet" for verb, _ in SMALL.classes]
    assert scores.means["full"] == pytest.approx(scores.ap[kept].mean())


def test_means_over_zero_shot_splits_and_interactions():
    """Perfect predictions of the seen classes of one object, none of the unseen ones."""
    vocabulary = load("hico_det")
    unseen = zero_shot.unseen_classes("rf_uc", vocabulary)
    bird = vocabulary.objects.index("bird")
    boxes = [(0, 0, 40, 40, 1), (50, 0, 90, 40, vocabulary.object_ids[bird])]
    of_bird = [(i, verb) for i, (verb, obj) in enumerate(vocabulary.classes) if obj == bird]
    assert any(unseen[i] for i, _ in of_bird)
    real = truth("a", boxes, [(0, 1, vocabulary.verb_ids[verb]) for _, verb in of_bird])
    seen = [(0, 1, vocabulary.verb_ids[verb], 0.5) for i, verb in of_bird if not unseen[i]]
    result = hico.evaluate(
        [found("a", boxes, seen)], [real], groups=("rf_uc", "interactions"), protocol="official"
    )
    means = result.means["default"]
    number = len(seen)
    assert means["rf_uc_unseen"] == 0.0 == means["rf_uc_harmonic_mean"]
    assert means["rf_uc_seen"] == pytest.approx(number / 480)
    nothing = any(vocabulary.verbs[verb] == "no_interaction" for _, verb in of_bird)
    assert means["interactions"] == pytest.approx((number - nothing) / 520)
    assert "rf uc harmonic mean" in result.table()
    # One right prediction of an unseen class: 2 ab / (a + b).
    every = [(0, 1, vocabulary.verb_ids[verb], 0.5) for _, verb in of_bird]
    means = hico.evaluate(
        [found("a", boxes, every)], [real], groups=("rf_uc",), protocol="official"
    ).means["default"]
    one, other = means["rf_uc_unseen"], means["rf_uc_seen"]
    assert means["rf_uc_harmonic_mean"] == pytest.approx(2 / (1 / one + 1 / other))
    with pytest.raises(UserError, match=r"'rare' is none of rf_uc"):
        evaluate([], [real], groups=("rare",))


def test_matlabs_rule_on_the_reference_predictions(shared_dir):
    """Known from a restatement of HICO-DET's Matlab code that we did not write."""
    predictions, ground_truth, _ = _reference(shared_dir)
    means = hico.evaluate(predictions, ground_truth, protocol="official")["default"].means
    known = {"full": 0.324554, "rare": 0.278852, "non_rare": 0.338205}
    assert means == pytest.approx(known, abs=5e-7)


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_candidates_are_all_equal_keys_in_order(block):
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 9, 40), np.sort(rng.integers(2, 12, 30))
    blocks = list(matching.candidates(left, right, block))
    pairs = [(i, j) for one in blocks for i, j in zip(*map(np.ndarray.tolist, one), strict=True)]
    assert pairs == [(i, j) for i in range(40) for j in range(30) if left[i] == right[j]]
    assert block == 1000 or len(blocks) > 5


@pytest.mark.parametrize("seed", range(5))
def test_matches_may_come_in_blocks(seed):
    """First come, first served, in whatever portions; against the rules in one loop each."""
    rng = np.random.default_rng(seed)
    left, right = np.unique(rng.integers(0, 12, (60, 2)), axis=0).T
    cuts = [0, *np.flatnonzero(np.diff(left)) + 1, len(left)]
    for every in (1, 3, len(cuts)):
        ends = [*cuts[::every], len(left)]
        blocks = [(left[a:b], right[a:b]) for a, b in itertools.pairwise(ends)]
        taken, served, claimed = set(), set(), set()
        claims = []
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            if i not in served and j not in taken:
                served.add(i)
                taken.add(j)
            if j not in claimed:
                claimed.add(j)
                claims.append(i)
        assert set(np.flatnonzero(matching.first_free(blocks, 12, 12) >= 0)) == served
        assert set(np.flatnonzero(matching.first_of_each(blocks, 12, 12) >= 0)) == set(claims)


@pytest.mark.parametrize(("protocol", "number"), [("ho_rcnn", 1500), ("ppdm", 3000)])
def test_memory_does_not_grow_with_the_square_of_an_images_pairs(protocol, number):
    pairs = [(0, 1, 1)] * number
    real = [truth("a", [MAN, CUP], pairs)]
    predictions = [found("a", [MAN, CUP], [(*p, k / number) for k, p in enumerate(pairs)])]
    tracemalloc.start()
    try:
        result = evaluate(predictions, real, protocol=protocol)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    scores = next(iter(result.settings.values()))
    assert scores.true_positives[HOLD_CUP] == (number if protocol == "ho_rcnn" else 1)
    assert peak < 160e6  # about the block; all matches at once took 230 and more


def test_four_objects_of_hico_det_have_the_references_figures():
    """Real annotation of all their classes, cut out by fixtures/make_evaluation.py."""
    fixture = read_json(Path(__file__).parents[1] / "fixtures" / "evaluation_hico.json.gz")
    for order in (fixture["predictions"], shuffled(fixture["predictions"], 2)):
        results = [
            hico.evaluate(order, fixture["ground_truth"], protocol=protocol)
            for protocol in ("no_frills", "ppdm")
        ]
        for setting, expected in fixture["expected"].items():
            scores = next(r for r in results if setting in r.settings)[setting]
            aps = scores.ap[[int(number) for number in expected]]
            np.testing.assert_allclose(aps, list(expected.values()), rtol=0, atol=1e-9)
    figures = [list(of.values()) for of in fixture["expected"].values()]
    assert figures[0] != figures[1] != figures[2] != figures[0], "the settings must differ"


def _reference(shared_dir):
    folder = shared_dir / "reference" / "eval"
    return (
        read_json(folder / "hico_predictions.json.gz"),
        read_json(shared_dir / "data" / "hico_det_test" / "test_hico.json.gz"),
        json.loads((folder / "expected_hico.json").read_text()),
    )


def _assert_agrees(scores, expected):
    aps = [np.nan if value is None else value for value in expected["AP"]]
    np.testing.assert_allclose(scores.ap, aps, rtol=0, atol=1e-9)
    for group, key in (("full", "mAP"), ("rare", "mAP_rare"), ("non_rare", "mAP_non_rare")):
        assert scores.means[group] == pytest.approx(expected[key], abs=1e-9)
    assert scores.invalid == expected.get("invalid", 0)


def test_agrees_with_the_reference_on_hico_det(shared_dir):
    predictions, ground_truth, expected = _reference(shared_dir)
    for order in (predictions, shuffled(predictions, 0)):
        result = hico.evaluate(order, ground_truth)
        for setting in ("default", "known_object"):
            _assert_agrees(result[setting], expected[setting])
    part = hico.evaluate(predictions, ground_truth[:500], unknown_images="ignore")
    for setting in ("default", "known_object"):
        _assert_agrees(part[setting], expected["first_500_images"][setting])


def test_agrees_with_the_reference_on_ppdms_protocol(shared_dir):
    predictions, ground_truth, expected = _reference(shared_dir)
    scores = hico.evaluate(shuffled(predictions, 1), ground_truth, protocol="ppdm")["ppdm"]
    _assert_agrees(scores, expected["ppdm"])
    np.testing.assert_allclose(scores.recall, expected["ppdm"]["recall"], rtol=0, atol=1e-9)
    assert scores.mean_recalls["full"] == pytest.approx(expected["ppdm"]["max_recall"], abs=1e-9)
    for column, key in (
        (scores.predictions, "n_pred"),
        (scores.true_positives, "n_tp"),
        (scores.ground_truth, "n_gt"),
    ):
        assert column.tolist() == expected["ppdm"][key]
