"""The cells of the notebook run in order, with a tiny network and without the shell lines."""

import io
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import make_run

import data_pipelines
from data_pipelines import records

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "ggnet_demo.ipynb"


@pytest.fixture
def shown(monkeypatch):
    """What the cells display; the test images are noise."""

    def load_dataset(config):
        return SimpleNamespace(builder=None)

    def parse(builder, number):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(noise).save(encoded, "png")
        return {"image": SimpleNamespace(numpy=encoded.getvalue)}

    index = SimpleNamespace(read=lambda number: number)
    monkeypatch.setattr(data_pipelines, "load_dataset", load_dataset)
    monkeypatch.setattr(records, "index_split", lambda builder, split: index)
    monkeypatch.setattr(records, "parse", parse)
    images, display = [], ModuleType("IPython.display")
    display.__dict__["display"] = images.append
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return images


def test_cells(shown, tmp_path):
    make_run(tmp_path / "run")
    cells = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text())["cells"]
        if cell["cell_type"] == "code"
    ]
    assert len(cells) > 5
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        python = re.sub(r"^(\s*)[%!].*$", r"\1pass", cell, flags=re.MULTILINE)
        if "clone" in cell:  # installs, and changes the folder
            compile(python, f"cell {number}", "exec")
            continue
        exec(compile(python, f"cell {number}", "exec"), names)
        if "WORKDIR =" in cell:
            names["WORKDIR"] = str(tmp_path / "run")
    assert len(shown) > 1
