"""docs/your_own_data.md, walked through: its commands in their order, in one folder.

The photos are rendered, and the export is one as Label Studio writes it; trainings are made short.
"""

import re
import shlex
import shutil
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
    "--config.model.stem_width=8",
    "--config.model.widths=(8,8)",
    "--config.model.blocks=(1,1)",
    "--config.model.head_width=8",
    "--config.model.gaze_steps=1",
    "--config.eval.pictures=1",
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
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, (words, done.stdout[-1000:], done.stderr[-2000:])
    print(f"$ {shlex.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


@pytest.mark.slow
def test_every_command_in_order(tmp_path):
    write_rendered(tmp_path, 60)
    for other in write_rendered(tmp_path / "other", 3, split="test"):
        (tmp_path / "new_photos").mkdir(exist_ok=True)
        name = other["file_name"]
        shutil.move(tmp_path / "other" / "photos" / name, tmp_path / "new_photos" / name)
    classes = io.read_json(tmp_path / "classes.json")
    more = {**classes, "objects": {**classes["objects"], "100": "book"}}
    io.write_json(tmp_path / "more_classes.json", more)
    shutil.copy(tmp_path / "export.json", tmp_path / "more.json")
    words_of = [(words, mark) for page, words, mark in commands_with_marks() if page == PAGE]
    printed = {shlex.join(words): run(words, tmp_path) for words, mark in words_of if not mark}
    everything = "\n".join(printed.values())
    for text in (
        '<Label value="person"',
        "page: inspection/inspection.html",
        "validation split 0.2: 12 images; training takes 48 of 60",
        "the best so far",
        "3 of 3 images drawn",
        "starting from",
        "own.json: 60 images",
    ):
        assert text in everything, text
    assert len(io.read_json(tmp_path / "found" / "predictions.jsonl")) == 3
    assert len(io.read_json(tmp_path / "own.json")) == 60
