"""Sums over all pixels, and the gradients that are such sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.models.layers import Conv
from ggnet_jax.ops import add_bias, deform_conv2d, mean_pixels, scale_and_shift

X = np.zeros((2, 48, 48, 4), jnp.bfloat16)
PIXELS = 2 * 48 * 48


def by_conv(bias):
    variables = {"params": {"kernel": jnp.ones((1, 1, 4, 3)), "bias": bias}}
    return Conv(3, kernel=1, dtype=jnp.bfloat16).apply(variables, X)


def by_deform_conv(bias):
    offset = np.zeros((2, 48, 48, 1, 2), np.float32)
    return deform_conv2d(X, offset, None, np.ones((1, 1, 4, 3), jnp.bfloat16), bias)


def by_itself(bias):
    return add_bias(X[..., :3], bias)


@pytest.mark.parametrize("apply", [by_itself, by_conv, by_deform_conv])
def test_every_pixel_counts_in_the_gradient(apply):
    """Not the first 256 alone, after which a sum in bfloat16 stands still."""
    y, pull = jax.vjp(apply, jnp.arange(3.0))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(3.0), y.shape))
    (gradient,) = pull(jnp.ones_like(y))
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, PIXELS)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_sums_and_their_gradients_are_numpys(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    factor, shift = rng.normal(size=(2, 5)).astype(np.float32)
    y, pull = jax.vjp(scale_and_shift, x, factor, shift)
    np.testing.assert_allclose(y, x * factor + shift, rtol=1e-6)
    dx, dfactor, dshift = pull(dy)
    np.testing.assert_allclose(dx, dy * factor, rtol=1e-6)
    np.testing.assert_allclose(dfactor, (dy * x).sum((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(dshift, dy.sum((0, 1, 2)), rtol=1e-5)
    mean, pull = jax.vjp(mean_pixels, x)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pull(shift)[0], np.broadcast_to(shift / 24, x.shape), rtol=1e-6)
