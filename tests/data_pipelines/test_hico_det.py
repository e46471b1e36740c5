"""The builder of HICO-DET on a tiny tree, from either annotation file."""

import copy
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from data_trees import config_of, examples, write_images

import data_pipelines
from data_pipelines import annotations
from data_pipelines.hico_det import HicoDet, official
from data_pipelines.report import Report
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError

# Class 1 is "board airplane" (verb id 5, COCO id 5), 2 "direct airplane" (18).
ENTRY = {
    "width": 64,
    "height": 48,
    "annotations": [
        {"bbox": [1, 1, 20, 30], "category_id": 1},
        {"bbox": [5, 7, 64, 48], "category_id": 5},
        {"bbox": [2, 2, 20, 30], "category_id": 1},
    ],
    "hoi_annotation": [
        {"subject_id": 0, "object_id": 1, "category_id": 5, "hoi_category_id": 1},
        {"subject_id": 2, "object_id": 1, "category_id": 18, "hoi_category_id": 2},
    ],
}


def entries_of(split):
    """An image with two pairs and one with none."""
    first, second = (f"HICO_{split}2015_0000000{number}.jpg" for number in (1, 2))
    empty = {"file_name": second, "annotations": [], "hoi_annotation": []}
    return copy.deepcopy([{**ENTRY, "file_name": first}, {**ENTRY, **empty}])


@pytest.fixture
def tree(tmp_path):
    """The official image folders in a manual folder, without annotations."""
    root = tmp_path / "manual" / "hico_20160224_det"
    for split in ("train", "test"):
        names = [entry["file_name"] for entry in entries_of(split)]
        write_images(root / "images" / f"{split}2015", names)
    (root / "annotations").mkdir()
    return root


def structs(fields, *rows):
    """MATLAB's struct array, as SciPy writes it."""
    array = np.zeros((1, len(rows)), [(field, object) for field in fields.split()])
    for number, row in enumerate(rows):
        array[0, number] = row
    return array


def write_mat(path, *, airplane=(5, 7, 64, 48), compressed=False, number=np.uint16):
    """HICO-DET's own file with the entries above."""

    def box(x1, y1, x2, y2):
        return structs("x1 x2 y1 y2", tuple(map(number, (x1, x2, y1, y2))))

    airplane, pair, nothing = box(*airplane), np.array([[1, 1]], np.uint8), np.zeros((0, 0))
    hoi = "id bboxhuman bboxobject connection invis"
    seen = structs(
        hoi,
        (np.uint16(1), box(1, 1, 20, 30), airplane, pair, np.uint8(0)),
        (np.uint16(2), box(2, 2, 20, 30), airplane, pair, np.uint8(0)),
    )
    hidden = structs(hoi, (np.uint16(3), nothing, nothing, nothing, np.uint8(1)))
    size = structs("width height depth", (np.uint16(64), np.uint16(48), np.uint8(3)))
    content = {}
    for split in ("train", "test"):
        first, second = (entry["file_name"] for entry in entries_of(split))
        content[f"bbox_{split}"] = structs(
            "filename size hoi", (first, size, seen), (second, size, hidden)
        )
    scipy.io.savemat(path, content, do_compression=compressed)


def test_the_matlab_file_says_the_same_as_the_fields_json(tmp_path):
    write_mat(tmp_path / "anno_bbox.mat")
    vocabulary = vocabularies.load("hico_det")
    for split in ("train", "test"):
        assert official.read(tmp_path / "anno_bbox.mat", split, vocabulary) == entries_of(split)


def read_mat(path):
    return official.read(str(path), "train", vocabularies.load("hico_det"))


def test_a_compressed_matlab_file_says_the_same(tmp_path):
    write_mat(tmp_path / "anno_bbox.mat", compressed=True)
    assert read_mat(tmp_path / "anno_bbox.mat") == entries_of("train")


