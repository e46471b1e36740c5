"""The builders on tiny trees in every layout that people have on disk."""

import copy
import importlib.util
import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from data_trees import VSRL, coco_instances, config_of, write_pictures
from ml_collections import ConfigDict
from PIL import Image

import data_pipelines
from data_pipelines import annotations, pictures
from data_pipelines.hico_det import HicoDet, official
from data_pipelines.v_coco import vsrl
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError


def examples(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split)))


# HICO-DET: class 1 is "board airplane" (verb id 5, COCO id 5), 2 "direct airplane" (18).
HICO = {
    "file_name": "HICO_{split}2015_00000001.jpg",
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


def hico_entries(split):
    empty = {"annotations": [], "hoi_annotation": [], "file_name": f"HICO_{split}2015_00000002.jpg"}
    first = {**HICO, "file_name": HICO["file_name"].format(split=split)}
    return copy.deepcopy([first, {**HICO, **empty}])


@pytest.fixture
def hico_tree(tmp_path):
    """The official picture folders in a manual folder, without annotation."""
    root = tmp_path / "manual" / "hico_20160224_det"
    for split in ("train", "test"):
        names = [entry["file_name"] for entry in hico_entries(split)]
        write_pictures(root / "images" / f"{split}2015", names)
    (root / "annotations").mkdir()
    return root


def write_mat(path):
    """HICO-DET's own file with the entries above, as SciPy writes MATLAB's structs."""
    box_type = [(key, object) for key in ("x1", "x2", "y1", "y2")]
    hoi_type = [(k, object) for k in ("id", "bboxhuman", "bboxobject", "connection", "invis")]

    def boxes(*rows):
        made = np.zeros((1, len(rows)), dtype=box_type)
        for number, (x1, y1, x2, y2) in enumerate(rows):
            made[0, number] = tuple(np.uint16(value) for value in (x1, x2, y1, y2))
        return made

    airplane = (5, 7, 64, 48)
    content = {}
    for split in ("train", "test"):
        pictures = np.zeros((1, 2), [("filename", object), ("size", object), ("hoi", object)])
        size = np.zeros((1, 1), [(key, object) for key in ("width", "height", "depth")])
        size[0, 0] = (np.uint16(64), np.uint16(48), np.uint8(3))
        seen = np.zeros((1, 2), hoi_type)
        pair = np.array([[1, 1]], np.uint8)
        seen[0, 0] = (np.uint16(1), boxes((1, 1, 20, 30)), boxes(airplane), pair, np.uint8(0))
        seen[0, 1] = (np.uint16(2), boxes((2, 2, 20, 30)), boxes(airplane), pair, np.uint8(0))
        hidden = np.zeros((1, 1), hoi_type)
        nothing = np.zeros((0, 0))
        hidden[0, 0] = (np.uint16(3), nothing, nothing, nothing, np.uint8(1))
        for number, hoi in enumerate((seen, hidden)):
            name = hico_entries(split)[number]["file_name"]
            pictures[0, number] = (name, size, hoi)
        content[f"bbox_{split}"] = pictures
    scipy.io.savemat(path, content)


def test_the_matlab_file_says_the_same_as_the_fields_json(tmp_path):
    write_mat(tmp_path / "anno_bbox.mat")
    vocabulary = vocabularies.load("hico_det")
    for split in ("train", "test"):
        assert official.read(tmp_path / "anno_bbox.mat", split, vocabulary) == hico_entries(split)


def test_hico_det_builds_from_both_layouts_through_tfds_load(tmp_path, hico_tree):
    """`trainval_hico.json` counts from 0, the MATLAB file and `test_hico.json` from 1."""
    write_mat(hico_tree / "anno_bbox.mat")
    for name, split in (("trainval", "train"), ("test", "test")):
        entries = hico_entries(split)
        if split == "train":
            for box in entries[0]["annotations"]:
                box["bbox"] = [value - 1 for value in box["bbox"]]
        (hico_tree / "annotations" / f"{name}_hico.json").write_text(json.dumps(entries))
    read = {}
    for layout in ("ppdm", "official"):
        download = tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
        found, info = tfds.load(
            f"hico_det/{layout}",
            data_dir=str(tmp_path / "prepared"),
            download_and_prepare_kwargs={"download_config": download},
            with_info=True,
        )
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


def test_a_hico_file_of_unknown_origin_must_say_where_pixels_start(tmp_path, hico_tree):
    path = hico_tree / "annotations" / "mine.json"
    path.write_text(json.dumps(hico_entries("train")))
    images = str(hico_tree / "images" / "train2015")
    config = config_of(tmp_path, "hico_det", train_annotations=str(path), train_images=images)
    config.data.eval_split = "train"
    with pytest.raises(UserError, match=r"data\.train_origin to 0 or 1"):
        data_pipelines.load_dataset(config.data)
    with config.data.unlocked():
        config.data.train_origin = 1
    dataset = data_pipelines.load_dataset(config.data)
    np.testing.assert_array_equal(examples(dataset.builder, "train")[0]["boxes"][0], [0, 0, 19, 29])


def test_missing_pieces_are_all_named_before_any_work(tmp_path, hico_tree):
    shutil.rmtree(hico_tree / "images" / "test2015")
    builder = HicoDet(config="official", data_dir=str(tmp_path / "prepared"))
    download = tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
    with pytest.raises(UserError) as caught:
        builder.download_and_prepare(download_config=download)
    message = str(caught.value)
    assert "\n" not in message
    assert str(hico_tree / "anno_bbox.mat") in message
    assert str(hico_tree / "images" / "test2015") in message
    assert str(hico_tree / "images" / "train2015") not in message
    assert "umich-ywchao-hico" in message


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("hico_det", ["hico_20160224_det/annotations/trainval_hico.json", "images/test2015"]),
        ("v_coco", ["v_coco/annotations/trainval_vcoco.json", "v_coco/images/val2014"]),
        ("json", ["data.train_annotations"]),
    ],
)
def test_a_config_without_files_tells_which_are_missing(tmp_path, name, files):
    with pytest.raises(UserError) as caught:
        data_pipelines.load_dataset(config_of(tmp_path, name).data)
    assert all(file in str(caught.value) for file in files)
    if name != "json":
        assert str(tmp_path / "prepared" / "downloads" / "manual") in str(caught.value)


