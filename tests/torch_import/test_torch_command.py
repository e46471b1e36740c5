"""Importing PyTorch checkpoints by command, and training from them."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch_files
from tiny_config import get_config as tiny_config
from torch_checkpoints import DETECTOR_LACKS, tiny_checkpoint

import data_pipelines
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.run_dir import folder as workdir
from ggnet_jax.torch_import import from_torch


def test_import_makes_a_run(tmp_path, capsys):
    from ggnet_jax.torch_import import import_checkpoint

    config, weights = tiny_checkpoint(tmp_path / "model.pth")
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "new" / "run")
    folder = tmp_path / "new" / "run"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["run"]
    assert "2 gaze steps" in capsys.readouterr().out

    saved = workdir.read_config(folder)
    vocabulary = vocabularies.load("figures_hoi")
    assert saved.model.num_verbs == vocabulary.num_verbs
    classes = workdir.read_vocabulary(folder)
    assert classes["verbs_of_object"] == vocabulary.valid_pairs.T.tolist()
    variables, step = checkpoints.load_variables(folder)
    assert step == 0
    expected = from_torch(weights, saved.model)
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(variables), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)

    with pytest.raises(UserError, match="already holds a run"):
        import_checkpoint(tmp_path / "model.pth", config, folder)


def test_import_into_an_empty_folder(tmp_path):
    from ggnet_jax.torch_import import import_checkpoint

    config, _ = tiny_checkpoint(tmp_path / "model.pth")
    (tmp_path / "run").mkdir()
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "run")
    assert workdir.is_run(tmp_path / "run")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def raising(error: BaseException):
    def function(*args, **kwargs):
        raise error

    return function


def test_failed_imports_write_nothing(tmp_path, monkeypatch):
    from ggnet_jax.torch_import import new_run

    config, weights = tiny_checkpoint(tmp_path / "model.pth")
    folder = tmp_path / "run"

    def refused(path, config, match, folder=folder):
        with pytest.raises(UserError, match=match):
            new_run.import_checkpoint(path, config, folder)
        assert list(tmp_path.glob("run*")) == []

    refused(tmp_path / "none.pth", config, "no file")
    other: Any = tiny_config()
    other.model.gaze_steps = 1
    refused(tmp_path / "model.pth", other, "--config.model.gaze_steps=2")
    other = tiny_config()
    other.data.name = "json"
    refused(tmp_path / "model.pth", other, "--config.data.vocabulary")
    other.data.vocabulary = "v_coco"
    refused(tmp_path / "model.pth", other, "verbs")

    parents = tmp_path / "run" / "of" / "mine"
    for error in (
        OSError(28, "No space left on device"),
        ValueError(
            'OUT_OF_RANGE: Error writing "x": No space left on device [os_error_code=28]\nat'
        ),
    ):
        monkeypatch.setattr(new_run.Checkpoints, "save", raising(error))
        refused(tmp_path / "model.pth", config, "cannot write .*run: No space left on device$")
        refused(tmp_path / "model.pth", config, "No space left on device$", parents)
    with monkeypatch.context() as patch:
        patch.setattr(new_run.shutil, "disk_usage", lambda path: Usage(1000, 0, 1000))
        refused(tmp_path / "model.pth", config, "0 MB are needed and 0 MB free", parents)
    monkeypatch.setattr(new_run.Checkpoints, "save", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        new_run.import_checkpoint(tmp_path / "model.pth", config, parents)
    assert list(tmp_path.glob("run*")) == []

    torch_files.save(
        tmp_path / "nan.pth", weights | {"hm.0.1.bias": weights["hm.0.1.bias"] * np.nan}
    )
    refused(tmp_path / "nan.pth", config, r"1 array with NaN or infinite values \(hm.0.1.bias\)")

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="files that no run made"):
        new_run.import_checkpoint(tmp_path / "model.pth", config, tmp_path / "theirs")
    assert [p.name for p in (tmp_path / "theirs").iterdir()] == ["thesis.txt"]


def test_import_of_a_detector_starts_its_interaction_heads_afresh(tmp_path, capsys):
    from ggnet_jax.torch_import import import_checkpoint

    config, weights = tiny_checkpoint(tmp_path / "model.pth", drop=DETECTOR_LACKS)
    report = import_checkpoint(tmp_path / "model.pth", config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "start afresh: train before you use the network" in printed
    assert {name.split(".")[0] for name, _ in report.missing} == set(DETECTOR_LACKS)
    for name, _ in report.missing:
        assert name in printed
    variables, _ = checkpoints.load_variables(tmp_path / "run")
    heads = variables["params"]["heads0"]
    np.testing.assert_allclose(heads["interactions"]["glance_classifier"]["bias"], -2.19)
    assert not heads["interactions"]["gaze1"]["offset_conv"]["kernel"].any()
    np.testing.assert_array_equal(
        heads["objects"]["box_size"]["out"]["bias"], weights["wh.0.1.bias"]
    )


@pytest.mark.slow
def test_command_line(tmp_path):
    """As a user types it: exit status 2 and one line for a mistake, 0 and a run otherwise."""
    import subprocess

    repository = Path(__file__).resolve().parents[2]
    _, _ = tiny_checkpoint(tmp_path / "model.pth")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ggnet_jax.torch_import", *map(str, arguments)],
            cwd=repository,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository / "tests")},
            capture_output=True,
            text=True,
            timeout=300,
        )

    given = ("--config=tests/tiny_config.py", f"--workdir={tmp_path / 'run'}")
    good = run(f"--checkpoint={tmp_path / 'model.pth'}", *given)
    assert good.returncode == 0, good.stderr
    assert "all" in good.stdout and "wrote" in good.stdout
    assert (tmp_path / "run" / "checkpoints" / "0").is_dir()
    for arguments in (
        given,
        (f"--checkpoint={tmp_path / 'none.pth'}", "--config=tests/tiny_config.py",
         f"--workdir={tmp_path / 'other'}"),
        (f"--checkpoint={tmp_path / 'model.pth'}", *given, "--config.model.nonsense=1"),
        (f"--checkpoint={tmp_path / 'model.pth'}", *given, "stray"),
    ):  # fmt: skip
        bad = run(*arguments)
        assert bad.returncode == 2, bad.stderr
        assert bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_training_starts_from_a_detector_and_goes_on_from_an_import(tmp_path, capsys):
    """`config.init_from`, and fine-tuning in an imported workdir, on the rendered data set."""
    from ggnet_jax.torch_import import import_checkpoint
    from ggnet_jax.training import loop

    config, weights = tiny_checkpoint(tmp_path / "detector.pth", drop=DETECTOR_LACKS)
    config.data.data_dir = str(tmp_path / "data")
    config.learning_rate = 0.0
    config.init_from = str(tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="no file"):
        loop.train(config, tmp_path / "started", data_pipelines)
    assert not (tmp_path / "started").exists()

    config.init_from = str(tmp_path / "detector.pth")
    result = loop.train(config, tmp_path / "started", data_pipelines)
    assert result.finished
    assert "glance               2  all fresh (none there)" in capsys.readouterr().out
    variables, _ = checkpoints.load_variables(tmp_path / "started")
    # Nothing was learnt at a rate of zero, so that the detector's weights are still there.
    backbone = variables["params"]["backbone"]["stem_conv"]["conv"]["kernel"]
    expected = weights["pre.0.conv.weight"][:, ::-1].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(backbone, expected)
    config.init_from = str(tmp_path / "gone.pth")  # a run that goes on does not need it
    assert loop.train(config, tmp_path / "started", data_pipelines).step == result.step

    config, weights = tiny_checkpoint(tmp_path / "model.pth")
    config.data.data_dir = str(tmp_path / "data")
    config.learning_rate = 0.0
    import_checkpoint(tmp_path / "model.pth", config, tmp_path / "imported")
    assert loop.train(config, tmp_path / "imported", data_pipelines).step == result.step
    variables, _ = checkpoints.load_variables(tmp_path / "imported")
    model = workdir.read_config(tmp_path / "imported").model
    loaded = from_torch(weights, model)["params"]
    for a, b in zip(jax.tree.leaves(variables["params"]), jax.tree.leaves(loaded), strict=True):
        np.testing.assert_array_equal(a, b)
    create_model(model)
    assert json.loads((tmp_path / "imported" / "vocabulary.json").read_text())["name"]
