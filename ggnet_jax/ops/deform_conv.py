"""Modulated deformable convolution (DCNv2) in plain JAX.

Every output pixel p and tap k reads the input, bilinearly, at p + grid_k + offset_k(p), times a
mask:

    y(p) = bias + sum_k mask_k(p) * x(p + grid_k + offset_k(p)) @ weight_k

Between pixels, x is the bilinear interpolation of the four surrounding ones, the corners of the
sampling point.

The corners of all sampling points together are 4 K times as large as the input. So the output is
computed in blocks of rows, and the corners of one block are the only large temporary; the backward
pass gathers them again instead of keeping them. How corners are gathered and their gradients added
up depends on the backend: `deform_conv_backends`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.ops.channels import add_bias
from ggnet_jax.ops.deform_conv_backends import (
    IMPLEMENTATIONS,
    Implementation,
    Passes,
    default_for,
)

Pair = tuple[int, int]


def deform_conv2d(
    x: jax.Array,
    offset: jax.Array,
    mask: jax.Array | None,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | None = None,
    dilation: int | Pair = 1,
    implementation: str | None = None,
) -> jax.Array:
    """Modulated deformable convolution, differentiable in all five arrays.

    The input is zero outside: a point at least one whole pixel outside contributes nothing, one
    within a pixel of the border counts the missing corners as zero. Where a point lies on a whole
    pixel, the gradient of its offset is that of the cell to the right and below; at exactly -1 it
    is zero, as in the original CUDA operator.

    Args:
        x: input [B, h, w, C], any floating dtype.
        offset: [B, h', w', K, 2], (dy, dx) in input pixels, added to the regular grid; taps
            row-major, K = kh * kw. Computed with in at least float32 whatever the dtype of x.
        mask: weights of the sampling points [B, h', w', K], or None for ones.
        weight: [kh, kw, C, F].
        bias: [F] or None.
        stride: an int, or a pair (vertical, horizontal).
        padding: the same; None keeps the size (an odd kernel at stride 1).
        dilation: as stride.
        implementation: for tests and benchmarks: a name in `IMPLEMENTATIONS`, whose results are
            equal up to rounding. None is the one chosen for JAX's default backend: measured on
            CPUs and GPUs, on TPUs chosen from compiled programs. Where the size of the batch is
            symbolic, as under `jax.export`, every platform that it lowers for gets its own.

    Returns:
        [B, h', w', F] of x's dtype. Under `jax.shard_map` gradients need `check_vma=False`, and
        those of weight and bias are each device's own, for the caller to sum.

    Raises:
        ValueError: an unknown implementation, or shapes that do not fit together, with the numbers
            that clash.
    """
    symbolic = implementation is None and not isinstance(x.shape[0], int)
    if implementation is None:
        implementation = default_for(jax.default_backend())
    if implementation not in IMPLEMENTATIONS:
        known = ", ".join(map(repr, IMPLEMENTATIONS))
        raise ValueError(f"implementation is {implementation!r}; it can be {known}")
    kernel = (weight.shape[0], weight.shape[1])
    stride, dilation = _pair(stride), _pair(dilation)
    if padding is None:
        padding = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
    grid = _Grid(kernel, stride, _pair(padding), dilation)
    _check_shapes(x, offset, mask, weight, bias, grid)
    if mask is None:
        mask = jnp.ones(offset.shape[:-1], offset.dtype)
    # In bfloat16 cells beyond 256 could not be told apart.
    offset, mask = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (offset, mask))
    with jax.named_scope("deform_conv2d"):
        if symbolic:
            y = deform_conv2d_on_any(grid, x, offset, mask, weight)
        else:
            y = _deform_conv(grid, IMPLEMENTATIONS[implementation], x, offset, mask, weight)
        return y if bias is None else add_bias(y, bias)


class _Grid(NamedTuple):
    """The regular grid, as in any convolution; (vertical, horizontal)."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    def points(self, size: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        """Where the taps of output pixels [h', w'] lie, (y, x) in input pixels [h', w', K, 2]."""

        def along(axis: int) -> jax.Array:
            origin = jnp.arange(size[axis]) * self.stride[axis] - self.padding[axis]
            taps = jnp.arange(self.kernel[axis]) * self.dilation[axis]
            return (origin[:, None] + taps).astype(dtype)

        y, x = along(0), along(1)  # [h', kh], [w', kw]
        shape = (*size, *self.kernel)
        points = jnp.stack(
            [
                jnp.broadcast_to(y[:, None, :, None], shape),
                jnp.broadcast_to(x[None, :, None, :], shape),
            ],
            axis=-1,
        )
        return points.reshape(*size, -1, 2)


# Forward: sampling points -> corners and bilinear weights -> weighted sums.


def _forward_in_blocks(
    grid: _Grid,
    passes: Passes,
    x: jax.Array,
    offset: jax.Array,
    mask: jax.Array,
    weight: jax.Array,
) -> jax.Array:
    """`deform_conv2d` without bias, one block of output rows after the other."""
    backend = passes.forward
    padded, kernel = backend.pad(x), backend.kernel(weight)
    rows = _block_rows(backend, x, offset)

    def block(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        position, mask = args
        corner, fraction, inside = _corners(position, x.shape[1:3])
        weights = backend.bilinear_weights(fraction, mask * inside)
        corners, size = backend.gather(padded, corner), position.shape[1:3]
        return backend.combine(corners, weights, kernel, size, x.dtype)

    blocks = _blocks_of_points(grid, offset, mask, rows)
    return _from_blocks(lax.map(block, blocks), offset.shape[1])


_deform_conv = jax.custom_vjp(_forward_in_blocks, nondiff_argnums=(0, 1))


@partial(jax.jit, static_argnums=0)
def deform_conv2d_on_any(
    grid: "_Grid", x: jax.Array, offset: jax.Array, mask: jax.Array, weight: jax.Array
) -> jax.Array:
    """`deform_conv2d` without bias, by the implementation of the platform it is lowered for.

    A function of its own, under whose name the export to ONNX finds it.
    """

    def on(platform: str) -> Callable[..., jax.Array]:
        return partial(_deform_conv, grid, IMPLEMENTATIONS[default_for(platform)])

    return lax.platform_dependent(
        x, offset, mask, weight, cpu=on("cpu"), tpu=on("tpu"), default=on("gpu")
    )


def _corners(position: jax.Array, size: tuple[int, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Between which four pixels each sampling point lies, and where between them.

    Args:
        position: [..., 2] (y, x) in input pixels.
        size: (h, w) of the input.

    Returns:
        The upper left corner, int32 [..., 2] (y, x) in the padded input; the point's distance
        from it [..., 2] in [0, 1); and whether the point counts at all, [...] 0 or 1.
    """
    limit = jnp.asarray(size, position.dtype)
    inside = jnp.all((position > -1) & (position < limit), axis=-1)
    # The clip keeps far points (and NaN) inside the array; their weight is zero.
    base = jnp.clip(jnp.floor(position), -1, limit - 1)
    fraction = jnp.where(inside[..., None], position - base, 0.0)
    corner = jnp.nan_to_num(base).astype(jnp.int32) + 1
    return corner, fraction, inside.astype(position.dtype)


