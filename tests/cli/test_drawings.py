"""Drawings of a run's evaluation split: each set's in its own folder, none of them stale."""

from types import SimpleNamespace

import numpy as np
import pytest
from fake_split import FakeSplit
from PIL import Image
from tiny import make_run

from ggnet_jax.cli import drawings
from ggnet_jax.inference.detector import Detector


class Examples(FakeSplit):
    """Two images of one name in two folders, of gray."""

    def __init__(self, gray: int):
        super().__init__(images=2)
        self.gray = gray

    def example_images(self, split, count):
        for folder in "ab":
            yield f"{folder}/photo.jpg", np.full((40, 60, 3), self.gray, np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run)


def config(**changes):
    made = FakeSplit(2).config(**changes)
    made.eval.pictures, made.eval.threshold = 2, 0.0
    return made


def test_another_set_is_drawn_beside_the_runs_own(run, detector, monkeypatch):
    monkeypatch.setattr(drawings.Detector, "load", lambda *_, dtype: {"float32": detector}[dtype])
    names = ["photo.png", "photo_2.png", "photo_2_explained.png", "photo_explained.png"]
    own = drawings.draw_run(config(), run, data=Examples(50))
    assert {path.parent for path in own} == {run / "pictures"}
    assert sorted(path.name for path in own) == names
    examples = sorted((run / "examples").iterdir())
    assert [path.name for path in examples] == ["photo.png", "photo_2.png"]
    assert np.array_equal(np.asarray(Image.open(examples[0])), np.full((40, 60, 3), 50, np.uint8))
    before = {path: path.read_bytes() for path in [*own, *examples]}
    other = drawings.draw_run(config(protocol="vcoco"), run, data=Examples(200))
    (folder,) = {path.parent for path in other}
    assert folder.parent == run / "pictures" and "vcoco" in folder.name
    assert sorted(path.name for path in other) == names
    assert before == {path: path.read_bytes() for path in before}
    monkeypatch.setattr(detector, "explain", lambda image, **_: nothing(image))
    drawings.draw_run(config(), run, data=Examples(50))
    assert sorted(path.name for path in (run / "pictures").glob("*.png")) == names[:2]


def nothing(image):
    return SimpleNamespace(image=image, interactions=[], heatmaps=[])
