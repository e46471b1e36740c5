"""docs/your_own_data.md, walked through: its commands in their order, in one folder.

The photos are rendered, and the export is one as Label Studio writes it; trainings are made short.
"""

import re
import shlex
import subprocess
import sys

import pytest
from label_studio_exports import write_rendered
from test_docs import commands_with_marks

from ggnet_jax import io
from tests.subprocesses import REPOSITORY, environment

PAGE = "docs/your_own_data.md"
SHORT = [
    "--config.num_epochs=2",
    "--config.data.image_size=(64,64)",
    "--config.model.widths=(8,8)",
    "--config.model.blocks=(1,1)",
    "--config.eval.pictures=2",
]


def run(words, folder):
    """What a command of the page prints in the folder."""
    program, *rest = words
    assert program == "python", words
    if "--config=configs/own.py" in words:
        rest += ["--config.data.data_dir=prepared", *SHORT]
    rest = [re.sub(r"^main\.py$", str(REPOSITORY / "main.py"), word) for word in rest]
    rest = [re.sub(r"^(--\w+=)configs/", rf"\1{REPOSITORY}/configs/", word) for word in rest]
    done = subprocess.run(
        [sys.executable, *rest], cwd=folder, env=environment(cache=folder / "cache"),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout[-1000:], done.stderr[-2000:])
    print(f"$ {shlex.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


@pytest.mark.slow
def test_every_command_in_order(tmp_path):
    write_rendered(tmp_path, 60)
    classes = io.read_json(tmp_path / "classes.json")
    io.write_json(tmp_path / "more_classes.json", classes)
    (tmp_path / "more.json").write_bytes((tmp_path / "export.json").read_bytes())
    pages = [(words, mark) for page, words, mark in commands_with_marks() if page == PAGE]
    printed = {shlex.join(words): run(words, tmp_path) for words, mark in pages if not mark}
    assert len(printed) >= 4
    assert [text for text in printed.values() if '<Label value="person"' in text]
    assert len(io.read_json(tmp_path / "found" / "predictions.jsonl")) == 60
    assert len(io.read_json(tmp_path / "own.json")) == 60
