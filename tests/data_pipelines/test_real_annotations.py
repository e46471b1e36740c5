"""Real annotation files, through the cleaning and through the whole pipeline."""

import json

import numpy as np
import pytest
from data_trees import config_of, write_images

import data_pipelines
from data_pipelines import annotations
from data_pipelines.v_coco import vsrl
from ggnet_jax import vocabularies


def boxes_and_verbs(entry):
    """The relations of an entry without its indices."""
    at = [tuple(np.round(box["bbox"], 2)) for box in entry["annotations"]]
    return {
        (at[r["subject_id"]], at[r["object_id"]], r["category_id"])
        for r in entry["hoi_annotation"]
        if r["object_id"] >= 0 and r["category_id"] != 23  # the pair lists leave `point` out
    }


def test_real_vsrl_has_the_pairs_of_the_fields_json(shared_dir):
    folder = shared_dir / "data" / "vcoco"
    path = str(folder / "vcoco_val.json.gz")
    entries = vsrl.read(
        annotations.read_entries(path),
        vsrl.read_instances([str(folder / "instances_vcoco_val.json.gz")]),
        vocabularies.load("v_coco"),
        vsrl.read_ids(path),
    )
    expected = annotations.read_entries(folder / "val_vcoco.json.gz")
    found = {entry["file_name"]: boxes_and_verbs(entry) for entry in entries}
    assert len(found) == 2867
    assert found == {entry["file_name"]: boxes_and_verbs(entry) for entry in expected}


REAL = [
    ("hico_det", "hico_det_test/test_hico.json.gz", 9658, 56786, 33405),
    ("v_coco", "vcoco/train_vcoco.json.gz", 2533, 6661, 6400),
    ("v_coco", "vcoco/val_vcoco.json.gz", 2867, 7658, 7417),
    ("v_coco", "vcoco/test_vcoco.json.gz", 4946, 13030, 12402),
]


@pytest.mark.parametrize(("name", "path", "images", "boxes", "relations"), REAL)
def test_the_real_files_are_clean(shared_dir, name, path, images, boxes, relations):
    vocabulary, report = vocabularies.load(name), annotations.Report()
    entries = annotations.read_entries(shared_dir / "data" / path)
    cleaned = [
        annotations.clean(entry, vocabulary, report, one_based=name == "hico_det")
        for entry in entries
    ]
    assert (len(cleaned), sum(len(c.boxes) for c in cleaned)) == (images, boxes)
    assert sum(len(c.relations) for c in cleaned) == relations
    assert not report.counts


@pytest.mark.parametrize("number", [40, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "path"), [row[:2] for row in REAL])
def test_real_files_pass_the_whole_pipeline_with_blank_images(
    shared_dir, tmp_path, name, path, number
):
    """The busiest entry and the first forty (or all), with a black image of the right size."""
    entries = annotations.read_entries(shared_dir / "data" / path)
    busiest = max(entries, key=lambda entry: len(entry["hoi_annotation"]))
    others = (e for e in entries[:number] if e["file_name"] != busiest["file_name"])
    chosen = [busiest, *others]
    (tmp_path / "images").mkdir()
    for entry in chosen:
        corners = np.array([box["bbox"] for box in entry["annotations"]]).reshape(-1, 4)
        largest = np.ceil(corners.max(axis=0, initial=32)).astype(int)
        size = (entry.get("width", int(largest[2])), entry.get("height", int(largest[3])))
        blank = f"{size[0]}x{size[1]}.jpg"
        if not (tmp_path / "blank" / blank).exists():
            write_images(tmp_path / "blank", [blank], size)
        (tmp_path / "images" / entry["file_name"]).symlink_to(tmp_path / "blank" / blank)
    source = tmp_path / ("test_hico.json" if name == "hico_det" else "vcoco.json")
    source.write_text(json.dumps(chosen))
    config = config_of(
        tmp_path,
        name,
        train_annotations=str(source),
        train_images=str(tmp_path / "images"),
        eval_split="train",
        image_size=(128, 128),
    )
    config.batch_size = 8
    config.eval.batch_size = 8
    dataset = data_pipelines.load_dataset(config.data)
    assert not dataset.builder.metadata["reports"]["train"]["findings"]
    shift = 1 if name == "hico_det" else 0  # that file counts from 1
    shown = 0
    for batch in data_pipelines.eval_batches(dataset, config, "train"):
        for row in np.flatnonzero(batch["example_weight"]):
            entry = chosen[batch["image_id"][row]]
            size = batch["size"][row]
            corners = np.array([b["bbox"] for b in entry["annotations"]]).reshape(-1, 2, 2) - shift
            expected = (corners - size / 2) * (128 / size.max()) + 64
            found = batch["boxes"][row][batch["box_valid"][row]]
            np.testing.assert_allclose(found, expected.reshape(-1, 4) / 4, atol=1e-3)
            relations = min(len(entry["hoi_annotation"]), 64)
            assert batch["relation_valid"][row].sum() == relations
            shown += 1
    assert shown == len(chosen)
    trained = next(data_pipelines.train_batches(dataset, config))
    assert np.isfinite(trained["image"]).all() and np.isfinite(trained["boxes"]).all()
