"""What was compiled once is found again by the next start, and only by those it is meant for."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from subprocesses import REPOSITORY, environment
from tiny_run import make_run

from ggnet_jax.cli import compilation_cache as compiled


def start(arguments, **variables) -> dict:
    """What a new process of main.py counted; `variables` of its environment, None for unset."""
    surroundings = environment() | variables
    for name in ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR"):
        if variables.get(name) is None:
            surroundings.pop(name, None)
    done = subprocess.run(
        [sys.executable, "tests/count_compilations.py", *arguments],
        cwd=REPOSITORY, env=surroundings, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    """The flags that find the interactions of one picture with a tiny network."""
    folder = tmp_path_factory.mktemp("compiled")
    picture = folder / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(picture)
    run = make_run(folder / "run")
    return ["--mode=predict", f"--workdir={run}", f"--images={picture}", "--threshold=0"]


def test_a_second_start_compiles_nothing(predict, tmp_path):
    first = start(predict, XDG_CACHE_HOME=str(tmp_path))
    folder = Path(first["folder"])
    assert folder.is_relative_to(tmp_path / "ggnet_jax")
    assert first["cache_misses"] > 0 and "cache_hits" not in first
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = start(predict, XDG_CACHE_HOME=str(tmp_path))
    assert second["folder"] == str(folder)
    assert second["cache_hits"] == second["compile_requests_use_cache"] > 0
    assert "cache_misses" not in second
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == kept


def test_the_user_decides(predict, tmp_path):
    """Another folder, none at all, or none that can be written to."""
    own, place = tmp_path / "own", tmp_path / "cache"
    named = start(predict, XDG_CACHE_HOME=str(place), JAX_COMPILATION_CACHE_DIR=str(own))
    assert named["folder"] == str(own) and not place.exists()
    off = start(predict, XDG_CACHE_HOME=str(place), JAX_ENABLE_COMPILATION_CACHE="0")
    assert off["folder"] is None and not place.exists()
    place.write_text("a file where a folder should be")
    nowhere = start(predict, XDG_CACHE_HOME=str(place))
    assert nowhere["folder"] is None and "cache_misses" not in nowhere


def test_the_folder_is_the_users_and_the_cpus(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    here = compiled.default_folder()
    assert here.parent == tmp_path / "ggnet_jax"
    assert compiled.default_folder() == here
    monkeypatch.setattr(compiled.platform, "processor", lambda: "another type")
    assert compiled.default_folder() != here

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert compiled.default_folder().parent == tmp_path / "home" / ".cache" / "ggnet_jax"

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(compiled.Path, "home", homeless)
    assert compiled.default_folder() is None
