"""A prepared data set is what its files say: changed files, damage, and builds that end early."""

import errno
import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from data_trees import VSRL, coco_instances, config_of, examples, own_config, write_images
from PIL import Image
from subprocesses import start_python

import data_pipelines
from data_pipelines import records, shards
from ggnet_jax.config import absolute_paths
from ggnet_jax.errors import UserError

NAMES = ("a.png", "b.png", "c.png")


def entry(name, category=2):
    boxes = [
        {"bbox": [1, 2, 20, 40], "category_id": 1},
        {"bbox": [15, 20, 50, 45], "category_id": category},
    ]
    relation = {"subject_id": 0, "object_id": 1, "category_id": 1}
    return {"file_name": name, "annotations": boxes, "hoi_annotation": [relation]}


def own(tmp_path, there=NAMES):
    """A config of three images, of which some are there."""
    write_images(tmp_path / "images", there)
    entries = [entry(name) for name in NAMES]
    return own_config(tmp_path, entries, entries)


def content(config):
    """What a data set holds, by split, after it was loaded."""
    dataset = data_pipelines.load_dataset(config.data)
    return {
        split: [
            (example["file_name"], example["image"].tobytes(), example["annotation"])
            for example in examples(dataset.builder, split)
        ]
        for split in dataset.builder.info.splits
    }


def folder_of(config):
    """The folder of a prepared data set."""
    return Path(data_pipelines.load_dataset(config.data).builder.data_dir)


def fresh(config, tmp_path):
    """What the files give that is prepared anew, elsewhere."""
    config = config.copy_and_resolve_references()
    config.data.data_dir = str(tmp_path / "elsewhere")
    return content(config)


def touch_later(path):
    """Another time of the last change, also where the clock is coarse."""
    time = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time, time))


def write_train(tmp_path, entries):
    (tmp_path / "train.json").write_text(json.dumps(entries))


def replace_image(tmp_path):
    path = tmp_path / "images" / "b.png"
    Image.new("RGB", (64, 48), (1, 2, 3)).save(path)
    touch_later(path)


def restore_older_image(tmp_path):
    """An image with an older date than the one that was there, as unpacking leaves it."""
    replace_image(tmp_path)
    os.utime(tmp_path / "images" / "b.png", ns=(10**18, 10**18))


def replace_by_another_of_that_name(tmp_path):
    """The folder that is searched first has one now."""
    write_images(tmp_path / "first", ["b.png"], (60, 48))