def own_data(tmp_path, entries, names=("a.png", "b.png")):
    """A config of anyone's own data with these entries for training and evaluation."""
    write_pictures(tmp_path / "pictures", names)
    (tmp_path / "own.json").write_text(json.dumps(entries))
    classes = {"objects": {"1": "person", "2": "dog"}, "verbs": {"1": "walk", "2": "feed"}}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    files = dict.fromkeys(("train_annotations", "eval_annotations"), str(tmp_path / "own.json"))
    images = dict.fromkeys(("train_images", "eval_images"), str(tmp_path / "pictures"))
    return config_of(tmp_path, "json", vocabulary=str(tmp_path / "classes.json"), **files, **images)


def own_entry(name, verb=1, **extra):
    boxes = [
        {"bbox": [1, 2, 20, 40], "category_id": 1},
        {"bbox": [15, 20, 50, 45], "category_id": 2},
    ]
    relation = {"subject_id": 0, "object_id": 1, "category_id": verb}
    return {"file_name": name, "annotations": boxes, "hoi_annotation": [relation], **extra}


def test_own_data_gets_its_classes_and_rare_flags_from_its_annotation(tmp_path):
    dataset = data_pipelines.load_dataset(
        own_data(tmp_path, [own_entry("a.png"), own_entry("b.png")]).data
    )
    assert dataset.vocabulary.classes == ((0, 1),)  # nobody feeds a dog here
    assert dataset.vocabulary.rare == (True,)
    np.testing.assert_array_equal(dataset.verbs_of_object, [[False, False], [True, False]])


