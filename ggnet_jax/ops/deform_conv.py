"""Modulated deformable convolution (DCNv2) by bilinear gather, in plain JAX.

Every output pixel p and tap k reads the input at p + grid_k + offset_k, bilinearly, times a weight:

    y(p) = bias + sum_k mask_k(p) * x(p + grid_k + offset_k(p)) @ weight_k

The four neighbours of a sampling point are one 2 x 2 window of the zero-padded input, so one gather
reads them together and one scatter adds to them. Output rows are worked off in blocks: what belongs
to a block, [B, rows, w', K, 4, C], is the only large temporary, in the forward as in the backward
pass, which gathers again instead of keeping it and scatters every block into one running gradient.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

IntPair = int | tuple[int, int]

# How four neighbours become one sample: small matrix products, for which XLA has kernels on CPUs
# and whose backward pass there is three times faster, or sums that a compiler for GPUs and TPUs
# fuses with the gather.
FORMS = ("products", "sums")

# Channels times sampling points of a block: small ones stay in a CPU's cache, large ones keep
# an accelerator busy and still bound its memory. A block is at least one row of every picture.
_BLOCK_ELEMENTS = {"cpu": 2**18}
_BLOCK_ELEMENTS_ELSEWHERE = 2**23


class _Static(NamedTuple):
    """What must be known when the computation is traced."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    rows: int  # output rows a block
    form: str


