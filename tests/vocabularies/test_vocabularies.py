"""The shipped class lists, and those computed from anyone's annotation."""

import dataclasses
import json

import numpy as np
import pytest

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

ENTRIES = [
    {
        "annotations": [
            {"bbox": [0, 0, 9, 9], "category_id": 7},
            {"bbox": [0, 0, 9, 9], "category_id": 3},
            {"bbox": [0, 0, 9, 9], "category_id": "9\n"},
        ],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 1, "category_id": 2},
            {"subject_id": 0, "object_id": 1, "category_id": "1\n"},
            {"subject_id": 0, "object_id": 2, "category_id": 2},
        ],
    },
    {
        "annotations": [{"bbox": [0, 0, 9, 9], "category_id": 3}, {"bbox": [], "category_id": 8}],
        "hoi_annotation": [
            {"subject_id": 0, "object_id": 0, "category_id": 2},
            {"subject_id": 0, "object_id": 5, "category_id": 2},  # points nowhere
            {"subject_id": 0, "object_id": -1, "category_id": 2},
            {"subject_id": 0, "object_id": 0, "category_id": 4},  # no such verb
            {"subject_id": 0, "object_id": 1, "category_id": 2},  # no such object
            {"subject_id": 0, "object_id": 0},
        ],
    },
    {},
]
OBJECTS = {3: "cup", 7: "person", 9: "dog"}
VERBS = {1: "wash", 2: "hold"}


def own(entries=ENTRIES, **kwargs):
    return vocabularies.from_annotations(entries, OBJECTS, VERBS, **kwargs)


def test_hico_det():
    hico = vocabularies.load("hico_det")
    assert (hico.num_verbs, hico.num_objects, hico.num_classes) == (117, 80, 600)
    assert (sum(hico.rare), len(hico.rare) - sum(hico.rare)) == (138, 462)
    assert hico.objects[0] == "person" and hico.object_ids[0] == 1
    assert hico.object_ids[-1] == 90
    assert hico.verb_phrase(*hico.classes[0]) == "board airplane"
    assert hico.verb_phrase(*hico.classes[-1]) == "no interaction zebra"
    assert hico.verb_ids == tuple(range(1, 118))
    assert sum(hico.verbs[verb] == "no_interaction" for verb, _ in hico.classes) == 80


def test_v_coco():
    v_coco = vocabularies.load("v_coco")
    assert (v_coco.num_verbs, v_coco.num_objects, v_coco.num_classes) == (25, 80, 236)
    assert v_coco.rare is None
    assert sorted(set(range(29)) - set(v_coco.verb_ids)) == [3, 17, 22, 27]
    assert v_coco.objects == vocabularies.load("hico_det").objects
    assert v_coco.object_ids == vocabularies.load("hico_det").object_ids
    point = v_coco.verb_index(23)
    assert v_coco.verbs[point] == "point_instr"
    assert not v_coco.valid_pairs[point].any()
    assert v_coco.valid_pairs.any(axis=1).sum() == 24


def test_shipped_lists_are_the_facts(shared_dir):
    facts = json.loads((shared_dir / "data" / "hico_classes.json").read_text())
    hico = vocabularies.load("hico_det")
    assert list(hico.verbs) == [verb["name"] for verb in facts["verbs"]]
    assert list(hico.objects) == [obj["name"] for obj in facts["objects"]]
    for (verb, obj), rare, row in zip(hico.classes, hico.rare, facts["hoi_classes"], strict=True):
        ours = (hico.verb_ids[verb], hico.object_ids[obj], hico.objects[obj], rare)
        assert ours == (row["verb_id"], row["coco_id"], row["object"], row["rare"])

    facts = json.loads((shared_dir / "data" / "vcoco_classes.json").read_text())
    v_coco = vocabularies.load("v_coco")
    assert list(v_coco.verb_ids) == facts["class_order"]
    names = {role["id"]: role["name"] for role in facts["verb_roles"]}
    assert [names[number] for number in v_coco.verb_ids] == list(v_coco.verbs)
    pairs = [(v_coco.verb_ids[verb], v_coco.object_ids[obj]) for verb, obj in v_coco.classes]
    for part, key in ((pairs[:218], "pairs_train_val"), (pairs[218:], "pairs_test_only")):
        assert set(part) == {(row["verb_role_id"], row["coco_id"]) for row in facts[key]}


