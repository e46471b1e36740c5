"""What importing a part of inference loads: no more than that part needs."""

import subprocess
import sys

import pytest

import ggnet_jax.inference

TRAINING = ("tensorflow", "ml_collections", "optax", "ggnet_jax.training", "data_pipelines")
JAX = ("jax", "flax", "orbax")


def loaded(modules: str, unwanted: tuple[str, ...]) -> list[str]:
    """Those of `unwanted` that a new process has loaded after importing `modules`."""
    code = f"import sys, {modules}; print(*(m for m in {unwanted} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("ggnet_jax.inference", (*TRAINING, *JAX, "numpy", "PIL")),
        ("ggnet_jax.inference.images, ggnet_jax.inference.geometry", (*TRAINING, *JAX)),
        ("ggnet_jax.visualize", (*TRAINING, *JAX, "matplotlib.pyplot")),
        ("ggnet_jax.inference.detector, ggnet_jax.cli.predict", (*TRAINING, "matplotlib.pyplot")),
    ],
)
def test_importing_loads_no_more_than_it_needs(modules, unwanted):
    assert loaded(modules, unwanted) == []


def test_public_names_come_from_the_package():
    for name in ggnet_jax.inference.__all__:
        assert getattr(ggnet_jax.inference, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ggnet_jax.inference.nonsense