def test_dirt_is_counted_in_the_report_and_one_bad_picture_ends_nothing(tmp_path, capsys):
    entries = [
        own_entry("a.png"),
        own_entry("b.png\n", width=640, height=480),
        own_entry("missing.png"),
        own_entry("broken.png"),
        own_entry("a.png", verb=2),
        {"no": "entry"},
    ]
    entries[1]["annotations"].append({"bbox": [600, 400, 700, 500], "category_id": "2\n"})
    config = own_data(tmp_path, entries)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"broken")
    (tmp_path / "pictures" / "b.png").unlink()
    Image.new("RGB", (640, 500)).save(tmp_path / "pictures" / "b.png")
    dataset = data_pipelines.load_dataset(config.data)
    assert dataset.num_train == 2
    found = dataset.builder.info.metadata["reports"]["train"]["findings"]
    assert {kind: finding["count"] for kind, finding in found.items()} == {
        "entry_malformed": 1,
        "picture_twice": 1,
        "string_id": 2,
        "box_clipped": 1,
        "picture_missing": 1,
        "picture_unreadable": 1,
        "size_mismatch": 1,
    }
    assert "missing.png" in found["picture_missing"]["examples"][0]
    assert "1 picture_unreadable: left out of training" in capsys.readouterr().err
    # Evaluation still counts the pairs of the pictures that could not be had.
    names = [entry["file_name"] for entry in dataset.ground_truth("test")]
    assert names == ["a.png", "b.png", "missing.png", "broken.png"]


def test_dirt_that_no_reader_foresees_ends_no_build_either(tmp_path, monkeypatch):
    """Names that no file can have, nulls, infinite sizes, decoders that raise what they like."""
    entries = [
        own_entry("a.png", width=float("inf"), height=10**400),
        own_entry("b.png"),
        own_entry("nul\0.png"),
        own_entry("long" * 99 + ".png"),
        own_entry("strange.png"),
    ]
    entries[0]["annotations"].append(None)
    entries[0]["annotations"].append({"bbox": [1, 2, 10**400, 40], "category_id": 10**400})
    entries[0]["hoi_annotation"] += [None, {"subject_id": 10**400}]
    config = own_data(tmp_path, entries, ("a.png", "b.png", "strange.png"))
    prepare = pictures.prepare

    def decode(data, *, name, **rest):
        if name == "strange.png":
            raise TypeError("cannot handle this data type")
        return prepare(data, name=name, **rest)

    monkeypatch.setattr(pictures, "prepare", decode)
    dataset = data_pipelines.load_dataset(config.data)
    assert dataset.num_train == 2
    found = dataset.builder.info.metadata["reports"]["train"]["findings"]
    assert {kind: finding["count"] for kind, finding in found.items()} == {
        "box_malformed": 2,
        "relation_malformed": 2,
        "picture_unreadable": 3,
    }
    assert "TypeError" in found["picture_unreadable"]["examples"][2]
    assert len(dataset.ground_truth("test")) == 5


def test_a_split_without_any_picture_is_an_error_that_names_the_folder(tmp_path):
    config = own_data(tmp_path, [own_entry("x.png")])
    with pytest.raises(UserError, match=r"none of the 1 pictures .* the first is x\.png"):
        data_pipelines.load_dataset(config.data)


def test_annotation_that_changed_after_the_build_is_noticed(tmp_path):
    config = own_data(tmp_path, [own_entry("a.png")])
    assert data_pipelines.load_dataset(config.data).num_train == 1
    assert data_pipelines.load_dataset(config.data, build=False).num_train == 1
    (tmp_path / "own.json").write_text(json.dumps([own_entry("a.png"), own_entry("b.png")]))
    with pytest.raises(UserError, match="changed since the data set"):
        data_pipelines.load_dataset(config.data)
    (tmp_path / "own.json").unlink()  # the prepared data set stands on its own
    assert data_pipelines.load_dataset(config.data).num_train == 1


def test_without_build_an_unprepared_data_set_is_an_error(tmp_path):
    config = own_data(tmp_path, [own_entry("a.png")])
    with pytest.raises(UserError, match="is not built in"):
        data_pipelines.load_dataset(config.data, build=False)
    config.data.name = "imagenet"
    with pytest.raises(UserError, match="no data set 'imagenet'"):
        data_pipelines.load_dataset(config.data)