# Backward: blocks of rows again, gathered again.


def _vjp_forward(grid, passes, x, offset, mask, weight):
    return _deform_conv(grid, passes, x, offset, mask, weight), (x, offset, mask, weight)


def _vjp_backward(grid, passes, residuals, dy):
    """Gradients of x, offset, mask and weight: those of every block, added up or put together."""
    x, offset, mask, weight = residuals
    backend = passes.backward
    padded, pad_vjp = jax.vjp(backend.pad, x)
    # Many additions meet in one cell: sums stay in at least float32 whatever the dtype of x.
    sum_dtype = jnp.promote_types(x.dtype, jnp.float32)
    kernel, kernel_vjp = jax.vjp(lambda w: backend.kernel(w.astype(sum_dtype)), weight)
    rows = _block_rows(backend, x, offset)

    def block(sums, args):
        dpadded, dkernel = sums
        position, mask, dy = args
        corner, fraction, inside = _corners(position, x.shape[1:3])
        weights, weights_vjp = jax.vjp(
            lambda f, m: backend.bilinear_weights(f, m * inside), fraction, mask
        )
        _, combine_vjp = jax.vjp(
            lambda corners, w, k: backend.combine(corners, w, k, dy.shape[1:3], x.dtype),
            backend.gather(padded, corner),
            weights,
            kernel,
        )
        dcorners, dweights, dkernel_of_block = combine_vjp(dy)
        dpadded = backend.scatter_add(dpadded, corner, dcorners)
        # A point moves as its fraction does: the corner stays where it is.
        dposition, dmask = weights_vjp(dweights)
        return (dpadded, dkernel + dkernel_of_block), (dposition, dmask)

    zeros = (jnp.zeros(padded.shape, sum_dtype), jnp.zeros(kernel.shape, sum_dtype))
    blocks = (*_blocks_of_points(grid, offset, mask, rows), _to_blocks(dy, rows))
    (dpadded, dkernel), (doffset, dmask) = lax.scan(block, zeros, blocks)
    return (
        *pad_vjp(dpadded.astype(padded.dtype)),
        _from_blocks(doffset, offset.shape[1]).astype(offset.dtype),
        _from_blocks(dmask, offset.shape[1]).astype(mask.dtype),
        *kernel_vjp(dkernel),
    )


