"""The compilation cache: a second start compiles nothing, and the user decides where it lies."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from subprocesses import REPOSITORY, environment
from tiny import make_run

from ggnet_jax.cli import compilation_cache


def start(arguments, **variables) -> dict:
    """What a new process of main.py counted and wrote to stderr.

    Args:
        arguments: of main.py.
        variables: of its environment; None for unset.
    """
    surroundings = environment() | variables
    for name in ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR"):
        if variables.get(name) is None:
            surroundings.pop(name, None)
    done = subprocess.run(
        [sys.executable, "tests/count_compilations.py", *arguments],
        cwd=REPOSITORY, env=surroundings, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"stderr": done.stderr}


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    """The flags that find the interactions of one image with a tiny network."""
    folder = tmp_path_factory.mktemp("compiled")
    image = folder / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(image)
    run = make_run(folder / "run")
    return ["--mode=predict", f"--workdir={run}", f"--images={image}", "--threshold=0"]


def test_a_second_start_compiles_nothing(predict, tmp_path):
    first = start(predict, XDG_CACHE_HOME=str(tmp_path))
    folder = tmp_path / "ggnet_jax"
    assert first["folder"] == str(folder)
    assert first["cache_misses"] > 0 and "cache_hits" not in first
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    second = start(predict, XDG_CACHE_HOME=str(tmp_path))
    assert second["folder"] == str(folder)
    assert second["cache_hits"] == second["compile_requests_use_cache"] > 0
    assert "cache_misses" not in second
    assert first["stderr"] == second["stderr"] == ""
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == kept

    # A broken entry costs a warning and the time to compile.
    for path in kept:
        path.write_bytes(b"no program")
    third = start(predict, XDG_CACHE_HOME=str(tmp_path))
    assert "cache_hits" not in third and "cache" in third["stderr"]


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
    assert named["stderr"] == off["stderr"] == nowhere["stderr"] == ""


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compilation_cache.default_folder() == tmp_path / "ggnet_jax"

    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = compilation_cache.default_folder()
    assert folder == tmp_path / "home" / ".cache" / "ggnet_jax"
    assert folder.stat().st_mode & 0o777 == 0o700

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(compilation_cache.Path, "home", homeless)
    assert compilation_cache.default_folder() is None