@pytest.mark.parametrize("name", vocabularies.names())
def test_every_shipped_vocabulary_survives_its_file(name, tmp_path):
    vocabulary = vocabularies.load(name)
    assert vocabulary.name == name
    vocabulary.save(tmp_path / "v.json")
    assert vocabularies.load(tmp_path / "v.json") == vocabulary
    assert Vocabulary.from_dict(vocabulary.to_dict() | {"verbs_of_object": []}) == vocabulary
    assert hash(vocabulary) == hash(vocabularies.load(name))
    assert vocabulary.valid_pairs.sum() == vocabulary.num_classes
    for index, (verb, obj) in enumerate(vocabulary.classes):
        assert vocabulary.class_index[verb, obj] == index
    for index, category in enumerate(vocabulary.object_ids):
        assert vocabulary.object_index(category) == index
    for index, category in enumerate(vocabulary.verb_ids):
        assert vocabulary.verb_index(category) == index


def test_all_three_are_shipped():
    assert set(vocabularies.names()) == {"hico_det", "v_coco", "figures_hoi"}


@pytest.mark.parametrize(
    ("verb", "obj", "phrase"),
    [
        ("ride_instr", "bicycle", "ride bicycle"),
        ("cut_instr", "knife", "cut with knife"),
        ("cut_obj", "cake", "cut cake"),
        ("talk_on_phone_instr", "cell_phone", "talk on phone cell phone"),
        ("hold_obj", "sports_ball", "hold sports ball"),
    ],
)
def test_v_coco_phrases(verb, obj, phrase):
    v_coco = vocabularies.load("v_coco")
    names = {name.replace(" ", "_"): index for index, name in enumerate(v_coco.objects)}
    assert v_coco.verb_phrase(v_coco.verbs.index(verb), names[obj]) == phrase


def test_own_data_has_the_person_first_and_its_classes_from_the_annotation():
    vocabulary = own(rare_below=2)
    assert vocabulary.objects == ("person", "cup", "dog")
    assert vocabulary.object_ids == (7, 3, 9)
    assert vocabulary.verbs == ("wash", "hold")
    assert [vocabulary.verb_phrase(*pair) for pair in vocabulary.classes] == [
        "wash cup",
        "hold cup",
        "hold dog",
    ]
    assert vocabulary.rare == (True, False, True)


def test_rare_is_fewer_than_ten():
    relation = {"subject_id": 0, "object_id": 1, "category_id": 1}
    entry = {"annotations": ENTRIES[0]["annotations"], "hoi_annotation": [relation]}
    assert own([entry] * 9).rare == (True,)
    assert own([entry] * 10).rare == (False,)
    assert own([entry] * 5 + [{**entry, "hoi_annotation": [relation] * 5}]).rare == (False,)


def test_pairs_of_other_splits_are_rare_classes():
    vocabulary = own(ENTRIES[1:2], evaluation_entries=ENTRIES, rare_below=1)
    assert vocabulary.classes == own().classes
    assert vocabulary.rare == (True, False, True)


def test_names_alone_have_the_ids_from_one():
    vocabulary = vocabularies.from_annotations([], ["cup", "human"], ["hold"], person="human")
    assert vocabulary.objects == ("human", "cup")
    assert vocabulary.object_ids == (2, 1)
    assert vocabulary.verb_ids == (1,)
    assert vocabulary.classes == () and vocabulary.rare == ()


def test_ids_may_be_text_as_in_json():
    assert (
        vocabularies.from_annotations(
            ENTRIES, {str(k): v for k, v in OBJECTS.items()}, {str(k): v for k, v in VERBS.items()}
        )
        == own()
    )