def test_vsrl_rows_become_relations_role_by_role():
    vocabulary = vocabularies.load("v_coco")
    first, second = vsrl.read(VSRL, coco_instances(), vocabulary)
    assert first["annotations"][2] == {"bbox": [2, 2.5, 12, 22.5], "category_id": 49}
    triples = [tuple(relation.values()) for relation in first["hoi_annotation"]]
    assert triples == [(0, 2, 2), (0, 3, 4)]  # cut_instr is 2, cut_obj 4
    # The person of picture 9 cuts, but nothing is annotated: known, counted, not trained.
    assert [r["object_id"] for r in second["hoi_annotation"]] == [-1, -1]
    report = annotations.Report()
    assert len(annotations.clean(first, vocabulary, report).boxes) == 4
    assert not len(annotations.clean(second, vocabulary, report).relations)
    assert report.counts == {"crowd_region": 1, "relation_without_object": 2}


def test_a_bad_box_among_cocos_is_left_to_the_cleaning():
    instances = coco_instances()
    instances["annotations"][2]["bbox"] = [1, 2, 3]
    first, _ = vsrl.read(VSRL, instances, vocabularies.load("v_coco"))
    report = annotations.Report()
    cleaned = annotations.clean(first, vocabularies.load("v_coco"), report)
    np.testing.assert_array_equal(cleaned.relations, [[0, 2, 3]])  # verb 3 is cut_obj, id 4
    assert report.counts["box_malformed"] == report.counts["relation_lost_box"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_name": "slice"}, "'slice' has the unknown role 'instr'"),
        ({"label": [1, 0]}, "'cut' has lists of different lengths"),
        ({"ann_id": None}, "'cut' lacks a list"),
    ],
)
def test_what_is_no_file_of_v_cocos_is_named(change, message):
    with pytest.raises(UserError, match=message):
        vsrl.read([VSRL[0] | change], coco_instances(), vocabularies.load("v_coco"))


def test_v_coco_builds_from_its_own_files_with_pictures_of_2017(tmp_path):
    write_pictures(tmp_path / "train2017", ["000000000007.jpg", "000000000009.jpg"])
    (tmp_path / "vcoco_train.json").write_text(json.dumps(VSRL))
    (tmp_path / "vcoco_train.ids").write_text("7\n8\n9\n")
    (tmp_path / "instances.json").write_text(json.dumps(coco_instances()))
    config = config_of(
        tmp_path,
        "v_coco",
        train_annotations=str(tmp_path / "vcoco_train.json"),
        train_images=str(tmp_path / "train2017"),
        eval_split="train",
    )
    with pytest.raises(UserError, match=r"data\.train_instances"):
        data_pipelines.load_dataset(config.data)
    with config.data.unlocked():
        config.data.train_instances = str(tmp_path / "instances.json")
    dataset = data_pipelines.load_dataset(config.data)
    names = [example["file_name"].decode() for example in examples(dataset.builder, "train")]
    assert names == ["COCO_train2014_000000000007.jpg", "COCO_train2014_000000000009.jpg"]
    assert dataset.builder.info.metadata["reports"]["train"]["findings"]["picture_missing"]


def test_vsrl_of_pictures_that_the_instances_lack_is_an_error():
    with pytest.raises(UserError, match="the first 12, are not in the instances"):
        vsrl.read(VSRL, coco_instances(), vocabularies.load("v_coco"), [7, 12])


def _load_in_process(config_dict, gate, results):
    gate.wait()
    config = ConfigDict(config_dict)
    results.put(data_pipelines.load_dataset(config).num_train)


def test_two_processes_that_need_the_same_data_set_build_it_once(tmp_path):
    config = own_data(tmp_path, [own_entry("a.png"), own_entry("b.png")])
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(2), context.Queue()
    arguments = (config.data.to_dict(), gate, results)
    workers = [context.Process(target=_load_in_process, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [results.get(timeout=5) for _ in workers] == [2, 2]


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("apache_beam", "mlcroissant"))),
    reason="the command `tfds` wants apache-beam and mlcroissant",
)
def test_tfds_build_takes_the_folder_of_a_builder(tmp_path, hico_tree):
    write_mat(hico_tree / "anno_bbox.mat")
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
    assert "split test: 2 entries, nothing to report" in done.stderr
