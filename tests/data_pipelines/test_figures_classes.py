"""The rendered data set with a part of its classes annotated."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from data_trees import examples

from configs import fine_tuning
from data_pipelines.figures_hoi import FiguresHoi, FiguresHoiConfig, classes, scenes
from ggnet_jax.errors import UserError

SOME = {"objects": ["cup", "person", "Sports Ball"], "verbs": ["drink with", "hold", "throw"]}


def class_file(folder, fields=SOME):
    path = folder / "some.json"
    path.write_text(json.dumps(fields))
    return str(path)


def test_names_choose_classes_in_the_sets_own_order(tmp_path):
    chosen = classes.load(class_file(tmp_path))
    assert chosen is not None
    assert chosen.objects == ("person", "sports_ball", "cup")
    assert chosen.object_ids == (1, 37, 47)
    pairs = {(chosen.verbs[verb], chosen.objects[obj]) for verb, obj in chosen.classes}
    assert pairs == {
        ("hold", "sports_ball"), ("hold", "cup"), ("throw", "sports_ball"), ("drink_with", "cup"),
    }  # fmt: skip
    assert chosen.rare == (False,) * 4
    # Ids and names, and a whole vocabulary, say the same.
    whole = scenes.vocabulary()
    by_id = {
        "objects": {"1": "person", "37": "sports_ball", "47": "cup"},
        "verbs": {str(whole.verb_ids[whole.verbs.index(v)]): v for v in chosen.verbs},
    }
    assert classes.load(class_file(tmp_path, by_id)) == chosen
    chosen.save(tmp_path / "some.json")
    assert classes.load(str(tmp_path / "some.json")) == chosen


def test_half_of_the_classes():
    half = classes.load(str(fine_tuning.HALF))
    assert half is not None and half.num_classes == 10
    assert classes.load("") is classes.load("figures_hoi") is None


def test_what_is_not_chosen_is_drawn_and_not_annotated(tmp_path):
    """Against the scenes themselves; the images are those of the whole set."""
    config = SimpleNamespace(
        data_dir=str(tmp_path / "data"),
        get={"figures": {"size": 64, "num_train": 24, "num_test": 2},
             "vocabulary": class_file(tmp_path)}.get,
    )  # fmt: skip
    builder = FiguresHoi.from_config(config)
    builder.download_and_prepare()
    words = builder.load_vocabulary()
    seen = set()
    for index, example in enumerate(examples(builder, "train")):
        scene = scenes.compose(0, "train", index)
        np.testing.assert_array_equal(example["image"], np.asarray(scenes.render(scene, 64)))
        kinds = [entity.kind for entity in scene.entities]
        assert [words.objects[c] for c in example["classes"]] == [
            kind for kind in kinds if kind in words.objects
        ]
        expected = [
            (scenes.box(scene.entities[p], 64), verb, scenes.box(scene.entities[o], 64))
            for p, o, verb in scene.relations
            if verb in words.verbs and kinds[o] in words.objects
        ]
        found = [
            (example["boxes"][h], words.verbs[v], example["boxes"][o])
            for h, o, v in example["relations"]
        ]
        assert [verb for _, verb, _ in found] == [verb for _, verb, _ in expected]
        for (human, _, obj), (person, _, thing) in zip(found, expected, strict=True):
            np.testing.assert_allclose(human, person, atol=1e-4)
            np.testing.assert_allclose(obj, thing, atol=1e-4)
        seen |= {verb for _, verb, _ in found}
    assert seen == {"drink_with", "hold", "throw"}


def test_other_classes_have_another_folder(tmp_path):
    folders = set()
    for fields in (SOME, SOME | {"verbs": ["hold"]}, None):
        chosen = None if fields is None else classes.load(class_file(tmp_path, fields))
        config = FiguresHoiConfig(classes=chosen)
        folders.add(FiguresHoi(data_dir=tmp_path, config=config).data_dir)
    assert len(folders) == 3 and any(folder.endswith("seed0/1.0.0") for folder in folders)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verbs": ["hold", "paint"]}, "the verb 'paint', which figures_hoi has not; it has ride,"),
        ({"objects": ["cup", "chair"]}, "lacks the object 'person'; add it"),
        ({"objects": {"1": "person", "2": "cup"}}, "the object 'cup' the id '2'; in figures_hoi"),
        ({"objects": "person"}, "objects is 'person'; a class list is"),
        ({"verbs": ["pet"]}, "leaves no class"),
        ({"verbs": [["hold"]]}, "which figures_hoi has not"),
    ],
)
def test_wrong_class_lists_are_named(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        classes.load(class_file(tmp_path, SOME | changes))


@pytest.mark.parametrize("name", ["hico_det", "gone.json"])
def test_classes_of_another_set(name):
    with pytest.raises(UserError, match=f"{name} is no class list for figures_hoi"):
        classes.load(name)
