"""The numbering of a file's ids, told by the pairs that are classes."""

from collections import Counter

import numpy as np
import pytest

from ggnet_jax import vocabularies
from ggnet_jax.io import read_json
from ggnet_jax.vocabularies.numbering import recognize

# (verb-role, object) pairs with PPDM's and VSRL's verb ids and COCO's object ids.
PAIRS = {
    ("hold_obj", "umbrella"): (25, 0, 28),
    ("ride_instr", "bicycle"): (5, 3, 2),
    ("sit_instr", "chair"): (10, 2, 62),
    ("look_obj", "laptop"): (18, 5, 73),
    ("cut_instr", "knife"): (2, 16, 49),
    ("eat_obj", "cake"): (9, 8, 61),
    ("snowboard_instr", "snowboard"): (21, 28, 36),
}


def renumbered(vocabulary, verb=lambda index: None, obj=lambda index: None):
    """Each class once; the functions give the id of an index, None for the own."""
    pairs = Counter()
    for v, o in vocabulary.classes:
        ids = verb(v), obj(o)
        own = vocabulary.verb_ids[v], vocabulary.object_ids[o]
        pairs[tuple(b if a is None else a for a, b in zip(ids, own, strict=True))] += 1
    return pairs


@pytest.mark.parametrize(("column", "converted"), [(0, False), (1, True)])
def test_v_coco_is_told_by_its_pairs_in_ppdms_numbering_and_in_vsrls(column, converted):
    v_coco = vocabularies.load("v_coco")
    numbering = recognize(Counter((ids[column], ids[2]) for ids in PAIRS.values()), v_coco)
    assert not numbering.problem
    assert "7 of 7 pairs are classes" in numbering.note
    assert ("VSRL's order" in numbering.note) == converted
    # Of the verbs that have no object: stand, walk, run and smile.
    other = np.array([1, 4, 18, 23] if converted else [27, 3, 22, 17])
    np.testing.assert_array_equal(numbering.convert(other), [27, 3, 22, 17])
    given = np.array([[ids[column] for ids in PAIRS.values()]])
    np.testing.assert_array_equal(numbering.convert(given), [[ids[0] for ids in PAIRS.values()]])


def test_an_id_without_a_counterpart_is_none():
    pairs = Counter((ids[1], ids[2]) for ids in PAIRS.values())
    numbering = recognize(pairs, vocabularies.load("v_coco"))
    np.testing.assert_array_equal(numbering.convert(np.array([29, -1, 0])), [-1, -1, 25])
    assert len(numbering.convert(np.array([], np.int64))) == 0


@pytest.mark.parametrize("name", ["hico_det", "v_coco", "figures_hoi"])
def test_every_shipped_vocabulary_fits_its_own_classes(name):
    vocabulary = vocabularies.load(name)
    numbering = recognize(renumbered(vocabulary), vocabulary)
    assert (numbering.verbs, numbering.problem, numbering.fit) == (None, "", 1.0)


@pytest.mark.parametrize("name", ["hico_det", "v_coco"])
@pytest.mark.parametrize(
    ("verb", "obj", "cause"),
    [
        (lambda v, own: own.verb_ids[v] + 1, None, "verb ids are one too high"),
        (lambda v, own: v, None, "in the vocabulary's order"),
        (None, lambda o, own: o, "object ids are 0 to 79 in the vocabulary's order"),
        (None, lambda o, own: o + 1, "object ids are 1 to 80 in the vocabulary's order"),
        (None, lambda o, own: own.object_ids[o] - 1, "object ids are one too low"),
        (None, lambda o, own: sorted(own.objects).index(own.objects[o]), "in alphabetical order"),
        (lambda v, own: v, lambda o, own: o, "and object ids are 0 to 79"),
        (lambda v, own: 5 * v % 117, None, "check that verb and object ids are numbered"),
    ],
)
def test_another_numbering_is_a_problem_that_names_it(name, verb, obj, cause):
    own = vocabularies.load(name)
    pairs = renumbered(
        own, *((lambda i, f=f: None if f is None else f(i, own)) for f in (verb, obj))
    )
    numbering = recognize(pairs, own)
    assert cause in numbering.problem
    assert numbering.verbs is None
    assert "\n" not in numbering.problem


def test_some_pairs_that_are_no_classes_are_no_other_numbering():
    hico = vocabularies.load("hico_det")
    pairs = renumbered(hico)
    pairs.update({(verb, obj): 1 for verb in range(1, 8) for obj in hico.object_ids[40:]})
    assert not recognize(pairs, hico).problem
    # One of two or three pairs alone says nothing.
    assert not recognize({(5, 5): 1, (5, 90): 1}, hico).problem


def test_predictions_may_be_wrong_but_not_in_another_numbering():
    v_coco = vocabularies.load("v_coco")
    right = {(ids[0], ids[2]): 0.9 for ids in PAIRS.values()}
    noise = {(verb, obj): 0.01 for verb in v_coco.verb_ids for obj in v_coco.object_ids}
    for pairs in (right, noise, {**noise, **right}, {(25, 90): 0.9}, {(0, 28): 0.5}):
        numbering = recognize(pairs, v_coco, predicted=True)
        assert (numbering.verbs, numbering.problem) == (None, "")
    other = {(ids[1], ids[2]): 0.9 for ids in PAIRS.values()}
    assert recognize({**{k: 0.001 for k in noise}, **other}, v_coco, predicted=True).verbs
    hico = vocabularies.load("hico_det")
    shifted = {(verb - 1, obj): 0.3 for verb, obj in renumbered(hico)}
    assert "0 to 116" in recognize(shifted, hico, predicted=True).problem


def test_without_any_pair_there_is_nothing_to_tell():
    v_coco = vocabularies.load("v_coco")
    for pairs in ({}, {(0, 28): 0.0}):
        numbering = recognize(pairs, v_coco)
        assert (numbering.verbs, numbering.note, numbering.problem) == (None, "", "")


def test_real_files_and_qpics(shared_dir):
    v_coco = vocabularies.load("v_coco")

    def pairs(path):
        return Counter(
            (pair["category_id"], entry["annotations"][pair["object_id"]]["category_id"])
            for entry in read_json(shared_dir / path)
            for pair in entry["hoi_annotation"]
            if pair["object_id"] >= 0
        )

    real = pairs("data/vcoco/val_vcoco.json.gz")
    order = read_json(shared_dir / "cases" / "qpic_vcoco" / "qpic_names.json")
    qpic = dict(zip(v_coco.verb_ids, map(order.index, v_coco.verbs), strict=True))
    assert recognize(real, v_coco).verbs is None
    converted = recognize(Counter({(qpic[v], o): n for (v, o), n in real.items()}), v_coco).verbs
    assert converted is not None and all(converted[qpic[own]] == own for own in v_coco.verb_ids)
    for name in ("test", "trainval"):
        numbering = recognize(pairs(f"cases/qpic_vcoco/{name}_vcoco.json"), v_coco)
        assert "23 of 23 pairs are classes so, 2 of 23 pairs" in numbering.note
    hico = recognize(pairs("data/hico_det_test/test_hico.json.gz"), vocabularies.load("hico_det"))
    assert (hico.verbs, hico.note, hico.problem) == (None, "", "")
