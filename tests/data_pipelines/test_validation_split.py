"""The validation split: whose images it has, and that training never sees them."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from data_trees import CLASSES, config_of, own_config, write_images
from tiny_config import get_config

import data_pipelines
from data_pipelines import splits
from ggnet_jax.errors import UserError

NUMBER = 20


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with the rendered data set in it."""
    return tmp_path_factory.mktemp("data")


def rendered(prepared, **data):
    config = get_config()
    config.data.figures.update(num_train=NUMBER, num_test=4)
    config.data.update(data_dir=str(prepared), **data)
    return config


def load(prepared, **data):
    return data_pipelines.load_dataset(rendered(prepared, **data).data)


def images_of(batches, count):
    """Checksums of the pixels of `count` images, as the network sees them."""
    found = []
    for batch in batches:
        for image, weight in zip(batch["image"], batch["example_weight"], strict=True):
            if weight:
                pixels = image if image.dtype == np.uint8 else np.round(255 * image)
                found.append(hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest())
        if len(found) >= count:
            return found
    return found


@pytest.mark.parametrize(
    ("split", "held_out"),
    [("train[90%:]", 2), ("train[:5]", 5), ("0.25", 5), ("25%", 5), ("test", 0), ("1e-3", 1)],
)
def test_no_image_is_trained_and_validated_on(prepared, split, held_out):
    config = rendered(prepared, val_split=split)
    config.data.augment.update(flip=False, scale=False, crop=False, color=False)
    config.batch_size = 1
    dataset = data_pipelines.load_dataset(config.data)
    whole = data_pipelines.load_dataset(rendered(prepared).data)
    assert whole.num_train == NUMBER and whole.num_val == 0
    assert dataset.num_train == NUMBER - held_out and dataset.num_held_out == held_out
    trained = images_of(data_pipelines.train_batches(dataset, config), dataset.num_train)
    validated = images_of(data_pipelines.eval_batches(dataset, config, "val"), NUMBER)
    every = images_of(data_pipelines.eval_batches(whole, config, "train"), NUMBER)
    assert len(trained) == len(set(trained)) == dataset.num_train
    assert len(validated) == dataset.num_val == len(dataset.ground_truth("val"))
    assert not set(trained) & set(validated)
    assert set(trained) | set(validated) >= set(every)
    assert dataset.num_val_evaluated == (4 if split == "test" else 0)


@pytest.mark.parametrize(
    ("train_split", "val_split"),
    [("train", "train[30%:]"), ("train", "0.8"), ("train[:6]", "train[6:]"), ("train", "test"),
     ("train[:10]+test", "0.5"), ("train", "")],
)  # fmt: skip
def test_training_knows_the_pairs_of_its_images_alone(prepared, train_split, val_split):
    """Neither its hard negatives nor which relations are rare come from images held out."""
    dataset = load(prepared, train_split=train_split, val_split=val_split)
    places = dict(
        zip(dataset.index(train_split).keys(), dataset.ground_truth(train_split), strict=True)
    )
    expected = np.zeros_like(dataset.verbs_of_object, int)
    ids = dataset.vocabulary
    for key in dataset.train_index.keys():
        entry = places[key]
        for pair in entry["hoi_annotation"]:
            obj = entry["annotations"][pair["object_id"]]["category_id"]
            expected[ids.object_ids.index(obj), ids.verb_ids.index(pair["category_id"])] += 1
    assert dataset.verbs_of_object.tolist() == (expected > 0).tolist()
    assert dataset.verb_counts.tolist() == expected.sum(axis=0).tolist()
    # Batches of a fresh data set ask for them while their graph is built.
    batches = data_pipelines.eval_batches(
        load(prepared, train_split=train_split, val_split=val_split), get_config(), "test"
    )
    assert len(next(batches)["boxes"]) == 4
    if val_split and val_split != "test":
        whole = load(prepared, train_split="train").verbs_of_object
        assert (dataset.verbs_of_object < whole).any()


def test_truth_and_images_of_a_share_are_the_same_examples(prepared):
    dataset = load(prepared, val_split="0.3")
    names = [entry["file_name"] for entry in dataset.ground_truth("val")]
    every = [entry["file_name"] for entry in dataset.ground_truth("train")]
    assert len(names) == 6 and names == sorted(names, key=every.index)
    shown = [name for name, _ in dataset.example_images("val", 6)]
    assert shown == names


def test_a_share_is_drawn_by_its_seed(prepared):
    def names(**data):
        return [entry["file_name"] for entry in load(prepared, **data).ground_truth("val")]

    first = names(val_split="0.2")
    assert names(val_split="20%", val_seed=0) == first
    others = {tuple(names(val_split="0.2", val_seed=seed)) for seed in range(1, 5)}
    assert len(others) > 2 and tuple(first) not in others
    assert names(val_split="0.2", train_split="train[:10]") != first


