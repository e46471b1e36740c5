"""--mode=export: what it prints, and what it refuses."""

import sys

import numpy as np
import pytest
from tiny import make_run

from ggnet_jax.cli import export as exports
from ggnet_jax.cli import modes
from ggnet_jax.errors import UserError

pytest.importorskip("safetensors", reason="the extra 'export' is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), steps=(3, 7))


def test_it_says_what_was_written_and_how_well(run, tmp_path, capsys):
    assert modes.export(run, str(tmp_path / "out"), 3, format="stablehlo") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"exporting step 3 of {run} as stablehlo"
    size = (tmp_path / "out" / "weights.safetensors").stat().st_size / 1e3
    assert f"  {tmp_path / 'out' / 'weights.safetensors'}  {size:.1f} kB" in lines
    assert lines[-1] == "on two test images the results are Detector's bit by bit"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": None}, "say what to export as, --format=stablehlo or --format=onnx"),
        ({"format": "ppdm"}, "--format=ppdm; an export is --format=stablehlo or --format=onnx"),
        ({"format": "ONNX"}, "--format=ONNX; an export is"),
        ({"output": None}, "give a folder to write to, --output=FOLDER"),
        ({"output": ""}, "give a folder to write to, --output=FOLDER"),
        ({"step": 5}, "has no checkpoint of step 5; it has 3, 7"),
        ({"workdir": "nowhere"}, "the workdir nowhere does not exist"),
    ],
)
def test_what_it_refuses(run, tmp_path, options, message):
    given = {"workdir": run, "output": str(tmp_path / "out"), "step": None, "format": "stablehlo"}
    with pytest.raises(UserError) as caught:
        modes.export(**{**given, **options})
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_said_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[export\]"'):
        exports.export("nowhere", tmp_path / "out", format="stablehlo")


def test_differences_are_found():
    """Of candidates in another order, and of one that is another."""
    rng = np.random.default_rng(0)
    names = ("interaction_cell", "human_cell", "object_cell", "verb", "object_class")
    one = {name: rng.integers(0, 99, (2, 5)) for name in names}
    one["score"] = rng.uniform(0, 1, (2, 5)).astype(np.float32)
    other = {name: values[:, ::-1].copy() for name, values in one.items()}
    assert exports.by_cells(one).keys() == exports.by_cells(other).keys()
    other["verb"][0, 0] += 1
    assert len(exports.by_cells(one).keys() & exports.by_cells(other).keys()) == 9
