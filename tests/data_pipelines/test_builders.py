"""What all builders over files have in common, on anyone's own data."""

import multiprocessing

import numpy as np
import pytest
from data_trees import config_of, own_config, write_images
from ml_collections import ConfigDict

import data_pipelines
from data_pipelines import images
from ggnet_jax.errors import UserError


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
    """A config of one's own data with these entries for training and evaluation."""
    write_images(tmp_path / "images", names)
    return own_config(tmp_path, entries, entries)


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


def findings(dataset):
    return dataset.builder.metadata["reports"]["train"]["findings"]


def counts(dataset):
    return {kind: finding["count"] for kind, finding in findings(dataset).items()}


def test_what_is_malformed_is_counted_and_one_bad_image_ends_nothing(tmp_path, capsys):
    entries = [
        own_entry("a.png"),
        own_entry("b.png\n", width=640, height=480),
        own_entry("missing.png"),
        own_entry("broken.png"),
        own_entry("a.png", verb=2),
        {"no": "entry"},
    ]
    entries[1]["annotations"].append({"bbox": [600, 400, 700, 500], "category_id": "2\n"})
    config = own_data(tmp_path, entries, ["a.png"])
    write_images(tmp_path / "images", ["b.png"], (640, 500))
    (tmp_path / "images" / "broken.png").write_bytes(b"broken")
    dataset = data_pipelines.load_dataset(config.data)
    assert dataset.num_train == 2
    assert counts(dataset) == {
        "entry_malformed": 1,
        "image_twice": 1,
        "string_id": 2,
        "box_clipped": 1,
        "image_missing": 1,
        "image_unreadable": 1,
        "size_mismatch": 1,
    }
    assert "missing.png" in findings(dataset)["image_missing"]["examples"][0]
    printed = capsys.readouterr()
    assert "Data report of hoi_json, split train: 6 entries" in printed.err
    assert "1  unreadable image: left out of training" in printed.err
    assert not printed.out  # TFDS's own remarks, on downloads
    # Evaluation still counts the pairs of the images that could not be read.
    names = [entry["file_name"] for entry in dataset.ground_truth("test")]
    assert names == ["a.png", "b.png", "missing.png", "broken.png"]


def test_what_no_reader_foresees_ends_no_build_either(tmp_path, monkeypatch):
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
    prepare = images.prepare

    def decode(data, *, name, **rest):
        if name == "strange.png":
            raise TypeError("cannot handle this data type")
        return prepare(data, name=name, **rest)

    monkeypatch.setattr(images, "prepare", decode)
    dataset = data_pipelines.load_dataset(config.data)
    assert dataset.num_train == 2
    assert counts(dataset) == {"box_malformed": 2, "relation_malformed": 2, "image_unreadable": 3}
    assert "TypeError" in findings(dataset)["image_unreadable"]["examples"][2]
    assert len(dataset.ground_truth("test")) == 5


def test_a_split_without_any_image_is_an_error_that_names_the_folder(tmp_path):
    config = own_data(tmp_path, [own_entry("x.png")])
    with pytest.raises(UserError, match=r"none of the 1 images .* the first is x\.png"):
        data_pipelines.load_dataset(config.data)


def test_an_unknown_data_set_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no data set 'imagenet'"):
        data_pipelines.load_dataset(config_of(tmp_path, "imagenet").data)


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
