"""Options for XLA's CPU compiler: when they are given, and that what they choose is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.ops import conv2d, cpu_options
from ggnet_jax.ops.cpu_options import compiler_options


@pytest.fixture
def capable(monkeypatch):
    """A processor and a JAX for which there are options, whatever runs the test."""
    monkeypatch.setattr(jax, "__version_info__", (0, 11, 2))
    monkeypatch.setattr(cpu_options, "_has_amx", lambda: True)


def test_only_bfloat16_on_a_capable_cpu_has_options(capable, monkeypatch):
    assert compiler_options("bfloat16", "cpu")
    assert compiler_options("float32", "cpu") == {}
    assert compiler_options("bfloat16", "gpu") == {}
    monkeypatch.setattr(cpu_options, "_has_amx", lambda: False)
    assert compiler_options("bfloat16", "cpu") == {}


def test_an_older_jax_has_none(capable, monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 1))
    assert compiler_options("bfloat16", "cpu") == {}


@pytest.mark.parametrize(
    ("side", "stride", "channels"), [(7, 2, 3), (3, 1, 64), (3, 2, 64), (1, 1, 48)]
)
def test_their_convolutions_round_and_no_more(side, stride, channels):
    """Output and both gradients, against those of the same numbers in float32."""
    options = compiler_options("bfloat16", jax.devices()[0].platform)
    if not options:
        pytest.skip("no CPU with AMX, or JAX is older than 0.11")
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.bfloat16)

    x, kernel = draw(2, 32, 24, channels), draw(side, side, channels, 32)
    dy = draw(2, 32 // stride, 24 // stride, 32)

    def outputs(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(lambda *arrays: conv2d(*arrays, stride=stride), x, kernel)
        return y, *pull(dy)

    compiled = jax.jit(outputs, compiler_options=options).lower(x, kernel, dy).compile()
    assert "onednn$convolution" in str(compiled.as_text())
    wide = [a.astype(jnp.float32) for a in (x, kernel, dy)]
    for got, want in zip(compiled(x, kernel, dy), jax.jit(outputs)(*wide), strict=True):
        assert got.dtype == jnp.bfloat16
        assert jnp.abs(got.astype(jnp.float32) - want).max() < 2**-8 * jnp.abs(want).max()
