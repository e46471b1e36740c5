"""Batches of a small data set against what NumPy says they should be."""

import numpy as np
import pytest
from absl import logging as absl_logging
from augment_oracle import released_matrix, slow_color, slow_warp
from data_trees import own_config
from PIL import Image

import data_pipelines
from data_pipelines import augment, padding, records
from ggnet_jax.errors import UserError

NUMBER = 11  # training images: two batches of 4 an epoch and three left over
SIZE = (32, 48)  # height, width of the input
CLASSES = {"objects": {"1": "person", "5": "kite"}, "verbs": {"3": "fly", "4": "hold"}}


def write_split(folder, split, number, rng):
    """Noise images of many sizes, each with a person, up to three kites and some relations."""
    entries = []
    for index in range(number):
        width, height = (int(side) for side in rng.integers(20, 60, 2))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        name = f"{split}_{index}.png"
        Image.fromarray(pixels).save(folder / name)
        low = rng.uniform(0, 8, (1 + index % 4, 2))
        high = rng.uniform(9, 19, low.shape)
        boxes = [
            {"bbox": [*map(float, (*a, *b))], "category_id": 5 if n else 1}
            for n, (a, b) in enumerate(zip(low, high, strict=True))
        ]
        relations = [
            {"subject_id": 0, "object_id": n, "category_id": 3 + (n + index) % 2}
            for n in range(1, len(boxes))
        ]
        entries.append({"file_name": name, "annotations": boxes, "hoi_annotation": relations})
    return entries


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(config, entries of both splits, folder) of a data set that is built once."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    entries = {
        split: write_split(folder / "images", split, number, rng)
        for split, number in (("train", NUMBER), ("test", 6))
    }
    config = own_config(folder, **entries, classes=CLASSES)
    config.update(batch_size=4)
    config.eval.update(batch_size=4)
    config.data.update(image_size=SIZE, max_boxes=6, max_relations=5)
    return config, entries, folder


@pytest.fixture(scope="module")
def dataset(made):
    return data_pipelines.load_dataset(made[0].data)


@pytest.fixture
def config(made):
    """A copy that a test may change."""
    return made[0].copy_and_resolve_references()


def train(dataset, config, number, **options):
    """The first training batches."""
    batches = data_pipelines.train_batches(dataset, config, **options)
    return [next(batches) for _ in range(number)]


def assert_equal(expected, found):
    """Lists of batches that agree to the last bit."""
    for one, two in zip(expected, found, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def pixels_of(folder, split, index):
    return np.asarray(Image.open(folder / "images" / f"{split}_{index}.png"))


def expected_boxes(entry, matrix):
    """[n, 4] in map cells; a mirrored box has its sides exchanged."""
    boxes = np.array([box["bbox"] for box in entry["annotations"]])
    corners = boxes.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1) / 4


def test_shapes_and_types_are_those_promised(dataset, config):
    (training,) = train(dataset, config, 1)
    evaluation = next(data_pipelines.eval_batches(dataset, config, "test"))
    for batch, image in ((training, np.float32), (evaluation, np.uint8)):
        found = {name: (value.shape, value.dtype) for name, value in batch.items()}
        assert found == {
            "image": ((4, *SIZE, 3), image),
            "boxes": ((4, 6, 4), np.float32),
            "classes": ((4, 6), np.int32),
            "box_valid": ((4, 6), bool),
            "relations": ((4, 5, 3), np.int32),
            "relation_valid": ((4, 5), bool),
            "example_weight": ((4,), np.float32),
            "image_id": ((4,), np.int32),
            "size": ((4, 2), np.int32),
        }


def test_the_data_set_knows_its_classes_and_pairs(dataset):
    assert dataset.num_train == NUMBER and dataset.num_eval == 6
    assert dataset.vocabulary.objects == ("person", "kite")
    np.testing.assert_array_equal(dataset.verbs_of_object, [[False, False], [True, True]])
    assert dataset.verb_counts.sum() == sum(index % 4 for index in range(NUMBER))