def deform_conv2d(
    x: jax.Array,
    offset: jax.Array,
    mask: jax.Array | None,
    weight: jax.Array,
    bias: jax.Array | None = None,
    *,
    stride: IntPair = 1,
    padding: IntPair | None = None,
    dilation: IntPair = 1,
    form: str = "auto",
) -> jax.Array:
    """Modulated deformable convolution, differentiable in all five arrays.

    Sampling is bilinear with zeros outside: a point at least one whole pixel outside contributes
    nothing, one within a pixel of the border counts the missing neighbours as zero. Where a
    point lies on a whole pixel, the gradient of its offset is that of the cell to the right and
    below; at exactly -1 it is zero, as in the original CUDA operator.

    Args:
      x: input [B, h, w, C], any floating dtype.
      offset: [B, h', w', K, 2], (dy, dx) in input pixels, added to the regular grid; taps
        row-major, K = kh * kw. Kept in float32 (or float64) whatever the dtype of x.
      mask: weights of the sampling points [B, h', w', K], or None for ones.
      weight: [kh, kw, C, F].
      bias: [F] or None.
      stride, padding, dilation: an int, or a pair (vertical, horizontal). Padding None
        keeps the size (an odd kernel at stride 1).
      form: one of `FORMS`, or "auto" for what is faster on JAX's default device. The results are
        the same up to rounding.

    Returns:
      [B, h', w', F] of x's dtype.

    Raises:
      ValueError: another form, or shapes that do not fit together, with the numbers that clash.
    """
    if form not in ("auto", *FORMS):
        raise ValueError(f"form is {form!r}; it can be 'auto', {', '.join(map(repr, FORMS))}")
    kernel = (weight.shape[0], weight.shape[1])
    stride, dilation = _pair(stride), _pair(dilation)
    if padding is None:
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    padding = _pair(padding)
    _check_shapes(x, offset, mask, weight, bias, stride, padding, dilation)
    batch, out_height, out_width, taps, _ = offset.shape
    if mask is None:
        mask = jnp.ones(offset.shape[:-1], offset.dtype)
    device = jax.default_backend()
    if form == "auto":
        form = "products" if device == "cpu" else "sums"
    row_elements = batch * out_width * taps * x.shape[-1]
    block_elements = _BLOCK_ELEMENTS.get(device, _BLOCK_ELEMENTS_ELSEWHERE)
    rows = min(out_height, max(1, block_elements // max(1, row_elements)))
    rows = -(-out_height // -(-out_height // rows))  # blocks of nearly equal height
    static = _Static(kernel, stride, padding, dilation, rows, form)
    with jax.named_scope("deform_conv2d"):
        y = _deform_conv(static, x, offset, mask, weight)
        return y if bias is None else y + bias.astype(y.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _deform_conv(static: _Static, x, offset, mask, weight):
    """`deform_conv2d` without bias, in blocks of output rows."""
    padded, kernel = _pad_border(x), _flat_kernel(weight, x.dtype)
    blocks = _to_blocks(static, _positions(static, offset)), _to_blocks(static, mask)

    def block(args):
        position, mask = args
        start, fraction, inside = _corners(position, x.shape[1:3])
        shares = lax.optimization_barrier(_shares(fraction, mask * inside))
        return _combine(static.form, _gather(padded, start), shares, kernel)

    return _from_blocks(lax.map(block, blocks), offset.shape[1])


def _deform_conv_forward(static, x, offset, mask, weight):
    return _deform_conv(static, x, offset, mask, weight), (x, offset, mask, weight)


def _deform_conv_backward(static, residuals, dy):
    """Gather every block again, differentiate it, add its part to the running gradients."""
    x, offset, mask, weight = residuals
    padded, kernel = _pad_border(x), _flat_kernel(weight, x.dtype)
    # Many additions meet in one cell: sums stay in at least float32 whatever the dtype of x.
    sum_dtype = jnp.promote_types(x.dtype, jnp.float32)
    blocks = tuple(_to_blocks(static, a) for a in (_positions(static, offset), mask, dy))

    def block(sums, args):
        dpadded, dkernel = sums
        position, mask, dy = args
        start, fraction, inside = _corners(position, x.shape[1:3])
        shares, pull_shares = jax.vjp(lambda f, m: _shares(f, m * inside), fraction, mask)
        # Few numbers, each read C times: without the barriers they are computed as often.
        shares = lax.optimization_barrier(shares)
        combine = partial(_combine, static.form)
        _, pull = jax.vjp(combine, _gather(padded, start), shares, kernel)
        dcorners, dshares, dkernel_block = pull(dy)
        dposition, dmask = pull_shares(lax.optimization_barrier(dshares))
        dpadded = _scatter_add(dpadded, start, dcorners.astype(sum_dtype))
        return (dpadded, dkernel + dkernel_block.astype(sum_dtype)), (dposition, dmask)

    zeros = (jnp.zeros(padded.shape, sum_dtype), jnp.zeros(kernel.shape, sum_dtype))
    (dpadded, dkernel), (dposition, dmask) = lax.scan(block, zeros, blocks)
    return (
        dpadded[:, 1:-1, 1:-1].astype(x.dtype),
        _from_blocks(dposition, offset.shape[1]).astype(offset.dtype),
        _from_blocks(dmask, offset.shape[1]).astype(mask.dtype),
        dkernel.T.reshape(weight.shape).astype(weight.dtype),
    )


_deform_conv.defvjp(_deform_conv_forward, _deform_conv_backward)


def _positions(static: _Static, offset: jax.Array) -> jax.Array:
    """Sampling points (y, x) in input pixels [B, h', w', K, 2]: regular grid plus offsets."""
    _, height, width, _, _ = offset.shape

    def axis(length: int, i: int) -> jax.Array:
        origin = jnp.arange(length) * static.stride[i] - static.padding[i]
        return (origin[:, None] + jnp.arange(static.kernel[i]) * static.dilation[i]).astype(
            offset.dtype
        )

    y, x = axis(height, 0), axis(width, 1)  # [h', kh], [w', kw]
    shape = (height, width, *static.kernel)
    grid = jnp.stack(
        [
            jnp.broadcast_to(y[:, None, :, None], shape),
            jnp.broadcast_to(x[None, :, None, :], shape),
        ],
        axis=-1,
    )
    return offset + grid.reshape(height, width, -1, 2)


def _corners(position: jax.Array, size: tuple[int, int]):
    """Where the 2 x 2 window of each point starts, and where the point lies inside it.

    Args:
      position: [..., 2] (y, x) in input pixels.
      size: (h, w) of the input.

    Returns:
      start int32 [..., 2] in the padded input, fraction [..., 2] in [0, 1), inside [...] 0 or 1.
    """
    limit = jnp.asarray(size, position.dtype)
    inside = jnp.all((position > -1) & (position < limit), axis=-1)
    # The clip keeps far points (and NaN) inside the array; their weight is zero.
    base = jnp.clip(jnp.floor(position), -1, limit - 1)
    fraction = jnp.where(inside[..., None], position - base, 0.0)
    start = jnp.nan_to_num(base).astype(jnp.int32) + 1
    return start, fraction, inside.astype(position.dtype)


def _shares(fraction: jax.Array, mask: jax.Array) -> jax.Array:
    """What each corner counts, [..., 4]: upper left, upper right, lower left, lower right."""
    fy, fx = fraction[..., 0], fraction[..., 1]
    left, right = mask * (1 - fx), mask * fx
    return jnp.stack([(1 - fy) * left, (1 - fy) * right, fy * left, fy * right], axis=-1)


def _combine(form: str, corners: jax.Array, shares: jax.Array, kernel: jax.Array) -> jax.Array:
    """Interpolate, weigh and sum over taps and channels.

    Args:
      form: one of `FORMS`.
      corners: [B, r, w', K, 4, C].
      shares: [B, r, w', K, 4], the weights of the points in them.
      kernel: [F, K C]; so its gradient needs no transposed columns.

    Returns:
      [B, r, w', F].
    """
    if form == "products":
        # As exact as sums, on devices too whose products of float32 are not.
        columns = jnp.einsum("brwki,brwkic->brwkc", shares, corners, precision="highest")
    else:
        columns = sum(shares[..., i, None] * corners[..., i, :] for i in range(4))
    columns = columns.astype(corners.dtype).reshape(*columns.shape[:3], -1)
    return jnp.einsum("brwc,fc->brwf", columns, kernel, preferred_element_type=shares.dtype).astype(
        corners.dtype
    )


def _flat_kernel(weight: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """[kh, kw, C, F] -> [F, kh kw C]."""
    return weight.reshape(-1, weight.shape[-1]).T.astype(dtype)


def _window_axes(start: jax.Array) -> tuple[int, ...]:
    """Where gather and scatter have their 2 x 2 x C windows: after the axes of the points."""
    return tuple(range(start.ndim - 2, start.ndim + 1))


def _gather(padded: jax.Array, start: jax.Array) -> jax.Array:
    """2 x 2 windows of padded [B, h+2, w+2, C] at start [B, ..., 2] -> [B, ..., 4, C]."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=_window_axes(start), collapsed_slice_dims=(), start_index_map=(0, 1)
    )
    gather = partial(
        lax.gather,
        dimension_numbers=numbers,
        slice_sizes=(2, 2, padded.shape[-1]),
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )
    return jax.vmap(gather)(padded, start).reshape(*start.shape[:-1], 4, -1)


def _scatter_add(padded: jax.Array, start: jax.Array, corners: jax.Array) -> jax.Array:
    """The transpose of `_gather`: add corners [B, ..., 4, C] at start, in one scatter."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=_window_axes(start),
        inserted_window_dims=(),
        scatter_dims_to_operand_dims=(0, 1),
    )
    scatter = partial(
        lax.scatter_add,
        dimension_numbers=numbers,
        mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    )
    return jax.vmap(scatter)(padded, start, corners.reshape(*start.shape[:-1], 2, 2, -1))


def _pad_border(x: jax.Array) -> jax.Array:
    """One ring of zeros around the picture, so that a window may lie half outside."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _to_blocks(static: _Static, a: jax.Array) -> jax.Array:
    """[B, h', ...] -> [blocks, B, rows, ...]; rows missing in the last block are zeros."""
    batch, height = a.shape[:2]
    blocks = -(-height // static.rows)
    a = jnp.pad(a, ((0, 0), (0, blocks * static.rows - height)) + ((0, 0),) * (a.ndim - 2))
    return jnp.moveaxis(a.reshape(batch, blocks, static.rows, *a.shape[2:]), 1, 0)


def _from_blocks(a: jax.Array, height: int) -> jax.Array:
    """[blocks, B, rows, ...] -> [B, h', ...]."""
    a = jnp.moveaxis(a, 0, 1)
    return a.reshape(a.shape[0], -1, *a.shape[3:])[:, :height]


def _pair(value: IntPair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _check_shapes(x, offset, mask, weight, bias, stride, padding, dilation) -> None:
    """Raise a ValueError with the numbers that clash."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"x must be [B, h, w, C] and weight [kh, kw, C, F], got {x.shape} and {weight.shape}"
        )
    if x.shape[-1] != weight.shape[2]:
        raise ValueError(f"x has {x.shape[-1]} channels, weight {weight.shape} expects another")
    taps = weight.shape[0] * weight.shape[1]
    out = tuple(
        (x.shape[1 + i] + 2 * padding[i] - dilation[i] * (weight.shape[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    )
    expected = (x.shape[0], *out, taps)
    if offset.shape != (*expected, 2):
        raise ValueError(f"offset has shape {offset.shape}, expected {(*expected, 2)}")
    if mask is not None and mask.shape != expected:
        raise ValueError(f"mask has shape {mask.shape}, expected {expected}")
    if bias is not None and bias.shape != weight.shape[-1:]:
        raise ValueError(f"bias has shape {bias.shape}, expected {weight.shape[-1:]}")