def test_pairs_seen_counts_only_real_pairs():
    expected = np.zeros((3, 2), bool)
    expected[1, 0] = expected[1, 1] = expected[2, 1] = True
    np.testing.assert_array_equal(vocabularies.pairs_seen(ENTRIES, own()), expected)


def test_pairs_seen_in_v_cocos_training_images(shared_dir):
    from ggnet_jax.evaluation.reading import iterate

    v_coco = vocabularies.load("v_coco")
    files = [shared_dir / "data" / "vcoco" / f"{part}_vcoco.json.gz" for part in ("train", "val")]
    seen = [vocabularies.pairs_seen(iterate(path, "annotation"), v_coco) for path in files]
    assert seen[0].sum() == 192
    assert (seen[0] | seen[1]).sum() == 218
    assert not (seen[0] & ~v_coco.valid_pairs.T).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object_ids": (1, 2)}, "3 objects but 2 object ids"),
        ({"verbs": ()}, "has no verb"),
        ({"verbs": ("hold", "hold")}, "verb name 'hold' twice"),
        ({"object_ids": (7, 3, 7)}, "object id 7 twice"),
        ({"classes": ((0, 1), (2, 0))}, r"class \(2, 0\) is outside of 2 verbs"),
        ({"classes": ((0, -1),)}, r"class \(0, -1\) is outside"),
        ({"classes": ((0, 1),) * 2}, "class twice"),
        ({"rare": (True,)}, "3 classes but 1 rare flags"),
    ],
)
def test_lists_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(own(), **change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objects", "person"),
        ("objects", ["person", None, "dog"]),
        ("object_ids", [1, 2.5, 3]),
        ("verb_ids", [True]),
        ("verb_ids", ["1"]),
        ("classes", [[0, 1, 2]]),
        ("classes", [[0, 1.5]]),
        ("classes", [3]),
        ("rare", [2]),
        ("rare", ["x"]),
        ("rare", 0),
    ],
)
def test_a_field_of_another_kind_is_named(field, value):
    """What can be turned into a number or a text is not the number or text that was meant."""
    fields = {
        "name": "n", "objects": ["person", "cup", "dog"], "object_ids": [1, 2, 3],
        "verbs": ["hold"], "verb_ids": [1], "classes": [[0, 1]], "rare": [0],
    }  # fmt: skip
    assert Vocabulary.from_dict(fields | {"rare": [True]}).rare == (True,)
    with pytest.raises(UserError, match=f"not a vocabulary: .*{field}"):
        Vocabulary.from_dict(fields | {field: value})
    with pytest.raises(UserError, match=r"'n' has the verb id 1000\S*; ids are smaller"):
        Vocabulary.from_dict(fields | {"verb_ids": [10**40]})


def test_unknown_ids_and_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"object category_id 12 .* 80 of 'hico_det'"):
        vocabularies.load("hico_det").object_index(12)
    with pytest.raises(UserError, match=r"verb category_id \[\] .* 25 of 'v_coco'"):
        vocabularies.load("v_coco").verb_index([])
    with pytest.raises(UserError, match=r"'hico'.*hico_det"):
        vocabularies.load("hico")
    with pytest.raises(UserError, match="no 'person'"):
        vocabularies.from_annotations([], ["cup"], ["hold"])
    with pytest.raises(UserError, match="object id 'x' is not a whole number"):
        vocabularies.from_annotations([], {"x": "person"}, ["hold"])
    for text, message in (
        ("{", "not JSON"),
        ("{}", "field 'name'"),
        ("[]", "not a vocabulary"),
        ('{"name": "n", "objects": 3}', "needs the field 'object_ids' .it has 'name', 'objects'"),
    ):
        (tmp_path / "v.json").write_text(text)
        with pytest.raises(UserError, match=rf"v\.json.*{message}"):
            vocabularies.load(tmp_path / "v.json")


def test_class_index_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        vocabularies.load("v_coco").class_index[0, 0] = 5