def flipped(data, place):
    """One byte changed."""
    changed = bytearray(data)
    changed[place] ^= 0x10
    return bytes(changed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "is cut short"),
        (lambda data: flipped(data, 300), "the part at byte 128 is damaged"),
        (lambda data: flipped(data, len(data) - 2), "is damaged"),  # of the checksum
        (lambda data: data.replace(b"MATLAB 5.0", b"MATLAB 7.3"), None),
        (lambda data: flipped(data, 125), "MATLAB file"),
        (lambda data: b"<html>no such file</html>" * 20, "MATLAB file"),
        (lambda data: b"", "MATLAB file"),
    ],
)
def test_a_damaged_matlab_file_is_one_line(tmp_path, damage, message):
    path = tmp_path / "anno_bbox.mat"
    write_mat(path, compressed=True)
    path.write_bytes(damage(path.read_bytes()))
    if message is None:  # only the description at the beginning differs
        assert read_mat(path) == entries_of("train")
        return
    with pytest.raises(UserError, match=message) as caught:
        read_mat(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_crash_inside_scipy_ends_its_own_process_alone(tmp_path, monkeypatch):
    write_mat(tmp_path / "anno_bbox.mat")
    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(official, "_READER", crash)
    with pytest.raises(UserError, match="ended by SIGSEGV; the file is probably damaged"):
        read_mat(tmp_path / "anno_bbox.mat")
    crash.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(official, "_SECONDS", 0.1)
    with pytest.raises(UserError, match="took more than"):
        read_mat(tmp_path / "anno_bbox.mat")


def test_a_matlab_file_of_another_data_set_is_named(tmp_path):
    scipy.io.savemat(tmp_path / "anno.mat", {"bbox_train": [1.0, 2.0], "list": [1]})
    with pytest.raises(UserError, match=r"bbox_train\(1\) lacks the field 'size'"):
        read_mat(tmp_path / "anno.mat")
    scipy.io.savemat(tmp_path / "anno.mat", {"list": [1]})
    with pytest.raises(UserError, match="has no bbox_train"):
        read_mat(tmp_path / "anno.mat")
    with pytest.raises(UserError, match="No such file"):
        read_mat(tmp_path / "other.mat")


@pytest.mark.parametrize(
    ("corners", "kind"),
    [
        ((float("nan"), 7, 64, 48), "box_malformed"),
        ((5, 7, float("inf"), 48), "box_malformed"),
        ((64, 48, 5, 7), "box_without_area"),
    ],
)
def test_odd_boxes_in_the_matlab_file_are_counted(tmp_path, corners, kind):
    write_mat(tmp_path / "anno_bbox.mat", airplane=corners, number=np.float64)
    report = Report()
    entry = read_mat(tmp_path / "anno_bbox.mat")[0]
    annotations.clean(entry, vocabularies.load("hico_det"), report, one_based=True)
    assert report.counts[kind] and report.counts["relation_lost_box"] == 2


def test_hico_det_builds_from_both_layouts_through_tfds_load(tmp_path, tree):
    """`trainval_hico.json` counts from 0, the MATLAB file and `test_hico.json` from 1."""
    write_mat(tree / "anno_bbox.mat")
    for name, split in (("trainval", "train"), ("test", "test")):
        entries = entries_of(split)
        if split == "train":
            for box in entries[0]["annotations"]:
                box["bbox"] = [value - 1 for value in box["bbox"]]
        (tree / "annotations" / f"{name}_hico.json").write_text(json.dumps(entries))
    read = {}
    for layout in ("ppdm", "official"):
        download = tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
        loaded: Any = tfds.load(
            f"hico_det/{layout}",
            data_dir=str(tmp_path / "prepared"),
            download_and_prepare_kwargs={"download_config": download},
            with_info=True,
        )
        found, info = loaded
        assert set(found) == {"train", "test"}
        assert info.metadata["statistics"]["train"]["pairs"] == [[4, 4, 1], [4, 17, 1]]
        assert not info.metadata["reports"]["train"]["findings"]
        read[layout] = {split: list(tfds.as_numpy(found[split])) for split in found}
    for split in ("train", "test"):
        for one, two in zip(read["ppdm"][split], read["official"][split], strict=True):
            for key in ("boxes", "classes", "relations", "image", "file_name", "image_id"):
                np.testing.assert_array_equal(one[key], two[key])
        first = read["official"][split][0]
        np.testing.assert_array_equal(first["boxes"][:2], [[0, 0, 19, 29], [4, 6, 63, 47]])
        np.testing.assert_array_equal(first["relations"], [[0, 1, 4], [2, 1, 17]])
        raw = json.loads(read["official"][split][0]["annotation"])
        assert raw["annotations"][0]["bbox"] == [1, 1, 20, 30]  # evaluation gets the file's boxes


def test_a_hico_file_of_unknown_origin_must_say_where_pixels_start(tmp_path, tree):
    path = tree / "annotations" / "mine.json"
    path.write_text(json.dumps(entries_of("train")))
    images = str(tree / "images" / "train2015")
    config = config_of(tmp_path, "hico_det", train_annotations=str(path), train_images=images)
    config.data.eval_split = "train"
    with pytest.raises(UserError, match=r"data\.train_origin to 0 or 1"):
        data_pipelines.load_dataset(config.data)
    with config.data.unlocked():
        config.data.train_origin = 1
    dataset = data_pipelines.load_dataset(config.data)
    np.testing.assert_array_equal(examples(dataset.builder, "train")[0]["boxes"][0], [0, 0, 19, 29])


def test_missing_pieces_are_all_named_before_any_work(tmp_path, tree):
    shutil.rmtree(tree / "images" / "test2015")
    builder = HicoDet(config="official", data_dir=str(tmp_path / "prepared"))
    download = tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
    with pytest.raises(UserError) as caught:
        builder.download_and_prepare(download_config=download)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tree / "anno_bbox.mat") in message
    assert str(tree / "images" / "test2015") in message
    assert str(tree / "images" / "train2015") not in message
    assert "umich-ywchao-hico" in message


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("apache_beam", "mlcroissant"))),
    reason="the command `tfds` wants apache-beam and mlcroissant",
)
def test_tfds_build_takes_the_folder_of_a_builder(tmp_path, tree):
    write_mat(tree / "anno_bbox.mat")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tensorflow_datasets.scripts.cli.main"),
            *("build", "data_pipelines/hico_det", "--config=official"),
            *(f"--manual_dir={tmp_path / 'manual'}", f"--data_dir={tmp_path / 'prepared'}"),
        ],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    (info,) = tmp_path.glob("prepared/hico_det/official/*/dataset_info.json")
    splits = {split["name"]: split for split in json.loads(info.read_text())["splits"]}
    assert [splits[name]["shardLengths"] for name in ("train", "test")] == [["2"], ["2"]]
    assert "Data report of hico_det, split test: 2 entries, nothing to report" in done.stderr