CHANGES = {
    "annotation": lambda folder: write_train(folder, [entry("a.png", 1)]),
    "of the same length": lambda folder: write_train(folder, [entry(name, 1) for name in NAMES]),
    "image": replace_image,
    "older image": restore_older_image,
    "late image": lambda folder: write_images(folder / "images", ["c.png"]),
    "image gone": lambda folder: (folder / "images" / "a.png").unlink(),
    "other folder": replace_by_another_of_that_name,
    "class list": lambda folder: (folder / "classes.json").write_text(
        json.dumps({"objects": {"1": "person", "2": "cat"}, "verbs": {"1": "walk", "2": "feed"}})
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_after_the_build_is_built_again(tmp_path, capsys, change):
    config = own(tmp_path, ["a.png", "b.png"])
    (tmp_path / "first").mkdir()
    for key in ("train", "eval"):
        config.data[f"{key}_images"] = f"{tmp_path / 'first'}, {tmp_path / 'images'}"
    before = content(config)
    capsys.readouterr()
    assert content(config) == before
    assert "split train: 3 entries, missing image: 1" in capsys.readouterr().err
    CHANGES[change](tmp_path)
    after = content(config)
    assert after == fresh(config, tmp_path)
    assert (after != before) == (change != "class list")  # which only the vocabulary shows
    assert "Preparing hoi_json" in capsys.readouterr().err
    assert content(config) == after
    assert "Preparing" not in capsys.readouterr().err
    for folder in (tmp_path / "prepared" / "hoi_json").iterdir():
        assert sorted(path.name for path in folder.iterdir()) == [".building", "1.0.0"]


def vsrl_tree(tmp_path):
    write_images(tmp_path / "train2014", [f"COCO_train2014_{k:012}.jpg" for k in (7, 8, 9)])
    (tmp_path / "vcoco_train.json").write_text(json.dumps(VSRL))
    (tmp_path / "instances.json").write_text(json.dumps(coco_instances()))
    return config_of(
        tmp_path,
        "v_coco",
        train_annotations=str(tmp_path / "vcoco_train.json"),
        train_images=str(tmp_path / "train2014"),
        train_instances=str(tmp_path / "instances.json"),
        eval_split="train",
    )


def change_instances(tmp_path):
    instances = coco_instances()
    instances["annotations"][0]["bbox"] = [3, 3, 20, 20]
    (tmp_path / "instances.json").write_text(json.dumps(instances))


@pytest.mark.parametrize(
    "change",
    [
        change_instances,
        lambda folder: (folder / "vcoco_train.ids").write_text("7\n8\n"),
        lambda folder: (folder / "splits" / "vcoco_train.ids").write_text("7\n"),
    ],
)
def test_all_files_of_v_coco_are_watched(tmp_path, change):
    (tmp_path / "vcoco").mkdir()
    config = vsrl_tree(tmp_path / "vcoco")
    (tmp_path / "splits").mkdir()
    before = content(config)
    change(tmp_path if "splits" in change.__code__.co_consts else tmp_path / "vcoco")
    after = content(config)
    assert after != before
    assert after == fresh(config, tmp_path)


def test_a_prepared_data_set_stands_on_its_own_without_its_files(tmp_path):
    config = own(tmp_path)
    before = content(config)
    shutil.rmtree(tmp_path / "images")
    assert content(config) == before
    for name in ("train.json", "test.json"):
        (tmp_path / name).unlink()
    assert content(config) == before


def test_the_older_data_set_stays_if_the_new_one_cannot_be_built(tmp_path):
    config = own(tmp_path)
    before, text = content(config), (tmp_path / "train.json").read_text()
    (tmp_path / "train.json").write_text("[{]")
    with pytest.raises(UserError, match=r"is not JSON.*is older than .*train\.json, which changed"):
        data_pipelines.load_dataset(config.data)
    (tmp_path / "train.json").write_text(text)
    shutil.rmtree(tmp_path / "images")  # nothing could be built
    assert content(config) == before


def test_a_data_set_of_an_earlier_version_is_built_again_or_used_as_it_is(tmp_path, capsys):
    config = own(tmp_path)
    before = content(config)
    path = folder_of(config) / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["originals"], metadata["digest"]
    path.write_text(json.dumps(metadata))
    shutil.copytree(tmp_path / "prepared", tmp_path / "copy")
    capsys.readouterr()
    assert content(config) == before
    assert "built by an earlier version" in capsys.readouterr().err
    assert "digest" in json.loads(path.read_text())
    (tmp_path / "train.json").unlink()
    (tmp_path / "test.json").unlink()
    config.data.data_dir = str(tmp_path / "copy")
    assert content(config) == before


def of_train(folder):
    return next(folder.glob("*-train.tfrecord*"))


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def make_folder_of(path):
    path.unlink()
    path.mkdir()


def write_metadata(folder, change):
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


DAMAGE = {
    "records cut short": lambda f: os.truncate(of_train(f), of_train(f).stat().st_size - 3),
    "a record fewer": lambda f: os.truncate(of_train(f), 0),
    "length of a record": lambda f: flip(of_train(f), 1),
    "no records": lambda f: of_train(f).unlink(),
    "folder in place of records": lambda f: make_folder_of(of_train(f)),
    "dataset_info empty": lambda f: (f / "dataset_info.json").write_text(""),
    "dataset_info garbled": lambda f: (f / "dataset_info.json").write_bytes(b"\x80\x00{"),
    "dataset_info of other JSON": lambda f: (f / "dataset_info.json").write_text("{}"),
    "dataset_info gone": lambda f: (f / "dataset_info.json").unlink(),
    "metadata empty": lambda f: (f / "metadata.json").write_text(""),
    "metadata cut short": lambda f: os.truncate(f / "metadata.json", 300),
    "metadata not text": lambda f: (f / "metadata.json").write_bytes(b"\xff\xfe\xff"),
    "metadata of other JSON": lambda f: (f / "metadata.json").write_text("[1]"),
    "metadata gone": lambda f: (f / "metadata.json").unlink(),
    "one count": lambda f: write_metadata(f, lambda m: m["statistics"]["train"].update(pairs=[])),
    "a key of metadata": lambda f: write_metadata(f, lambda m: m.pop("reports")),
    "features garbled": lambda f: (f / "features.json").write_text("{"),
    "features gone": lambda f: (f / "features.json").unlink(),
    "all gone": lambda f: [path.unlink() for path in f.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_data_set_is_built_again_or_named(tmp_path, damage):
    config = own(tmp_path)
    before = content(config)
    folder = folder_of(config)
    DAMAGE[damage](folder)
    shutil.copytree(tmp_path / "prepared", tmp_path / "copy")
    assert content(config) == before
    # Without its files it can't be: the folder is named, and left as it is.
    (tmp_path / "train.json").unlink()
    config.data.data_dir = str(tmp_path / "copy")
    if damage.startswith("features"):  # ours are in the code
        return
    copy = tmp_path / "copy" / folder.relative_to(tmp_path / "prepared")
    there = sorted(path.name for path in copy.iterdir())
    with pytest.raises(UserError) as caught:
        data_pipelines.load_dataset(config.data)
    message = str(caught.value)
    assert str(copy) in message and "\n" not in message
    assert "is damaged" in message or "is not whole" in message
    assert sorted(path.name for path in copy.iterdir()) == there


def test_a_flipped_bit_inside_a_record_ends_the_batches_and_is_mended_by_the_next_start(tmp_path):
    config = own(tmp_path)
    config.update(batch_size=3)
    config.data.update(image_size=(32, 32))
    before = content(config)
    path = of_train(folder_of(config))
    flip(path, path.stat().st_size // 2)
    dataset = data_pipelines.load_dataset(config.data)
    with pytest.raises(UserError, match=r"is damaged: a record cannot be read.*start again"):
        next(data_pipelines.train_batches(dataset, config))
    with pytest.raises(UserError, match="is damaged"):
        dataset.ground_truth("train")
    with pytest.raises(UserError, match="is damaged"):
        list(dataset.example_images("train", 3))
    assert content(config) == before


def test_a_process_goes_on_with_the_data_set_that_it_began_with(tmp_path):
    config = own(tmp_path)
    config.update(batch_size=1)
    config.data.update(image_size=(32, 32), shuffle=False)
    dataset = data_pipelines.load_dataset(config.data)
    batches = data_pipelines.train_batches(dataset, config)
    expected = [next(batches)["boxes"] for _ in range(3)]
    moved = [entry(name) for name in NAMES]
    for one in moved:
        one["annotations"][0]["bbox"][0] += 2  # records of the same length
    (tmp_path / "train.json").write_text(json.dumps(moved))
    other = data_pipelines.load_dataset(config.data)
    assert len(dataset.ground_truth("train")) == 3
    assert dataset.ground_truth("train") != other.ground_truth("train")
    again = data_pipelines.train_batches(dataset, config)
    for boxes in expected:
        np.testing.assert_array_equal(next(again)["boxes"], boxes)
    assert (next(data_pipelines.train_batches(other, config))["boxes"] != expected[0]).any()


def leave_half_a_build(folder):
    half = folder.with_name(f"incomplete.ABC123_{folder.name}")
    half.mkdir()
    (half / "train-0.draft").write_bytes(b"half")
    return half


def test_what_a_killed_build_left_is_cleared_and_what_it_had_set_aside_comes_back(tmp_path):
    config = own(tmp_path)
    before, folder = content(config), folder_of(config)
    half = leave_half_a_build(folder)
    folder.rename(folder.with_name(f"older.{folder.name}"))
    shutil.rmtree(tmp_path / "images")  # nothing could be built
    assert content(config) == before
    assert not half.exists()
    shutil.copytree(folder, folder.with_name(f"older.{folder.name}"))  # killed just before the end
    assert content(config) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == [".building", folder.name]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (tf.errors.ResourceExhaustedError(None, None, "a.tfrecord;\nNo\nspace"), ": No space;"),
    ],
)
def test_a_full_disk_ends_the_build_with_a_line_and_nothing_half_written(
    tmp_path, monkeypatch, error, reason
):
    config = own(tmp_path)
    before, folder = content(config), folder_of(config)
    replace_image(tmp_path)

    class Writer(tf.io.TFRecordWriter):
        def write(self, record):
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(shards.tf.io, "TFRecordWriter", Writer)
        for _ in range(2):
            with pytest.raises(UserError) as caught:
                data_pipelines.load_dataset(config.data)
            message = str(caught.value)
            assert str(folder) in message and "data.data_dir" in message and "\n" not in message
            assert reason in message
            assert sorted(path.name for path in folder.parent.iterdir()) == [".building", "1.0.0"]
    shutil.copytree(tmp_path / "prepared", tmp_path / "copy")
    assert content(config) != before
    # The older one is whole.
    shutil.rmtree(tmp_path / "images")
    config.data.data_dir = str(tmp_path / "copy")
    assert content(config) == before


def test_ctrl_c_while_building_leaves_nothing_and_keeps_the_older(tmp_path, monkeypatch):
    config = own(tmp_path)
    folder = folder_of(config)
    replace_image(tmp_path)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shards.tf.io, "TFRecordWriter", stop)
        with pytest.raises(KeyboardInterrupt):
            data_pipelines.load_dataset(config.data)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".building", "1.0.0"]
    assert content(config) == fresh(config, tmp_path)


@pytest.mark.slow
def test_builds_killed_at_any_moment_leave_the_next_start_what_the_files_say(tmp_path):
    config = own(tmp_path)
    many = [f"{number}.png" for number in range(200)]
    write_images(tmp_path / "images", many)
    code = (
        "import sys, json; from ml_collections import ConfigDict\n"
        "from data_pipelines import load_dataset; print('ready', flush=True)\n"
        "load_dataset(ConfigDict(json.loads(sys.argv[1])))"
    )
    for number, delay in enumerate((0.1, 0.3, 0.6, 0.9)):
        train = [entry(name) for name in many]
        train[0]["annotations"][0]["bbox"][0] = number
        write_train(tmp_path, train)
        with start_python("-c", code, config.data.to_json()) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(delay)
            process.kill()
        if number % 2:
            truth = data_pipelines.load_dataset(config.data).ground_truth("train")
            assert len(truth) == 200
            assert truth[0]["annotations"][0]["bbox"][0] == number
            folder = folder_of(config)
            assert sorted(p.name for p in folder.parent.iterdir()) == [".building", "1.0.0"]


def test_without_locks_the_first_of_two_builds_counts(tmp_path, monkeypatch):
    config = own(tmp_path)

    def no_locks(*args):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_split, others = shards.write_split, []

    def write_late(*args):
        info = write_split(*args)
        if not others:
            others.append(None)
            others.append(content(config))  # another process, which is faster
        return info

    monkeypatch.setattr(shards, "write_split", write_late)
    assert content(config) == others[1]
    assert sorted(p.name for p in folder_of(config).parent.iterdir()) == [".building", "1.0.0"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    config = own(tmp_path)
    (tmp_path / "prepared").write_text("a file")
    with pytest.raises(UserError, match=r"cannot prepare a data set in .*prepared.*data\.data_dir"):
        data_pipelines.load_dataset(config.data)


def test_relative_paths_name_the_same_data_set_from_every_folder(tmp_path, monkeypatch, capsys):
    config = own(tmp_path)
    before = content(config)
    monkeypatch.chdir(tmp_path)
    for key, value in config.data.items():
        if isinstance(value, str) and value.startswith(str(tmp_path)):
            config.data[key] = value.removeprefix(f"{tmp_path}/")
    assert config.data.train_images == "images"
    run = absolute_paths(config)
    assert content(config) == before
    monkeypatch.chdir("/")
    assert content(run) == before
    assert capsys.readouterr().err.count("Preparing hoi_json in") == 1


def test_the_fingerprint_tells_what_is_trained_on_wherever_it_lies(tmp_path):
    config = own(tmp_path / "one", ["a.png", "b.png"])
    first = data_pipelines.load_dataset(config.data).fingerprint
    copy = own(tmp_path / "two", ["a.png", "b.png"])
    assert data_pipelines.load_dataset(copy.data).fingerprint == first
    (tmp_path / "two" / "test.json").write_text(json.dumps([entry("a.png")]))
    assert data_pipelines.load_dataset(copy.data).fingerprint == first
    write_images(tmp_path / "two" / "images", ["c.png"])
    assert data_pipelines.load_dataset(copy.data).fingerprint != first
    write_train(tmp_path / "one", [entry(name, 1) for name in NAMES])
    assert data_pipelines.load_dataset(config.data).fingerprint != first


def test_a_path_with_a_comma_is_one_path(tmp_path):
    config = own(tmp_path)
    before = content(config)
    (tmp_path / "images").rename(tmp_path / "a, b")
    for key in ("train", "eval"):
        config.data[f"{key}_images"] = str(tmp_path / "a, b")
    assert content(config) == content(absolute_paths(config)) == before


def test_a_split_of_several_files_has_tfds_layout_and_order(tmp_path, monkeypatch):
    config = own(tmp_path)
    before = content(config)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    config.data.data_dir = str(tmp_path / "sharded")
    assert content(config) == before
    names = sorted(path.name for path in folder_of(config).glob("*-train*"))
    assert names == [f"hoi_json-train.tfrecord-0000{k}-of-00003" for k in range(3)]
    dataset = data_pipelines.load_dataset(config.data)
    assert len(records.index_split(dataset.builder, "train[1:]+test")) == 5


def test_examples_are_written_as_they_come(tmp_path):
    """None is kept: a data set may be larger than the memory."""
    builder = data_pipelines.load_dataset(own(tmp_path).data).builder
    example = examples(builder, "train")[0]
    alive, most = set(), 0

    class Watched(dict):
        def __init__(self, *args):
            super().__init__(*args)
            alive.add(id(self))

        def __del__(self):
            alive.discard(id(self))

    def watched():
        nonlocal most
        for key in range(20):
            most = max(most, len(alive))
            yield key, Watched(example)

    info = shards.write_split(builder, "more", watched())
    assert info.num_examples == 20
    assert most <= 2
