"""--mode=evaluate: no image twice, none missing, whatever interrupts it."""

import dataclasses
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_split import FakeSplit
from tiny import VOCABULARY, make_run

from ggnet_jax.cli import evaluate_split, predict_split
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.external_detections import ExternalDetections

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", steps=(3, 7))


def go(run, split, step=None, **config):
    return evaluate_split.evaluate(split.config(**config), run, step, data=split)


def predictions(run) -> list[dict]:
    return json.loads((run / "evaluation" / "predictions.json").read_text())


def test_writes_predictions_metrics_and_tables(run, capsys):
    results = go(run, FakeSplit(images=5))
    entries = predictions(run)
    assert [entry["file_name"] for entry in entries] == [f"{k}.jpg" for k in range(5)]
    assert any(entry["hoi_prediction"] for entry in entries)
    for entry in entries:
        for pair in entry["hoi_prediction"]:
            assert entry["predictions"][pair["subject_id"]]["category_id"] == 1
            assert pair["category_id"] in VOCABULARY.verb_ids
    assert set(results) >= {"mAP/default/full", "mAP/known_object/full"}
    said = capsys.readouterr().out
    assert "checkpoint of step 7, 5 images" in said and "mAP, percent" in said
    folder = run / "evaluation"
    means = json.loads((folder / "metrics.json").read_text())["settings"]["default"]["means"]
    assert results["mAP/default/full"] == pytest.approx(100 * means["full"])
    assert not list(folder.glob("partial_*"))


def test_goes_on_where_it_was_interrupted(monkeypatch, run):
    go(run, FakeSplit(images=7))
    whole = predictions(run)
    with pytest.raises(KeyboardInterrupt):
        go(run, FakeSplit(images=7, stop_after=3))
    (lines,) = (run / "evaluation").glob("partial_*/process_0.jsonl")
    kept = lines.read_text()
    assert kept.count("\n") == 4  # the batch in flight is lost, the two before it are not
    lines.write_text(kept + kept.splitlines()[0][:40])  # and a line that a kill cut in two

    ran = []
    real = detection.detect_batches

    def watched(detect, variables, batches, **options):
        for batch, found in real(detect, variables, batches, **options):
            ran.append([int(k) for k in batch["image_id"]])
            yield batch, found

    monkeypatch.setattr(detection, "detect_batches", watched)
    go(run, FakeSplit(images=7))
    assert ran == [[4, 5], [6, -1]]
    assert predictions(run) == whole


def test_lines_of_another_checkpoint_are_not_mixed_in(run):
    go(run, FakeSplit(images=6), step=3)
    whole = predictions(run)
    with pytest.raises(KeyboardInterrupt):
        go(run, FakeSplit(images=6, stop_after=2), step=7)
    go(run, FakeSplit(images=6), step=3)
    assert predictions(run) == whole


def test_lines_of_other_outside_boxes_are_not_mixed_in(run, tmp_path):
    """The same file name with other boxes in it is another evaluation."""
    boxes = tmp_path / "boxes.json"
    config = FakeSplit(images=1).config()
    config.eval.detections = str(boxes)
    trained, names = detection.load(run), []
    for text in ("[]", "[ ]", "[]"):
        boxes.write_text(text)
        names.append(predict_split.fingerprint(trained, config, []))
    assert names[0] == names[2] != names[1]


def test_two_processes_share_the_images(run):
    """Each predicts its part, and together they write what one process writes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    workers = [
        subprocess.Popen(
            [sys.executable, HERE / "evaluation_worker.py", run, port, str(process)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env={"PYTHONPATH": str(HERE.parent), "JAX_PLATFORMS": "cpu", "PATH": ""},
        )
        for process in (0, 1)
    ]
    said = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said[0][1] + said[1][1]
    assert "mAP, percent" in said[0][0] and "mAP" not in said[1][0]
    together = predictions(run)
    go(run, FakeSplit(images=7), batch_size=4)
    alone = predictions(run)
    assert [entry["file_name"] for entry in together] == [f"{k}.jpg" for k in range(7)]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(
            [pair["score"] for pair in ours["hoi_prediction"]],
            [pair["score"] for pair in theirs["hoi_prediction"]],
            rtol=1e-4,
        )


def test_other_classes_than_the_runs_are_refused(run):
    other = dataclasses.replace(VOCABULARY, verbs=("ride", "push", "throw", "hug"))
    with pytest.raises(UserError, match="'fly', not 'throw'"):
        go(run, FakeSplit(images=2, vocabulary=other))


def test_an_unknown_protocol_is_named(run):
    with pytest.raises(UserError, match="'coco'"):
        go(run, FakeSplit(images=2), protocol="coco")


def test_boxes_of_an_outside_detector_are_used(run, tmp_path):
    boxes = [[10, 5, 50, 50], [40, 30, 70, 28]]
    entries = [
        {"file_name": f"{k}.jpg", "category_id": kind, "bbox": box, "score": score}
        for k in range(3)
        for kind, box, score in ((1, boxes[0], 0.9), (2, boxes[1], 0.8))
    ]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(entries))
    go(run, FakeSplit(images=3), detections=str(path))
    found = predictions(run)
    assert all(entry["hoi_prediction"] for entry in found)
    for entry in found:
        for box in entry["predictions"]:
            x, y, w, h = boxes[0] if box["category_id"] == 1 else boxes[1]
            np.testing.assert_allclose(box["bbox"], (x, y, x + w, y + h), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, "entry 1 .* can't be read"),
        ({"bbox": [1, 2, -3, 4]}, "sides can't be negative"),
        ({"score": float("nan")}, "scores lie between"),
        ({"category_id": 77}, "77"),
        ({"file_name": None}, "no entry .* belongs"),
    ],
)
def test_outside_boxes_that_cannot_be_read_are_named(tmp_path, change, message):
    good = {"file_name": "0.jpg", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    first = {**good, "file_name": "elsewhere.jpg"} if "file_name" in change else good
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([first, good | change]))
    with pytest.raises(UserError, match=message):
        ExternalDetections.read(path, VOCABULARY, FakeSplit(images=1).ground_truth("test"))


def test_outside_boxes_are_found_by_coco_number(tmp_path):
    path = tmp_path / "boxes.json"
    box = {"image_id": 581929, "category_id": 2, "bbox": [0, 0, 60, 30], "score": 0.5}
    path.write_text(json.dumps([box]))
    truth = [{"file_name": "COCO_val2014_000000000042.jpg"},
             {"file_name": "COCO_val2014_000000581929.jpg"}]  # fmt: skip
    boxes = ExternalDetections.read(path, VOCABULARY, truth)
    batch = boxes.batch(np.array([1, 0, -1]), np.array([[120, 60]] * 3), (64, 64))
    assert batch.valid.tolist() == [[True], [False], [False]]
    # 120 x 60 in 64 x 64: half of that size and a bit, 16 rows below the top, cells of 4.
    np.testing.assert_allclose(batch.boxes[0, 0], (0, 4, 8, 8))
