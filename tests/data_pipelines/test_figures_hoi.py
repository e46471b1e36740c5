"""The rendered data set: counts, boxes against pixels, and what box layout alone can tell."""

import collections
import dataclasses
import hashlib
import json
import random

import numpy as np
import pytest
from data_trees import examples
from PIL import Image, ImageChops

from data_pipelines.figures_hoi import FiguresHoi, FiguresHoiConfig, actions, plan, scenes
from data_pipelines.figures_hoi.shapes import paint
from ggnet_jax.errors import UserError

NUM_TRAIN, NUM_TEST = 1000, 300


@pytest.fixture(scope="module")
def composed():
    """The demo's scenes, by split."""
    numbers = {"train": NUM_TRAIN, "test": NUM_TEST}
    return {
        split: [scenes.compose(0, split, index) for index in range(number)]
        for split, number in numbers.items()
    }


def class_counts(some):
    return collections.Counter(
        (verb, scene.entities[obj].kind) for scene in some for _, obj, verb in scene.relations
    )


def test_an_image_depends_on_seed_split_and_index_alone():
    def digest(seed, split, index):
        return hashlib.sha256(scenes.render(scenes.compose(seed, split, index), 64).tobytes())

    keys = [(0, "train", 3), (1, "train", 3), (0, "test", 3), (0, "train", 4)]
    first = [digest(*key).hexdigest() for key in keys]
    assert first == [digest(*key).hexdigest() for key in keys]
    assert len(set(first)) == len(keys)


def test_size_changes_nothing_but_the_size():
    scene = scenes.compose(0, "train", 11)
    small, large = (scenes.entry(scene, "train", 11, size) for size in (128, 512))
    assert small["hoi_annotation"] == large["hoi_annotation"]
    for a, b in zip(small["annotations"], large["annotations"], strict=True):
        # The frame has pixel centers at whole numbers: edges are at 4 (x + 0.5) - 0.5.
        expected = np.clip(4 * (np.array(a["bbox"]) + 0.5) - 0.5, 0, 511)
        np.testing.assert_allclose(b["bbox"], expected, atol=1.6)
    image = scenes.render(scene, 512).resize((128, 128), Image.Resampling.BOX)
    difference = np.abs(np.asarray(image, float) - np.asarray(scenes.render(scene, 128), float))
    assert difference.mean() < 2.0


def test_classes_and_rare_flags_are_those_of_the_annotation(composed):
    words = scenes.vocabulary()
    names = [(words.verbs[v], words.objects[o]) for v, o in words.classes]
    train, test = class_counts(composed["train"]), class_counts(composed["test"])
    assert set(names) == set(train) == set(test)
    assert len(names) >= 12
    assert len({verb for verb, _ in names}) >= 6
    assert len({kind for _, kind in names}) >= 5
    assert words.rare == tuple(train[name] < 10 for name in names)
    assert sum(words.rare) >= 3
    common = [name for name, rare in zip(names, words.rare, strict=True) if not rare]
    assert min(train[name] for name in common) >= 90
    assert min(test.values()) >= 5
    for name, rare in zip(names, words.rare, strict=True):
        if rare:  # made of parts that are common elsewhere
            assert train[name] >= 4
            assert name[0] in {verb for verb, _ in common}
            assert name[1] in {kind for _, kind in common}


def test_rare_classes_stay_rare_in_a_larger_set():
    more = [plan._rare_class("train", index) for index in range(NUM_TRAIN, 5 * NUM_TRAIN)]
    assert set(more) == {None}


def test_images_hold_one_to_four_people_and_objects_busy_and_not(composed):
    people, objects, seen = set(), set(), collections.Counter()
    for scene in composed["train"]:
        kinds = [entity.kind for entity in scene.entities]
        people.add(kinds.count("person"))
        objects.add(len(kinds) - kinds.count("person"))
        busy = collections.Counter(person for person, _, _ in scene.relations)
        used = {obj for _, obj, _ in scene.relations}
        seen["nothing happens"] += not scene.relations
        seen["two at once"] += max(busy.values(), default=0) == 2
        for index, kind in enumerate(kinds):
            seen["idle person"] += kind == "person" and index not in busy
            seen["idle object"] += kind != "person" and index not in used
    assert people == {1, 2, 3, 4}
    assert objects == {1, 2, 3, 4}
    assert seen["nothing happens"] >= 20
    assert min(seen[what] for what in ("two at once", "idle person", "idle object")) >= 100


