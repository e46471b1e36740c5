"""The notebook is executed as Jupyter does it, training included, on less data."""

import json
from pathlib import Path

import pytest

from tests.subprocesses import environment

reason = 'running the notebook is an optional install: pip install -e ".[docs]"'
nbformat = pytest.importorskip("nbformat", reason=reason)
nbclient = pytest.importorskip("nbclient", reason=reason)
pytest.importorskip("ipykernel", reason=reason)
NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "ggnet_demo.ipynb"
SHORT = (
    " --config.num_epochs=1 --config.log_every_steps=1"
    " --config.data.figures.num_train=32 --config.data.figures.num_test=8"
)


@pytest.mark.slow
def test_every_cell(tmp_path, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    text = NOTEBOOK.read_text()
    for old, new in (
        ("/tmp/ggnet_demo", str(tmp_path / "run")),
        ("/tmp/learning_curves.png", str(tmp_path / "curves.png")),
        ("--workdir={WORKDIR}", "--workdir={WORKDIR}" + SHORT),
        # What the line would install is what runs this test.
        ("%pip install --quiet -r requirements.txt", "assert os.path.exists('main.py')"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    notebook = nbformat.reads(text, as_version=4)
    kernel = {"name": "python3"}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name=kernel["name"],
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    ).execute()  # fmt: skip
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "mAP, percent" in outputs
    assert outputs.count("image/png") >= 4  # summary, explanation, several images, curves
    assert (tmp_path / "curves.png").stat().st_size > 1000
