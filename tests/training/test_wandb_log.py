"""Weights & Biases in its offline mode: the same scalars and drawings, and one run a workdir."""

import json
import struct

import numpy as np
import pytest

from configs import base
from ggnet_jax.errors import UserError
from ggnet_jax.training.log import RunLog
from ggnet_jax.training.wandb_log import ID

wandb = pytest.importorskip("wandb", reason="W&B is an optional install: pip install wandb")
wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2", reason="of W&B")
pytestmark = pytest.mark.filterwarnings("ignore")  # of its own


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)


def log_steps(workdir, start, end):
    with RunLog(workdir, start_step=start, total_steps=9, wandb=base.get_config()) as log:
        for step in range(start + 1, end + 1):
            log.write(step, {"loss": 0.5 * step, "images_per_second": 1.0})
            if step % 3 == 0:
                image = np.full((20, 30, 3), step, np.uint8)
                log.show(step, {"image_1/a.png": image}, {}, prefix="eval/")
                log.write(step, {"mAP/default/full": 10.0 * step}, prefix="eval/")


BLOCK, HEADER, FULL, LAST = 32768, 7, 1, 4


def records(data):
    """The records of a .wandb file, which has LevelDB's log format after a header of 7 bytes."""
    assert data[:4] == b":W&B"
    position, parts = HEADER, b""
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # padding
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""


def history(folder):
    """(run, rows) of an offline run's file."""
    rows, run = [], None
    (path,) = folder.glob("*.wandb")
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            run = record.run
        if record.HasField("history"):
            rows.append(
                {
                    ".".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
            )
    return run, rows


def test_an_offline_run_that_goes_on(offline, tmp_path):
    log_steps(tmp_path, 0, 4)
    log_steps(tmp_path, 3, 6)  # its last step was logged, and comes again
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    runs = [history(folder) for folder in folders]
    run_id = json.loads((tmp_path / ID).read_text())["id"]
    assert [run.run_id for run, _ in runs] == [run_id] * 2
    assert {run.project for run, _ in runs} == {"ggnet_jax"}
    assert [row["step"] for _, rows in runs for row in rows] == [1, 2, 3, 3, 3, 4, 4, 5, 6, 6, 6]
    rows = runs[1][1]
    assert rows[0]["loss"] == 2.0 and rows[-1]["eval/mAP/default/full"] == 60.0
    image = "eval/image_1/a.png"
    sizes = [
        (row[f"{image}.width"], row[f"{image}.height"]) for row in rows if f"{image}.width" in row
    ]
    assert sizes == [(30, 20)]
    assert len(list((folders[1] / "files" / "media" / "images").rglob("*.png"))) == 1


@pytest.mark.parametrize("content", ["[]", '{"id": ""}', '{"id": 7}', "{"])
def test_a_run_id_that_is_none(offline, tmp_path, content):
    (tmp_path / ID).write_text(content)
    with pytest.raises(UserError, match=r"wandb\.json"):
        log_steps(tmp_path, 0, 1)


def test_wandb_that_lets_nobody_in(offline, tmp_path, monkeypatch):
    def refused(**_):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refused)
    with pytest.raises(UserError) as error:
        log_steps(tmp_path, 0, 1)
    said = str(error.value)
    assert "No API key configured.; log in with `wandb login`, set WANDB_MODE=offline" in said
    assert "\n" not in said
