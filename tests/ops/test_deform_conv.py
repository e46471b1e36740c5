"""Deformable convolution against a slow float64 loop, finite differences and XLA's convolution."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ggnet_jax.ops import deform_conv2d
from ggnet_jax.ops.deform_conv_backends import IMPLEMENTATIONS, Passes, default_for

ARRAYS = ("x", "offset", "mask", "weight", "bias")


def make_arrays(seed, *, size=(5, 6), kernel=(3, 3), channels=3, features=2, out=None, spread=1.5):
    """Random arrays of one case; offsets reach well outside a small image."""
    rng = np.random.default_rng(seed)
    out = out or size
    taps = kernel[0] * kernel[1]
    shapes = {
        "x": (2, *size, channels),
        "offset": (2, *out, taps, 2),
        "mask": (2, *out, taps),
        "weight": (*kernel, channels, features),
        "bias": (features,),
    }
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    arrays["offset"] *= spread
    return {name: a.astype(np.float32) for name, a in arrays.items()}


def slow_deform_conv(x, offset, mask, weight, bias, stride=(1, 1), padding=None, dilation=(1, 1)):
    """The definition, one sampling point after the other, in float64."""
    x, offset, mask, weight = (np.asarray(a, np.float64) for a in (x, offset, mask, weight))
    kh, kw = weight.shape[:2]
    padding = padding or (dilation[0] * (kh - 1) // 2, dilation[1] * (kw - 1) // 2)
    _, height, width, _ = x.shape

    def pixel(b, i, j):
        return x[b, i, j] if 0 <= i < height and 0 <= j < width else np.zeros(x.shape[-1])

    y = np.zeros((*offset.shape[:3], weight.shape[-1])) + np.asarray(bias, np.float64)
    for b, i, j in np.ndindex(*offset.shape[:3]):
        for k in range(kh * kw):
            py = i * stride[0] - padding[0] + (k // kw) * dilation[0] + offset[b, i, j, k, 0]
            px = j * stride[1] - padding[1] + (k % kw) * dilation[1] + offset[b, i, j, k, 1]
            if not (-1 < py < height and -1 < px < width):
                continue
            iy, ix = int(np.floor(py)), int(np.floor(px))
            value = 0
            for cy in (iy, iy + 1):
                for cx in (ix, ix + 1):
                    value = value + pixel(b, cy, cx) * (1 - abs(py - cy)) * (1 - abs(px - cx))
            y[b, i, j] += mask[b, i, j, k] * value @ weight[k // kw, k % kw]
    return y


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ({}, {}),
        ({"kernel": (5, 5), "size": (9, 4)}, {}),
        ({"kernel": (3, 1), "size": (7, 7)}, {}),
        ({"size": (8, 7), "out": (4, 4)}, {"stride": (2, 2), "padding": (1, 1)}),
        ({"size": (8, 8), "out": (4, 8)}, {"stride": (2, 1), "dilation": (2, 1)}),
        ({"size": (6, 6), "out": (4, 6)}, {"padding": (0, 1)}),
        ({"spread": 50.0}, {}),
    ],
)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_equals_the_slow_loop(case, options, implementation):
    arrays = make_arrays(0, **case)
    fast = deform_conv2d(*(arrays[n] for n in ARRAYS), **options, implementation=implementation)
    slow = slow_deform_conv(*(arrays[n] for n in ARRAYS), **options)
    np.testing.assert_allclose(fast, slow, atol=1e-5 * np.abs(slow).max())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_agree_with_finite_differences(implementation):
    """All five gradients, in float64, along a random direction each."""
    with jax.enable_x64(True):
        arrays = {n: jnp.asarray(a, jnp.float64) for n, a in make_arrays(1).items()}
        rng = np.random.default_rng(2)
        cotangent = rng.normal(size=(2, 5, 6, 2))

        def scalar(arrays):
            y = deform_conv2d(*(arrays[n] for n in ARRAYS), implementation=implementation)
            return (y * cotangent).sum()

        gradients = jax.grad(scalar)(arrays)
        for name, array in arrays.items():
            direction = rng.normal(size=array.shape)
            step = 1e-6
            plus = scalar({**arrays, name: array + step * direction})
            minus = scalar({**arrays, name: array - step * direction})
            expected = (plus - minus) / (2 * step)
            assert float((gradients[name] * direction).sum()) == pytest.approx(
                float(expected), rel=1e-6
            ), name


def test_without_offsets_it_is_a_convolution():
    arrays = make_arrays(3, kernel=(5, 5), size=(8, 8))
    y = deform_conv2d(
        arrays["x"], np.zeros_like(arrays["offset"]), None, arrays["weight"], arrays["bias"]
    )
    expected = lax.conv_general_dilated(
        arrays["x"], arrays["weight"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(y, expected + arrays["bias"], atol=1e-4)


def test_border_is_partial_and_outside_is_zero():
    """One pixel of value 1, a 1x1 kernel: the output is the bilinear weight itself."""
    x, weight = np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    for (dy, dx), expected in {
        (0, 0): 1.0, (-0.25, 0): 0.75, (0.25, 0.5): 0.375, (-1, 0): 0.0, (0, 1): 0.0, (9, -9): 0.0
    }.items():  # fmt: skip
        offset = np.array([dy, dx], np.float32).reshape(1, 1, 1, 1, 2)
        assert deform_conv2d(x, offset, None, weight).item() == pytest.approx(expected)


def test_offset_gradient_is_zero_at_exactly_minus_one():
    x, weight = np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    offset = np.array([-1.0, 0.0], np.float32).reshape(1, 1, 1, 1, 2)
    gradient = jax.grad(lambda o: deform_conv2d(x, o, None, weight).sum())(offset)
    np.testing.assert_array_equal(gradient, np.zeros_like(offset))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_keeps_offsets_in_float32(implementation):
    """On a wide map an offset of 1/16 must still count: bf16 could not hold 200.0625."""
    x = np.zeros((1, 1, 256, 1), np.float32)
    x[0, 0, 201] = 16
    weight = np.ones((1, 1, 1, 1), np.float32)
    offset = np.zeros((1, 1, 256, 1, 2), np.float32)
    offset[..., 1] = 0.0625
    x, weight = x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16)
    y = deform_conv2d(x, offset, None, weight, implementation=implementation)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 0, 200, 0]) == 1.0


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bfloat16_offsets_read_the_right_cell(implementation):
    """Cells beyond 256 are not whole numbers in bf16, and the last ones would lie outside."""
    x = np.arange(300, dtype=np.float32).reshape(1, 300, 1, 1)
    arrays = (
        x,
        jnp.zeros((1, 300, 1, 1, 2), jnp.bfloat16).at[0, 299].set(0.5),
        jnp.ones((1, 300, 1, 1), jnp.bfloat16),
        np.ones((1, 1, 1, 1), np.float32),
    )
    y, pull = jax.vjp(partial(deform_conv2d, implementation=implementation), *arrays)
    np.testing.assert_array_equal(y[0, :299], x[0, :299])
    assert float(y[0, 299, 0, 0]) == 299 * 0.25  # half a cell beyond both borders
    dx, doffset, dmask, _ = pull(jnp.ones_like(y))
    np.testing.assert_array_equal(dx[0, :, 0, 0], [1] * 299 + [0.25])
    assert doffset.dtype == dmask.dtype == jnp.bfloat16


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_blocks_do_not_change_the_result(implementation, monkeypatch):
    """Rows in one block or one at a time, with a last block that is not full."""
    arrays = make_arrays(4, size=(7, 5), channels=4)
    results = []
    for elements in (1, 2 * 5 * 9 * 4 * 2, 2**20):
        passes = IMPLEMENTATIONS[implementation]
        size = {"block_elements": elements, "image_elements": 0}
        blocks = Passes(*(dataclasses.replace(one, **size) for one in passes))
        monkeypatch.setitem(IMPLEMENTATIONS, "blocks", blocks)
        convolve = partial(deform_conv2d, implementation="blocks")
        y, pullback = jax.vjp(convolve, *(arrays[n] for n in ARRAYS))
        results.append((y, *pullback(jnp.ones_like(y))))
    for other in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), results[0], other)


def test_the_backend_chooses(monkeypatch):
    """The implementation of each backend, and what an unknown one gets."""
    assert {p: default_for(p) for p in ("cpu", "gpu", "tpu", "metal")} == {
        "cpu": "sums_then_products", "gpu": "sums", "tpu": "cells", "metal": "sums",
    }  # fmt: skip
    arrays = [make_arrays(5)[n] for n in ARRAYS]

    def traced(**options):
        return str(jax.make_jaxpr(partial(deform_conv2d, **options))(*arrays))

    for platform in ("cpu", "gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda platform=platform: platform)
        assert traced() == traced(implementation=default_for(platform))


def test_an_unknown_implementation_is_named():
    arrays = make_arrays(5)
    with pytest.raises(ValueError, match="is 'blocks'; it can be 'products', 'sums_then_p"):
        deform_conv2d(*(arrays[n] for n in ARRAYS), implementation="blocks")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"x": (2, 5, 6)}, "x must be"),
        ({"x": (2, 5, 6, 4)}, "channels"),
        ({"offset": (2, 5, 6, 9)}, "offset"),
        ({"mask": (2, 5, 6, 8)}, "mask"),
        ({"bias": (3,)}, "bias"),
        ({"x": (0, 5, 6, 3)}, "empty"),
    ],
)
def test_wrong_shapes_are_named(change, word):
    arrays = make_arrays(5) | {n: np.zeros(s, np.float32) for n, s in change.items()}
    with pytest.raises(ValueError, match=word):
        deform_conv2d(*(arrays[n] for n in ARRAYS))
