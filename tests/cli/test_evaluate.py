"""--mode=evaluate: no image twice, none missing, whatever interrupts it."""

import dataclasses
import errno
import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_split import FakeSplit
from ml_collections import ConfigDict
from tiny import VOCABULARY, make_run

from ggnet_jax.cli import evaluate_split, modes, predict_split
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.external_detections import ExternalDetections
from ggnet_jax.run_dir import folder as run_folder

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", steps=(3, 7))


def go(run, split, step=None, **config):
    return evaluate_split.evaluate(split.config(**config), run, step, data=split)


def predictions(run, folder="") -> list[dict]:
    return json.loads((run / "evaluation" / folder / "predictions.json").read_text())


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
    whole = predictions(run, "step_3")
    with pytest.raises(KeyboardInterrupt):
        go(run, FakeSplit(images=6, stop_after=2), step=7)
    go(run, FakeSplit(images=6), step=3)
    assert predictions(run, "step_3") == whole


def test_each_evaluation_has_a_folder_of_its_own(run, tmp_path, monkeypatch):
    """Only the newest checkpoint on the run's own split lies in the open."""
    fields = run_folder.read_config(run)
    fields["data"] |= {"eval_annotations": str(tmp_path / "a/test.json"), "image_size": (64, 96)}
    (run / run_folder.CONFIG).write_text(json.dumps(fields))

    def folder(step=None, protocol="hico", **data):
        config = FakeSplit(images=2).config(protocol=protocol)
        vars(config.data).update(data)
        return str(evaluate_split.results_folder(config, run, step).relative_to(run / "evaluation"))

    monkeypatch.chdir(tmp_path)
    same = {"eval_annotations": "a/test.json", "image_size": [64, 96]}
    assert folder() == folder(7) == folder(**same) == folder(7, name="unknown to the run") == "."
    assert folder(3) == "step_3"
    names = [
        folder(eval_annotations="a/other.json.gz"),
        folder(eval_annotations="b/other.json.gz"),
        folder(3, eval_annotations="b/other.json.gz"),
        folder(eval_split="test[:1]"),
        folder(image_size=(64, 64)),
        folder(protocol="hico_ppdm"),
    ]
    assert len(set(names)) == len(names)
    for name, start in zip(names, ("other-", "other-", "other-", "test_1_-", "", "hico_ppdm-"),
                           strict=True):  # fmt: skip
        assert name.startswith(start) and "/" not in name
    assert names[2] == f"{names[1]}-step_3"


@pytest.mark.parametrize("fails", ["predict_split", "write_json"])
def test_a_full_disk_is_one_line(run, monkeypatch, fails):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if fails == "predict_split":
        monkeypatch.setattr(evaluate_split, "predict_split", full)
    else:
        monkeypatch.setattr(evaluate_split, "predict_split", lambda *args: [])
        monkeypatch.setattr("ggnet_jax.io.os.replace", full)
    with pytest.raises(UserError, match=r"evaluation.*: No space left on device") as caught:
        go(run, FakeSplit(images=1))
    assert "\n" not in str(caught.value)
    assert not list((run / "evaluation").glob("*.unfinished"))


def test_a_network_that_finds_nothing_yet_has_a_map_of_zero(run, monkeypatch, capsys):
    nothing = [{"file_name": "0.jpg", "predictions": [], "hoi_prediction": []}]
    monkeypatch.setattr(evaluate_split, "predict_split", lambda *args: nothing)
    for protocol in ("hico", "hico_ppdm"):
        results = go(run, FakeSplit(images=1), protocol=protocol)
        assert results and set(results.values()) == {0.0}
        assert "no interaction is predicted in any of the 1 images" in capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("field", "value"), [("top_k", 0), ("batch_size", 0), ("pictures", -1), ("protocol", "coco")]
)
def test_impossible_settings_are_refused_before_the_data_are_read(run, field, value):
    config = ConfigDict(json.loads((run / "config.json").read_text()))
    config.eval[field] = value
    with pytest.raises(UserError, match=rf"^config\.eval\.{field} is {value!r}; it "):
        modes.evaluate(config, run, None, data=None)


def test_another_dtype_than_the_runs(run):
    """Convolutions round, the rest does not; lines of both are never mixed."""
    split, scores, names = FakeSplit(images=2), {}, set()
    for dtype in ("float32", "bfloat16"):
        config = split.config()
        config.model.dtype = dtype
        names.add(predict_split.fingerprint(detection.load(run, dtype=dtype), config, []))
        evaluate_split.evaluate(config, run, None, data=split)
        boxes = predictions(run)[0]["predictions"]
        scores[dtype] = max(box["score"] for box in boxes)
    assert len(names) == 2
    assert 0 < abs(scores["bfloat16"] / scores["float32"] - 1) < 0.1


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
    (folder,) = (run / "evaluation").glob("boxes-*")
    found = predictions(run, folder)
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


def test_a_full_disk_and_ctrl_c_say_how_to_go_on(run, monkeypatch):
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        go(run, FakeSplit(images=5, stop_after=1), top_k=59)
    monkeypatch.setattr(predict_split, "json", SimpleNamespace(dumps=full_disk))
    with pytest.raises(UserError, match=r"process_0\.jsonl: No space left .* goes on"):
        go(run, FakeSplit(images=5), top_k=58)


def full_disk(*arguments):
    raise OSError(28, "No space left on device")
