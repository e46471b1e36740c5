"""The convolution that the networks are built of, against the plain sum over taps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.ops import conv, conv2d

CASES = [
    (3, 1, (7, 5)),
    (3, 2, (8, 8)),
    (3, 2, (7, 5)),
    (1, 1, (4, 6)),
    (1, 2, (5, 6)),
    (5, 1, (6, 7)),
    (7, 2, (16, 12)),
    (3, 1, (2, 2)),
    (3, 1, (1, 9)),
    (3, 2, (2, 1)),
    (5, 1, (3, 3)),
]


def slow_conv(x, kernel, stride):
    """Every output pixel's sum over taps and channels, in float64."""
    side = kernel.shape[0]
    padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    height, width = (-(-length // stride) for length in x.shape[1:3])
    y = np.zeros((len(x), height, width, kernel.shape[-1]))
    for row, column in np.ndindex(height, width):
        top, left = row * stride, column * stride
        window = padded[:, top : top + side, left : left + side]
        y[:, row, column] = np.einsum("bijc,ijcf->bf", window, kernel)
    return y


WAYS = {
    "xla": {},
    "few channels": {"_MANY_PIXELS": 0, "_FEW_PIXELS": 0},
    "few pixels": {"_MANY_CHANNELS": 1},
    "many of both": {"_MANY_CHANNELS": 1, "_FEW_PIXELS": 0},
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Each of the ways that the number of channels and pixels choose, on small arrays."""
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(conv, name, value)
    if request.param != "xla":
        monkeypatch.setattr(conv, "_MIN_CHANNELS", 1)


@pytest.mark.parametrize(("side", "stride", "size"), CASES)
def test_equals_the_slow_loop_and_its_gradient(way, side, stride, size):
    """Gradients along a random direction, by the sum's linearity in each array."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, dx = rng.normal(size=(2, 2, *size, 3))
        kernel, dkernel = rng.normal(size=(2, side, side, 3, 4))
        y, pull = jax.vjp(lambda *arrays: conv2d(*arrays, stride=stride), x, kernel)
        np.testing.assert_allclose(y, slow_conv(x, kernel, stride), atol=1e-12)
        dy = rng.normal(size=y.shape)
        of_x, of_kernel = pull(jnp.asarray(dy))
        assert (of_x * dx).sum() == pytest.approx((slow_conv(dx, kernel, stride) * dy).sum())
        assert (of_kernel * dkernel).sum() == pytest.approx(
            (slow_conv(x, dkernel, stride) * dy).sum()
        )


@pytest.mark.parametrize(("side", "stride", "size"), CASES)
def test_bfloat16_rounds_and_no_more(way, side, stride, size):
    """Output and both gradients, of the same numbers in float64: off by roundings of the result."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.bfloat16)

    x, kernel = draw(2, *size, 3), draw(side, side, 3, 4)
    y, pull = jax.vjp(lambda *arrays: conv2d(*arrays, stride=stride), x, kernel)
    dy = draw(*y.shape)
    got = (y, *pull(dy))
    with jax.enable_x64(True):
        exact = [jnp.asarray(np.asarray(a).astype(np.float64)) for a in (x, kernel, dy)]
        want, pull = jax.vjp(lambda *arrays: conv2d(*arrays, stride=stride), *exact[:2])
        wanted = [np.asarray(a) for a in (want, *pull(exact[2]))]
    for name, a, b in zip(("y", "x", "kernel"), got, wanted, strict=True):
        assert a.dtype == jnp.bfloat16
        error = np.abs(np.asarray(a).astype(np.float64) - b).max() / np.abs(b).max()
        assert error < 2**-8, name


def test_products_take_many_channels(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    for dtype in (jnp.float32, jnp.bfloat16):
        x, kernel = jnp.ones((1, 2, 2, 128), dtype), jnp.ones((3, 3, 128, 128), dtype)
        program = str(jax.make_jaxpr(conv2d)(x, kernel))
        assert "dot_general" in program and "conv_general_dilated" not in program


def test_other_backends_have_xlas_own(monkeypatch):
    x, kernel = jnp.ones((1, 2, 2, 128)), jnp.ones((3, 3, 128, 128))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = str(jax.make_jaxpr(jax.grad(lambda x: conv2d(x, kernel).sum()))(x))
    assert "custom_vjp" not in program and "dot_general" not in program
