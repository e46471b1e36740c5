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
from data_pipelines.hico_det import HicoDet, official
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


def write_mat(path):
    """HICO-DET's own file with the entries above."""

    def box(x1, y1, x2, y2):
        return structs("x1 x2 y1 y2", tuple(map(np.uint16, (x1, x2, y1, y2))))

    airplane, pair, nothing = box(5, 7, 64, 48), np.array([[1, 1]], np.uint8), np.zeros((0, 0))
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
    scipy.io.savemat(path, content)


def test_the_matlab_file_says_the_same_as_the_fields_json(tmp_path):
    write_mat(tmp_path / "anno_bbox.mat")
    vocabulary = vocabularies.load("hico_det")
    for split in ("train", "test"):
        assert official.read(tmp_path / "anno_bbox.mat", split, vocabulary) == entries_of(split)


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