def test_no_image_is_in_both_splits(composed):
    digests = [
        hashlib.sha256(scenes.render(scene, 32).tobytes()).digest()
        for split in ("train", "test")
        for scene in composed[split]
    ]
    assert len(set(digests)) == NUM_TRAIN + NUM_TEST


def pixels_of(shapes, size, over):
    """Extent of what is painted, in the frame with pixel centers at whole numbers."""
    image = Image.new("RGB", (size * over, size * over), (1, 2, 3))
    empty = image.copy()
    paint(shapes, image, size * over)
    bounds = ImageChops.difference(image, empty).getbbox()
    assert bounds is not None
    return np.clip(np.array(bounds) / over - 0.5, 0, size - 1)


def test_boxes_are_tight_around_the_pixels(composed):
    for scene in composed["test"][:60]:
        for entity in scene.entities:
            painted = pixels_of(entity.shapes, 128, 8)
            np.testing.assert_allclose(scenes.box(entity, 128), painted, atol=0.4)


def pixels_without(scene, shapes):
    """[n, 2] (x, y) of the pixels that change when some shapes are not painted."""
    layers = tuple(tuple(s for s in layer if s not in shapes) for layer in scene.layers)
    image, without = (
        np.asarray(scenes.render(s, 128), int)
        for s in (scene, dataclasses.replace(scene, layers=layers))
    )
    return np.argwhere(np.abs(image - without).sum(-1) > 30)[:, ::-1]


def test_boxes_fit_the_finished_image(composed):
    """Take an entity out of the image: what changes lies in its box, and reaches its sides."""
    checked = 0
    for scene in composed["test"]:
        if len(scene.entities) != 2 or not scene.relations:
            continue
        for entity in scene.entities:
            changed = pixels_without(scene, set(entity.shapes))
            changed = np.concatenate([changed.min(axis=0), changed.max(axis=0)])
            inside = np.array([1, 1, -1, -1]) * (changed - np.array(scenes.box(entity, 128)))
            assert inside.min() > -1.0
            if entity.kind == "person":  # objects may hide behind people
                assert inside.max() < 2.5
                checked += 1
    assert checked >= 10


# What box layout tells, and what limbs tell.


def layout(scene, person, obj):
    """The two boxes against each other, as the annotation has them."""
    a, b = (np.array(scenes.box(scene.entities[k], 128)) for k in (person, obj))
    size_a, size_b = a[2:] - a[:2], b[2:] - b[:2]
    shift = (a[:2] + a[2:] - b[:2] - b[2:]) / 2 / size_b
    return np.concatenate([shift, np.log(size_a / size_b), np.log(size_a[:1] / size_a[1:])])


def limbs(scene, person):
    """The joints within the person's own box."""
    entity = scene.entities[person]
    x1, y1, x2, y2 = entity.extent()
    x, y = np.array([(joint.real, joint.imag) for joint in entity.pose.joints()]).T
    return np.concatenate([(x - x1) / (x2 - x1), (y - y1) / (y2 - y1)])


def accuracy(features, labels, neighbors=9):
    """Five-fold accuracy of the better of nearest neighbors and quadratic regression."""
    x = np.asarray(features)
    x = (x - x.mean(0)) / x.std(0)
    quadratic = np.concatenate([np.ones((len(x), 1)), x, x**2], 1)
    names, y = np.unique(labels, return_inverse=True)
    one_hot = np.eye(len(names))[y]
    fold = np.arange(len(x)) % 5
    right = np.zeros(2)
    for k in range(5):
        train, test = fold != k, fold == k
        distance = ((x[test, None] - x[None, train]) ** 2).sum(-1)
        nearest = np.argsort(distance, 1)[:, :neighbors]
        right[0] += (one_hot[train][nearest].sum(1).argmax(1) == y[test]).sum()
        weights = np.linalg.lstsq(quadratic[train], one_hot[train], rcond=None)[0]
        right[1] += ((quadratic[test] @ weights).argmax(1) == y[test]).sum()
    return right.max() / len(x), np.bincount(y).max() / len(y)


@pytest.fixture(scope="module")
def pairs():
    """Layout, limbs and verb of every pair of a set larger than the demo's, by kind of object."""
    found = collections.defaultdict(list)
    for index in range(2000):
        scene = scenes.compose(1, "train", index)
        for person, obj, verb in scene.relations:
            row = (layout(scene, person, obj), limbs(scene, person), verb)
            found[scene.entities[obj].kind].append(row)
    return found