def test_evaluation_shows_whole_images_in_order_and_pads_the_last_batch(dataset, config, made):
    _, entries, folder = made
    batches = list(data_pipelines.eval_batches(dataset, config, "test"))
    assert len(batches) == 2
    np.testing.assert_array_equal(batches[1]["image_id"], [4, 5, -1, -1])
    np.testing.assert_array_equal(batches[1]["example_weight"], [1, 1, 0, 0])
    assert not batches[1]["box_valid"][2:].any() and not batches[1]["image"][2:].any()
    for index in range(6):
        row = {name: value[index % 4] for name, value in batches[index // 4].items()}
        pixels = pixels_of(folder, "test", index)
        height, width = pixels.shape[:2]
        matrix = released_matrix(width, height, SIZE)
        np.testing.assert_allclose(row["image"], slow_warp(pixels, matrix, SIZE), atol=0.55)
        np.testing.assert_array_equal(row["size"], [width, height])
        boxes = expected_boxes(entries["test"][index], matrix)
        np.testing.assert_allclose(row["boxes"][: len(boxes)], boxes, atol=1e-4)
        np.testing.assert_array_equal(row["box_valid"], np.arange(6) < len(boxes))
        np.testing.assert_array_equal(row["classes"][: len(boxes)], [0] + [1] * (len(boxes) - 1))
        relations = [
            (r["subject_id"], r["object_id"], r["category_id"] - 3)
            for r in entries["test"][index]["hoi_annotation"]
        ]
        np.testing.assert_array_equal(row["relation_valid"], np.arange(5) < len(relations))
        np.testing.assert_array_equal(row["relations"][row["relation_valid"]].tolist(), relations)


def test_training_order_and_augmentation_are_what_the_seed_says(dataset, config, made):
    """Order, crop, flip and color of two epochs, redone in NumPy from the drawn numbers."""
    _, entries, folder = made
    config.seed = 3
    for step, batch in enumerate(train(dataset, config, 4)):
        epoch, start = step // 2, step % 2 * 4
        order = records.epoch_order(3, epoch, NUMBER)[start : start + 4]
        np.testing.assert_array_equal(batch["image_id"], order)
        for row, index in enumerate(order):
            pixels = pixels_of(folder, "train", index)
            height, width = pixels.shape[:2]
            draw = augment.draw(augment.example_key(3, epoch, index), width, height)
            matrix = released_matrix(
                width, height, SIZE, bool(draw.flip), float(draw.scale), draw.center.numpy()
            )
            image = slow_color(
                slow_warp(pixels, matrix, SIZE), draw.factors, draw.moments.numpy(), draw.lighting
            )
            np.testing.assert_allclose(batch["image"][row], image, atol=2e-3)
            boxes = expected_boxes(entries["train"][index], matrix)
            np.testing.assert_allclose(batch["boxes"][row, : len(boxes)], boxes, atol=1e-3)


def test_without_augmentation_training_sees_what_evaluation_sees(dataset, config):
    for name in config.data.augment:
        config.data.augment[name] = False
    config.data.shuffle = False
    (training,) = train(dataset, config, 1)
    evaluation = next(data_pipelines.eval_batches(dataset, config, "train"))
    np.testing.assert_array_equal(training["image_id"], np.arange(4))
    np.testing.assert_array_equal(training["boxes"], evaluation["boxes"])
    np.testing.assert_allclose(training["image"] * 255, evaluation["image"], atol=0.51)


def test_an_epoch_has_whole_batches_of_different_images(dataset, config):
    ids = [batch["image_id"] for batch in train(dataset, config, 6)]
    epochs = np.concatenate(ids).reshape(3, 8)
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_of_an_epoch_is_pinned():
    np.testing.assert_array_equal(records.epoch_order(0, 0, 8), [0, 2, 1, 5, 4, 3, 6, 7])
    np.testing.assert_array_equal(np.sort(records.epoch_order(7, 5, 1000)), np.arange(1000))
    np.testing.assert_array_equal(records.epoch_order(7, 5, 9, shuffle=False), np.arange(9))


def test_the_same_seed_gives_the_same_batches_and_another_does_not(dataset, config):
    first = train(dataset, config, 3)
    assert_equal(first, train(dataset, config, 3))
    config.seed = 1
    other = train(dataset, config, 1)
    assert not np.array_equal(first[0]["image"], other[0]["image"])


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_resumed_run_sees_what_it_would_have_seen(dataset, config, step):
    whole = train(dataset, config, 7)
    assert_equal(whole[step:], train(dataset, config, 7 - step, start_step=step))


def test_two_processes_split_every_training_batch(dataset, config):
    parts = [train(dataset, config, 3, process_index=p, process_count=2) for p in range(2)]
    joined = [
        {name: np.concatenate([first[name], second[name]]) for name in first}
        for first, second in zip(*parts, strict=True)
    ]
    assert_equal(train(dataset, config, 3), joined)


def test_two_processes_evaluate_every_image_once(dataset, config):
    ids = []
    for p in range(2):
        batches = list(
            data_pipelines.eval_batches(dataset, config, "test", process_index=p, process_count=2)
        )
        assert len(batches) == 2  # the same for both, so that collectives match
        assert all(batch["image"].shape[0] == 2 for batch in batches)
        ids += [int(i) for b in batches for i in b["image_id"][b["example_weight"] > 0]]
    assert sorted(ids) == list(range(6))


def test_split_expressions_number_their_images_through(dataset, config):
    batches = list(data_pipelines.eval_batches(dataset, config, "train[2:5]+test"))
    ids = np.concatenate([batch["image_id"] for batch in batches])
    np.testing.assert_array_equal(ids[:9], np.arange(9))
    names = [entry["file_name"] for entry in dataset.ground_truth("train[2:5]+test")]
    assert names == [f"train_{i}.png" for i in (2, 3, 4)] + [f"test_{i}.png" for i in range(6)]


def test_ground_truth_is_the_annotation_untouched(dataset, made):
    assert dataset.ground_truth("test") == made[1]["test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 12}, "12 is more than the 11 images"),
        ({"batch_size": 5}, "batch_size=5 is not divisible by 2 processes"),
    ],
)
def test_a_batch_that_does_not_fit_is_an_error(dataset, config, change, message):
    config.update(change)
    with pytest.raises(UserError, match=message):
        train(dataset, config, 1, process_count=2)


def test_an_unknown_split_is_named(dataset, config):
    with pytest.raises(UserError, match="no split 'val'; it has"):
        next(data_pipelines.eval_batches(dataset, config, "val"))


def test_what_does_not_fit_is_counted_and_logged(dataset, config, caplog, monkeypatch):
    config.data.max_boxes = 3
    config.data.max_relations = 1
    over = padding.overflow(dataset, config.data, "train")
    # Images 0..10 have 1 + index % 4 boxes, all but one of them in a relation.
    assert over == {"boxes": (2, 2), "relations": (5, 7)}
    monkeypatch.setattr(absl_logging.get_absl_logger(), "propagate", True)
    with caplog.at_level("WARNING"):
        (batch,) = train(dataset, config, 1)
    assert "more than config.data.max_boxes=3: 2. Left out of the batches: 2 boxes" in caplog.text
    assert batch["boxes"].shape == (4, 3, 4)
