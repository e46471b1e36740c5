"""How a device reads the four neighbours of sampling points, and adds to them going backward.

What is fast on one device can be tens of times slower on another, so there are several forms of the
same arithmetic; their results are the same up to rounding. In all of them the input has a ring
of zeros, so that neighbours may lie half outside, and `start` is a point's upper left neighbour in
that padded input.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Arrays whose shapes only their form knows.
Neighbours = Any
Shares = Any


def pull_back(
    form: "Form",
    sums: jax.Array,
    source: jax.Array,
    start: jax.Array,
    shares: Shares,
    kernel: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array, Shares, jax.Array]:
    """Differentiate a block: gather its neighbours again, and add to those of the source.

    Args:
      form: that computed the block.
      sums: gradient of the source so far, in at least float32.
      source, start, shares, kernel: as in the forward pass.
      dy: gradient of the block's output [B, r, w', F].

    Returns:
      The sums with the block's part, the gradients of its shares and of the kernel.
    """
    _, pull = jax.vjp(
        lambda n, s, k: form.combine(n, s, k, dy.shape[1:3]),
        form.gather(source, start),
        shares,
        kernel,
    )
    dneighbours, dshares, dkernel = pull(dy)
    return form.scatter_add(sums, start, dneighbours), dshares, dkernel


class Form(NamedTuple):
    """One way to read, to sum and to add.

    Attributes:
      source: x [B, h, w, C] -> what `gather` reads, [B, ...]; linear.
      kernel: (weight [kh, kw, C, F], dtype) -> what `combine` takes, of that dtype; linear.
      shares: (fraction [B, r, w', K, 2] (y, x) of a cell, mask [B, r, w', K]) -> what the four
        neighbours count: upper left, upper right, lower left, lower right.
      gather: (source, start int32 [B, r, w', K, 2] (y, x)) -> neighbours.
      combine: (neighbours, shares, kernel, (r, w')) -> [B, r, w', F] of the kernel's dtype:
        interpolates, weighs and sums over taps and channels.
      scatter_add: (sums like a source, start, neighbours) -> sums; the transpose of `gather`.
      block_elements: channels times points of a block, of all pictures or of each.
      per_picture: of each. Where a batch may be shared out over devices its size says nothing about
        what one of them has to do; memory then grows with the pictures that a device has.
      pull_back: the backward pass of a block, `pull_back` or one that does the same.
    """

    source: Callable[[jax.Array], jax.Array]
    kernel: Callable[[jax.Array, Any], jax.Array]
    shares: Callable[[jax.Array, jax.Array], Shares]
    gather: Callable[[jax.Array, jax.Array], Neighbours]
    combine: Callable[[Neighbours, Shares, jax.Array, tuple[int, int]], jax.Array]
    scatter_add: Callable[[jax.Array, jax.Array, Neighbours], jax.Array]
    block_elements: int
    per_picture: bool
    pull_back: Callable[..., tuple[jax.Array, Shares, jax.Array]] = pull_back


def _four_shares(fraction: jax.Array, mask: jax.Array) -> list[jax.Array]:
    fy, fx = fraction[..., 0], fraction[..., 1]
    left, right = mask * (1 - fx), mask * fx
    return [(1 - fy) * left, (1 - fy) * right, fy * left, fy * right]


def _pad_border(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


# "products", "sums": neighbours are one 2 x 2 window [B, r, w', K, 4, C], shares [B, r, w', K, 4].


def _flat_kernel(weight: jax.Array, dtype: Any) -> jax.Array:
    """[kh, kw, C, F] -> [F, kh kw C]; so its gradient needs no transposed columns."""
    return weight.reshape(-1, weight.shape[-1]).T.astype(dtype)


def _window_shares(fraction: jax.Array, mask: jax.Array) -> jax.Array:
    # Few numbers, each read C times: without the barrier they are computed as often. It holds in
    # the backward pass too, for their gradients.
    return lax.optimization_barrier(jnp.stack(_four_shares(fraction, mask), axis=-1))


def _window_axes(start: jax.Array) -> tuple[int, ...]:
    """Where gather and scatter have their 2 x 2 x C windows: after the axes of the points."""
    return tuple(range(start.ndim - 2, start.ndim + 1))


def _gather_windows(padded: jax.Array, start: jax.Array) -> jax.Array:
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


def _add_windows(sums: jax.Array, start: jax.Array, windows: jax.Array) -> jax.Array:
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
    windows = windows.astype(sums.dtype).reshape(*start.shape[:-1], 2, 2, -1)
    return jax.vmap(scatter)(sums, start, windows)


def _combine_by_products(
    windows: jax.Array, shares: jax.Array, kernel: jax.Array, size: tuple[int, int]
) -> jax.Array:
    # As exact as sums, on devices too whose products of float32 are not.
    columns = jnp.einsum("brwki,brwkic->brwkc", shares, windows, precision="highest")
    return _apply(columns, kernel)


def _combine_by_sums(
    windows: jax.Array, shares: jax.Array, kernel: jax.Array, size: tuple[int, int]
) -> jax.Array:
    return _apply(sum(shares[..., i, None] * windows[..., i, :] for i in range(4)), kernel)


def _apply(columns: jax.Array, kernel: jax.Array) -> jax.Array:
    """Columns [B, r, w', K, C] and kernel [F, K C] -> [B, r, w', F]."""
    flat = columns.astype(kernel.dtype).reshape(*columns.shape[:3], -1)
    y = jnp.einsum("brwc,fc->brwf", flat, kernel, preferred_element_type=columns.dtype)
    return y.astype(kernel.dtype)


# "cells": neighbours are four arrays [B, K, r w', C], shares four [B, K, r w'].


def _tap_kernel(weight: jax.Array, dtype: Any) -> jax.Array:
    """[kh, kw, C, F] -> [kh kw, C, F]."""
    return weight.reshape(-1, *weight.shape[2:]).astype(dtype)


def _float_border(x: jax.Array) -> jax.Array:
    """In at least float32: a TPU converts the input faster than what was gathered from it."""
    return _pad_border(x.astype(jnp.promote_types(x.dtype, jnp.float32)))


def _by_tap(a: jax.Array) -> jax.Array:
    """[B, r, w', K, ...] -> [B, K, r w', ...]."""
    return jnp.moveaxis(a.reshape(a.shape[0], -1, *a.shape[3:]), 2, 1)


def _cell_shares(fraction: jax.Array, mask: jax.Array) -> list[jax.Array]:
    return _four_shares(_by_tap(fraction), _by_tap(mask))


def _cells(width: int, start: jax.Array) -> list[jax.Array]:
    """The four neighbours' places in a list of all cells, [B, K, r w'] each."""
    first = _by_tap(start[..., 0] * width + start[..., 1])
    return [first, first + 1, first + width, first + width + 1]


def _gather_cells(padded: jax.Array, start: jax.Array) -> list[jax.Array]:
    batch, height, width, channels = padded.shape
    rows = padded.reshape(batch, height * width, channels)
    gather = jax.vmap(lambda rows, cells: rows.at[cells].get(mode="promise_in_bounds"))
    return [gather(rows, cells) for cells in _cells(width, start)]


def _add_cells(sums: jax.Array, start: jax.Array, neighbours: list[jax.Array]) -> jax.Array:
    batch, height, width, channels = sums.shape
    rows = sums.reshape(batch, height * width, channels)
    add = jax.vmap(lambda rows, cells, a: rows.at[cells].add(a, mode="promise_in_bounds"))
    for cells, neighbour in zip(_cells(width, start), neighbours, strict=True):
        rows = add(rows, cells, neighbour)
    return rows.reshape(sums.shape)


def _combine_cells(
    neighbours: list[jax.Array], shares: list[jax.Array], kernel: jax.Array, size: tuple[int, int]
) -> jax.Array:
    columns = sum(s[..., None] * row for s, row in zip(shares, neighbours, strict=True))
    y = jnp.einsum(
        "bkpc,kcf->bpf",
        columns.astype(kernel.dtype),
        kernel,
        preferred_element_type=columns.dtype,
    )
    return y.astype(kernel.dtype).reshape(y.shape[0], *size, -1)


_WINDOWS = Form(
    source=_pad_border,
    kernel=_flat_kernel,
    shares=_window_shares,
    gather=_gather_windows,
    combine=_combine_by_sums,
    scatter_add=_add_windows,
    block_elements=2**23,
    per_picture=True,
)
# By name. See benchmarks/results for what the choice and the sizes rest on.
FORMS = {
    # Small matrix products, for which XLA has kernels on CPUs; a block stays in the cache.
    "products": _WINDOWS._replace(
        combine=_combine_by_products, block_elements=2**18, per_picture=False
    ),
    # A compiler for GPUs fuses the gather with the sums, and adds four numbers at once.
    "sums": _WINDOWS,
    # A TPU reads and adds whole cells by the thousand, but windows one by one.
    "cells": Form(
        source=_float_border,
        kernel=_tap_kernel,
        shares=_cell_shares,
        gather=_gather_cells,
        combine=_combine_cells,
        scatter_add=_add_cells,
        block_elements=2**20,
        per_picture=True,
    ),
}
_FASTEST = {"cpu": "products", "tpu": "cells"}


def fastest_form(platform: str) -> str:
    """The form for a platform of JAX, such as 'cpu', 'tpu' or 'gpu'; unknown ones count as GPUs."""
    return _FASTEST.get(platform, "sums")