@pytest.mark.parametrize(
    ("kind", "verbs"),
    [("bicycle", ("ride", "push", "repair")), ("dog", ("walk", "pet"))],
)
def test_limbs_tell_verbs_apart_that_box_layout_cannot(pairs, kind, verbs):
    rows = [row for row in pairs[kind] if row[2] in verbs]
    assert len(rows) > 250
    labels = [row[2] for row in rows]
    by_layout, chance = accuracy([row[0] for row in rows], labels)
    by_limbs, _ = accuracy([row[1] for row in rows], labels)
    assert by_layout < chance + 0.07
    assert by_limbs > 0.97


@pytest.mark.parametrize(
    ("at", "verbs", "extra"),
    [
        (actions.at_bicycle, ("ride", "push", "repair", None), ("hold", "umbrella")),
        (actions.at_dog, ("walk", "pet", None), ("drink_with", "cup")),
        (actions.at_chair, ("push", "repair", None), None),
        (actions.at_ball, ("kick", None), None),
    ],
)
def test_one_draw_gives_every_verb_the_same_boxes(at, verbs, extra):
    for seed in range(40):
        groups = [at(verb, random.Random(seed)) for verb in verbs]
        if extra is not None:
            groups.append(at(verbs[0], random.Random(seed), extra))
        boxes = [[entity.extent() for entity in group.entities[:2]] for group in groups]
        for other in boxes[1:]:
            np.testing.assert_allclose(other, boxes[0], atol=0.008)  # a person is 1 tall


def test_box_layout_does_tell_other_verbs_apart(pairs):
    """The classifier is no straw man: it reads kick, throw and hold off the boxes."""
    rows = pairs["sports_ball"]
    assert accuracy([row[0] for row in rows], [row[2] for row in rows])[0] > 0.95


def test_evidence_of_flying_a_kite_is_far_from_the_midpoint(composed):
    """Nothing but a hand and a string says who flies; both stay off the interaction point."""
    seen = 0
    for scene in composed["train"]:
        for person, obj, verb in scene.relations:
            if verb != "fly":
                continue
            boxes = [np.array(scenes.box(scene.entities[k], 128)) for k in (person, obj)]
            middle = sum((box[:2] + box[2:]) / 4 for box in boxes)
            hand = scene.entities[person].pose.near_arm[2]
            hand = np.array([hand.real, hand.imag]) * 128 - 0.5
            entities = {shape for entity in scene.entities for shape in entity.shapes}
            props = {shape for layer in scene.layers for shape in layer} - entities
            if [v for _, _, v in scene.relations].count("fly") == 1:
                string = pixels_without(scene, props)
                assert np.linalg.norm(string - hand, axis=1).min() < 6  # it ends in the hand
                assert np.linalg.norm(string - middle, axis=1).min() > 6
            assert np.linalg.norm(hand - middle) > 8
            seen += 1
        if seen >= 30:
            return


# The builder.


def test_builder_writes_what_the_scenes_say(tmp_path):
    config = FiguresHoiConfig(size=64, num_train=5, num_test=3)
    builder = FiguresHoi(data_dir=tmp_path, config=config)
    builder.download_and_prepare()
    for split, number in (("train", 5), ("test", 3)):
        found = examples(builder, split)
        assert len(found) == number
        for index, example in enumerate(found):
            scene = scenes.compose(0, split, index)
            entry = json.loads(example["annotation"])
            assert entry == scenes.entry(scene, split, index, 64)
            assert example["image"].shape == (64, 64, 3)
            np.testing.assert_array_equal(example["image"], np.asarray(scenes.render(scene, 64)))
            boxes = [box["bbox"] for box in entry["annotations"]]
            np.testing.assert_allclose(example["boxes"], boxes, atol=1e-4)
            words = builder.load_vocabulary()
            said = [(h, o, words.verbs[v]) for h, o, v in example["relations"]]
            assert said == list(scene.relations)


def test_configs_do_not_share_a_folder(tmp_path):
    folders = {
        FiguresHoi(data_dir=tmp_path, config=FiguresHoiConfig(**fields)).data_dir
        for fields in ({}, {"size": 256}, {"num_train": 7}, {"num_test": 7}, {"seed": 1})
    }
    assert len(folders) == 5


@pytest.mark.parametrize("fields", [{"size": 0}, {"num_train": 0}, {"num_test": 2.5}, {"seed": -1}])
def test_a_bad_field_is_named(fields):
    with pytest.raises(UserError, match=f"figures_hoi: {next(iter(fields))}="):
        FiguresHoiConfig(**fields)


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'val'"):
        scenes.compose(0, "val", 0)
