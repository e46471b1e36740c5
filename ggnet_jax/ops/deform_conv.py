"""Modulated deformable convolution (DCNv2) by bilinear gather, in plain JAX.

Every output pixel p and tap k reads the input at p + grid_k + offset_k, bilinearly, times a weight:

    y(p) = bias + sum_k mask_k(p) * x(p + grid_k + offset_k(p)) @ weight_k

Output rows are worked off in blocks: what belongs to a block, four neighbours of every sampling
point, is the only large temporary, in the forward as in the backward pass, which gathers again
instead of keeping it and scatters every block into one running gradient. How neighbours are read
and added to depends on the device: `deform_forms`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.ops.bias import add_bias
from ggnet_jax.ops.deform_forms import FORMS, Form, fastest_form

IntPair = int | tuple[int, int]


class _Static(NamedTuple):
    """What must be known when the computation is traced."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    rows: int  # output rows a block
    form: Form


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
    form: str | Form = "auto",
) -> jax.Array:
    """Modulated deformable convolution, differentiable in all five arrays.

    Sampling is bilinear with zeros outside: a point at least one whole pixel outside contributes
    nothing, one within a pixel of the border counts the missing neighbours as zero. Where a
    point lies on a whole pixel, the gradient of its offset is that of the cell to the right and
    below; at exactly -1 it is zero, as in the original CUDA operator.

    Args:
      x: input [B, h, w, C], any floating dtype.
      offset: [B, h', w', K, 2], (dy, dx) in input pixels, added to the regular grid; taps
        row-major, K = kh * kw. Computed with in at least float32 whatever the dtype of x.
      mask: weights of the sampling points [B, h', w', K], or None for ones.
      weight: [kh, kw, C, F].
      bias: [F] or None.
      stride, padding, dilation: an int, or a pair (vertical, horizontal). Padding None
        keeps the size (an odd kernel at stride 1).
      form: one of `deform_forms.FORMS`, or "auto" for what is fastest on JAX's default device, or
        a form of one's own. The results are the same up to rounding.

    Returns:
      [B, h', w', F] of x's dtype. Under `jax.shard_map` gradients need `check_vma=False`, and those
      of weight and bias are each device's own, for the caller to sum.

    Raises:
      ValueError: another form, or shapes that do not fit together, with the numbers that clash.
    """
    if isinstance(form, str):
        form = _named_form(form)
    kernel = (weight.shape[0], weight.shape[1])
    stride, dilation = _pair(stride), _pair(dilation)
    if padding is None:
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    padding = _pair(padding)
    _check_shapes(x, offset, mask, weight, bias, stride, padding, dilation)
    batch, out_height, out_width, taps, _ = offset.shape
    if mask is None:
        mask = jnp.ones(offset.shape[:-1], offset.dtype)
    # In bfloat16 cells beyond 256 could not be told apart.
    offset, mask = (a.astype(jnp.promote_types(a.dtype, jnp.float32)) for a in (offset, mask))
    row_elements = out_width * taps * x.shape[-1] * (1 if form.per_picture else batch)
    rows = min(out_height, max(1, form.block_elements // max(1, row_elements)))
    rows = -(-out_height // -(-out_height // rows))  # blocks of nearly equal height
    static = _Static(kernel, stride, padding, dilation, rows, form)
    with jax.named_scope("deform_conv2d"):
        y = _deform_conv(static, x, offset, mask, weight)
        return y if bias is None else add_bias(y, bias)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _deform_conv(static: _Static, x, offset, mask, weight):
    """`deform_conv2d` without bias, in blocks of output rows."""
    form = static.form
    source, kernel = form.source(x), form.kernel(weight, x.dtype)
    blocks = _blocks_of_points(static, offset, mask)

    def block(args):
        position, mask = args
        start, fraction, inside = _corners(position, x.shape[1:3])
        shares = form.shares(fraction, mask * inside)
        return form.combine(form.gather(source, start), shares, kernel, position.shape[1:3])

    return _from_blocks(lax.map(block, blocks), offset.shape[1])


def _deform_conv_forward(static, x, offset, mask, weight):
    return _deform_conv(static, x, offset, mask, weight), (x, offset, mask, weight)


def _deform_conv_backward(static, residuals, dy):
    """Gather every block again, differentiate it, add its part to the running gradients."""
    x, offset, mask, weight = residuals
    form = static.form
    source, pull_source = jax.vjp(form.source, x)
    # Many additions meet in one cell: sums stay in at least float32 whatever the dtype of x.
    sum_dtype = jnp.promote_types(x.dtype, jnp.float32)
    kernel = form.kernel(weight, x.dtype)
    _, pull_kernel = jax.vjp(lambda w: form.kernel(w, sum_dtype), weight)
    blocks = (*_blocks_of_points(static, offset, mask), _to_blocks(static, dy))

    def block(sums, args):
        dsource, dkernel = sums
        position, mask, dy = args
        start, fraction, inside = _corners(position, x.shape[1:3])
        shares, pull_shares = jax.vjp(lambda f, m: form.shares(f, m * inside), fraction, mask)
        dsource, dshares, dkernel_block = form.pull_back(
            form, dsource, source, start, shares, kernel, dy
        )
        dposition, dmask = pull_shares(dshares)
        return (dsource, dkernel + dkernel_block.astype(sum_dtype)), (dposition, dmask)

    zeros = (jnp.zeros(source.shape, sum_dtype), jnp.zeros(kernel.shape, sum_dtype))
    (dsource, dkernel), (dposition, dmask) = lax.scan(block, zeros, blocks)
    return (
        *pull_source(dsource.astype(source.dtype)),
        _from_blocks(dposition, offset.shape[1]).astype(offset.dtype),
        _from_blocks(dmask, offset.shape[1]).astype(mask.dtype),
        *pull_kernel(dkernel),
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


def _blocks_of_points(
    static: _Static, offset: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sampling points and their weights in blocks."""
    # Missing rows look where the last one does and count nothing: all at one place, devices would
    # wait for one another to add zeros there.
    position = _to_blocks(static, _positions(static, offset), "edge")
    return position, _to_blocks(static, mask)


def _to_blocks(static: _Static, a: jax.Array, missing: str = "constant") -> jax.Array:
    """[B, h', ...] -> [blocks, B, rows, ...]; `missing`: how `jnp.pad` fills the last block."""
    batch, height = a.shape[:2]
    blocks = -(-height // static.rows)
    widths = ((0, 0), (0, blocks * static.rows - height), *((0, 0),) * (a.ndim - 2))
    a = jnp.pad(a, widths, mode=missing)
    return jnp.moveaxis(a.reshape(batch, blocks, static.rows, *a.shape[2:]), 1, 0)


def _from_blocks(a: jax.Array, height: int) -> jax.Array:
    """[blocks, B, rows, ...] -> [B, h', ...]."""
    a = jnp.moveaxis(a, 0, 1)
    return a.reshape(a.shape[0], -1, *a.shape[3:])[:, :height]


def _named_form(name: str) -> Form:
    if name not in ("auto", *FORMS):
        raise ValueError(f"form is {name!r}; it can be 'auto', {', '.join(map(repr, FORMS))}")
    return FORMS[fastest_form(jax.default_backend()) if name == "auto" else name]


def _pair(value: IntPair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _check_shapes(x, offset, mask, weight, bias, stride, padding, dilation) -> None:
    """Raise a ValueError with the numbers that clash."""
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"x must be [B, h, w, C] and weight [kh, kw, C, F], got {x.shape} and {weight.shape}"
        )
    if 0 in x.shape + weight.shape:
        raise ValueError(f"x {x.shape} and weight {weight.shape} must not be empty")
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