_deform_conv.defvjp(_vjp_forward, _vjp_backward)


# Blocks of output rows.


def _block_rows(backend: Implementation, x: jax.Array, offset: jax.Array) -> int:
    """Output rows of a block: as many as the backend likes, blocks nearly equal.

    The size of the batch may not be known yet (see `deform_conv2d_on_any`); results are the same
    with any number of rows.
    """
    batch, height, width, taps, _ = offset.shape
    if isinstance(batch, int):
        elements = max(backend.block_elements // max(1, batch), backend.image_elements)
    else:
        elements = backend.image_elements or backend.block_elements
    rows = min(height, max(1, elements // max(1, width * taps * x.shape[-1])))
    return -(-height // -(-height // rows))


def _blocks_of_points(
    grid: _Grid, offset: jax.Array, mask: jax.Array, rows: int
) -> tuple[jax.Array, jax.Array]:
    """Sampling points (y, x) in input pixels and their weights, in blocks."""
    position = offset + grid.points(offset.shape[1:3], offset.dtype)
    # The rows that fill the last block sample where its last real row does, with weight zero. If
    # they all sampled one cell, a device would add their zeros to it one after the other.
    return _to_blocks(position, rows, missing="edge"), _to_blocks(mask, rows)


def _to_blocks(a: jax.Array, rows: int, missing: str = "constant") -> jax.Array:
    """[B, h', ...] -> [blocks, B, rows, ...]; `missing`: how `jnp.pad` fills the last block."""
    batch, height = a.shape[:2]
    blocks = -(-height // rows)
    widths = ((0, 0), (0, blocks * rows - height), *((0, 0),) * (a.ndim - 2))
    a = jnp.pad(a, widths, mode=missing)
    return jnp.moveaxis(a.reshape(batch, blocks, rows, *a.shape[2:]), 1, 0)


def _from_blocks(a: jax.Array, height: int) -> jax.Array:
    """[blocks, B, rows, ...] -> [B, h', ...]."""
    a = jnp.moveaxis(a, 0, 1)
    return a.reshape(a.shape[0], -1, *a.shape[3:])[:, :height]


# Arguments.


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _check_shapes(
    x: jax.Array,
    offset: jax.Array,
    mask: jax.Array | None,
    weight: jax.Array,
    bias: jax.Array | None,
    grid: _Grid,
) -> None:
    """Raise a ValueError with the numbers that clash."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"x must be [B, h, w, C] and weight [kh, kw, C, F], got {x.shape} and {weight.shape}"
        )
    if 0 in x.shape + weight.shape:
        raise ValueError(f"x {x.shape} and weight {weight.shape} must not be empty")
    if x.shape[-1] != weight.shape[2]:
        raise ValueError(f"x has {x.shape[-1]} channels, weight {weight.shape} expects another")
    out = tuple(
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, padding, dilation in zip(x.shape[1:3], *grid, strict=True)
    )
    expected = (x.shape[0], *out, grid.kernel[0] * grid.kernel[1])
    if offset.shape != (*expected, 2):
        raise ValueError(f"offset has shape {offset.shape}, expected {(*expected, 2)}")
    if mask is not None and mask.shape != expected:
        raise ValueError(f"mask has shape {mask.shape}, expected {expected}")
    if bias is not None and bias.shape != weight.shape[-1:]:
        raise ValueError(f"bias has shape {bias.shape}, expected {weight.shape[-1:]}")