def test_the_fingerprint_knows_the_split(prepared):
    prints = [
        (one.fingerprint, one.val_fingerprint)
        for one in (
            load(prepared, **data)
            for data in (
                {}, {"val_split": "0.2"}, {"val_split": "0.2", "val_seed": 1},
                {"val_split": "train[80%:]"},
            )
        )
    ]  # fmt: skip
    assert len({fingerprint for fingerprint, _ in prints}) == 4
    assert prints[0][1] == "" and len({validation for _, validation in prints}) == 4
    assert load(prepared, val_split="0.2").val_fingerprint == prints[1][1]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("1.5", "between 0 and 1"),
        ("0", "between 0 and 1"),
        ("-0.1", "between 0 and 1"),
        ("10", "between 0 and 1"),
        ("100%", "between 0 and 1"),
        ("1e400", "between 0 and 1"),
        ("nan", "no split 'nan'"),
        ("0,1", "no split '0,1'"),
        ("tset", "no split 'tset'; it has train, test"),
        ("train[:5]+tset", "no split"),
        ("train[90%:", "no split"),
        ("train[100%:]", "holds no image"),
        ("train[5:5]", "holds no image"),
        ("val", "no split 'val'"),
    ],
)
def test_what_is_no_split_is_said(prepared, split, message):
    with pytest.raises(UserError) as error:
        load(prepared, val_split=split)
    said = str(error.value)
    assert message in said and f"config.data.val_split={split!r}" in said
    assert 'such as "train[90%:]"' in said and "\n" not in said


@pytest.mark.parametrize("split", ["train", "train[:100%]", "train[:7]+train[7:]"])
def test_something_has_to_be_left_to_train_on(prepared, split):
    with pytest.raises(UserError, match="holds out all 20 images"):
        _ = load(prepared, val_split=split).num_train


def entry(name):
    return {
        "file_name": name,
        "annotations": [
            {"bbox": [1, 2, 30, 40], "category_id": 1},
            {"bbox": [20, 10, 50, 45], "category_id": 2},
        ],
        "hoi_annotation": [{"subject_id": 0, "object_id": 1, "category_id": 1}],
    }


def own(folder, **data):
    """Five images to train on; three to validate on, one of them a copy under another name."""
    names = [f"{k}.png" for k in range(5)]
    write_images(folder / "images", names)
    write_images(folder / "val", ["8.png", "9.png", "0.png"], size=(64, 56))
    shutil.copy(folder / "images" / "3.png", folder / "val" / "copy.png")
    entries = [entry(name) for name in ("8.png", "0.png", "copy.png")]
    (folder / "val.json").write_text(json.dumps(entries))
    config = own_config(folder, [entry(name) for name in names], [entry("4.png")])
    config.data.update(
        val_annotations=str(folder / "val.json"), val_images=str(folder / "val"), **data
    )
    return config


@pytest.mark.parametrize("split", ["", "val"])
def test_files_of_its_own(tmp_path, split):
    """An image that is in both goes from training; one that is only called alike stays."""
    dataset = data_pipelines.load_dataset(own(tmp_path, val_split=split).data)
    assert (dataset.num_train, dataset.num_val, dataset.num_eval) == (4, 3, 1)
    names = [one["file_name"] for one in dataset.ground_truth("val")]
    assert names == ["8.png", "0.png", "copy.png"]
    kept = [entry(f"{k}.png")["file_name"] for k in (0, 1, 2, 4)]
    whole = [one["file_name"] for one in dataset.ground_truth("train")]
    held_out = splits.shared(dataset.builder, dataset.index("train"), dataset.index("val"))
    assert [name for name, held in zip(whole, held_out, strict=True) if not held] == kept


def test_one_validation_split_at_a_time(tmp_path):
    with pytest.raises(UserError, match="two validation splits; leave one empty"):
        data_pipelines.load_dataset(own(tmp_path, val_split="0.2").data)
    part = data_pipelines.load_dataset(own(tmp_path, val_split="val[:1]").data)
    assert part.num_val == 1 == len(part.ground_truth("val"))


def test_validation_files_want_their_images(tmp_path):
    config = own(tmp_path)
    config.data.val_images = ""
    with pytest.raises(
        UserError, match=r"data\.val_annotations is set but config\.data\.val_images"
    ):
        data_pipelines.load_dataset(config.data)
    config = config_of(tmp_path, "json", val_annotations="a.json", val_images="a")
    with pytest.raises(UserError, match=r"needs config\.data\.train_annotations beside it"):
        data_pipelines.load_dataset(config.data)


def test_training_needs_nothing_to_evaluate_on(tmp_path):
    write_images(tmp_path / "images", ["a.png", "b.png"])
    config = own_config(tmp_path, [entry("a.png"), entry("b.png")], [], CLASSES)
    config.data.update(eval_annotations="", eval_images="")
    dataset = data_pipelines.load_dataset(config.data)
    assert (dataset.num_train, dataset.eval_split, dataset.num_eval) == (2, "", 0)
    config.data.val_split = "0.5"
    dataset = data_pipelines.load_dataset(config.data)
    assert (dataset.num_train, dataset.num_val, dataset.num_val_evaluated) == (1, 1, 0)
    config.data.eval_split = "tset"
    with pytest.raises(UserError, match="no split 'tset'"):
        data_pipelines.load_dataset(config.data)
    config.data.eval_split = ""
    assert data_pipelines.load_dataset(config.data).eval_split == ""
