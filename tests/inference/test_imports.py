"""Parts of inference that need no JAX load none, though the package exports what does."""

import pytest
from subprocesses import run_python

import ggnet_jax.inference


@pytest.mark.parametrize(
    "modules",
    [
        "ggnet_jax.inference",
        "ggnet_jax.inference.images, ggnet_jax.inference.geometry",
        "ggnet_jax.visualize",
    ],
)
def test_no_jax_is_loaded_without_need(modules):
    code = f"import sys, {modules}; print(*{{'jax', 'flax', 'orbax'}} & sys.modules.keys())"
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_public_names_come_from_the_package():
    for name in ggnet_jax.inference.__all__:
        assert getattr(ggnet_jax.inference, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ggnet_jax.inference.nonsense
