"""Other ways to add to the input's gradient, which have not been shown faster anywhere.

They are measured beside the forms of `ggnet_jax.ops.deform_forms` and pass the same tests; one that
wins on a device belongs there. All read like "sums".
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from ggnet_jax.ops.deform_forms import FORMS, Form

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def add_sorted(sums: jax.Array, start: jax.Array, windows: jax.Array) -> jax.Array:
    """Sort all neighbours by cell, then sum the segments: nobody adds where another does."""
    height, width, channels = sums.shape[1:]

    def one(sums, start, windows):
        cells = jnp.stack(
            [(start[..., 0] + dy) * width + start[..., 1] + dx for dy, dx in _CORNERS], axis=-1
        ).ravel()
        order = jnp.argsort(cells)
        summed = jax.ops.segment_sum(
            windows.reshape(-1, channels)[order],
            cells[order],
            num_segments=height * width,
            indices_are_sorted=True,
        )
        return sums + summed.reshape(sums.shape)

    return jax.vmap(one)(sums, start, windows.astype(sums.dtype))


def pull_back_by_one_hot(
    form: Form,
    sums: jax.Array,
    source: jax.Array,
    start: jax.Array,
    shares: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
    *,
    band: int = 36,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A matrix product with what every point counts in every cell of a band of rows.

    The band begins at the highest row that a block's points reach; where it does not hold all
    of them, they are added as in "sums". Arguments and results: `deform_forms.pull_back`.
    """
    band = min(band, sums.shape[1])
    windows, dcolumns, dkernel = _pull_columns(form, source, start, shares, kernel, dy)
    dshares = jnp.einsum("brwkic,brwkc->brwki", windows, dcolumns)

    def one(sums, start, shares, dcolumns):
        height, width, channels = sums.shape
        first = jnp.minimum(start[..., 0].min(), height - band)
        points = dcolumns.reshape(-1, channels)

        def by_product(sums):
            cell = ((start[..., 0] - first) * width + start[..., 1]).reshape(-1, 1)
            share = shares.reshape(-1, 4)
            cells = jnp.arange(band * width)
            counts = sum(
                jnp.where(cells == cell + dy * width + dx, share[:, i, None], 0)
                for i, (dy, dx) in enumerate(_CORNERS)
            )
            part = lax.dynamic_slice_in_dim(sums, first, band)
            part += jnp.einsum(
                "pq,pc->qc", counts, points, preferred_element_type=sums.dtype
            ).reshape(part.shape)
            return lax.dynamic_update_slice_in_dim(sums, part, first, 0)

        def by_scatter(sums):
            windows = shares[..., None] * dcolumns[..., None, :]
            return form.scatter_add(sums[None], start[None], windows[None])[0]

        return lax.cond(start[..., 0].max() - first + 2 <= band, by_product, by_scatter, sums)

    # One picture after the other: under `vmap` both branches would be computed.
    sums = lax.map(lambda a: one(*a), (sums, start, shares, dcolumns))
    return sums, dshares.astype(shares.dtype), dkernel


def pull_back_by_kernel(
    form: Form,
    sums: jax.Array,
    source: jax.Array,
    start: jax.Array,
    shares: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A Pallas kernel for NVIDIA GPUs: a warp a pixel reads each neighbour and adds to it.

    So the neighbours' gradients never lie in memory. Channels must be a power of two there. On
    other devices the kernel is interpreted. It knows nothing of meshes: under `jit` every device
    computes all pictures, unless `jax.shard_map` (`check_vma=False`) shares them out. Arguments and
    results: `deform_forms.pull_back`.
    """
    _, dcolumns, dkernel = _pull_columns(form, source, start, shares, kernel, dy)
    batch, rows, width, taps, _ = dcolumns.shape
    pixels = (batch, rows * width)

    def by_pixel(a: jax.Array) -> jax.Array:
        return a.reshape(*pixels, *a.shape[3:])

    def run(start, shares, dcolumns, source, _, sums, dshares):
        picture, pixel = (pl.program_id(axis).astype(int) for axis in (0, 1))

        def point(tap, _):
            y, x = (start[picture, pixel, tap, axis].astype(int) for axis in (0, 1))
            dcolumn = dcolumns[picture, pixel, tap, :]
            for i, (dy, dx) in enumerate(_CORNERS):
                cell = (picture, y + dy, x + dx, slice(None))
                dshare = jnp.sum(source[cell] * dcolumn)
                dshares[picture, pixel, tap, i] = dshare.astype(dshares.dtype)
                added = shares[picture, pixel, tap, i] * dcolumn
                triton.atomic_add(sums, cell, added.astype(sums.dtype))

        lax.fori_loop(0, taps, point, None)

    def call(interpret: bool) -> Callable[..., Any]:
        return pl.pallas_call(
            run,
            out_shape=(
                jax.ShapeDtypeStruct(sums.shape, sums.dtype),
                jax.ShapeDtypeStruct((*pixels, taps, 4), shares.dtype),
            ),
            grid=pixels,
            input_output_aliases={4: 0},
            compiler_params=triton.CompilerParams(num_warps=1),
            interpret=interpret,
        )

    sums, dshares = lax.platform_dependent(
        *(by_pixel(a) for a in (start, shares, dcolumns)),
        source,
        sums,
        cuda=call(interpret=False),
        default=call(interpret=True),
    )
    return sums, dshares.reshape(shares.shape), dkernel


def _pull_columns(
    form: Form,
    source: jax.Array,
    start: jax.Array,
    shares: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A block's windows again, and the gradients of its columns [B, r, w', K, C] and the kernel."""
    windows = form.gather(source, start)
    columns = sum(shares[..., i, None] * windows[..., i, :] for i in range(4))
    flat = columns.astype(kernel.dtype).reshape(*columns.shape[:3], -1)
    dflat = jnp.einsum("brwf,fc->brwc", dy, kernel, preferred_element_type=columns.dtype)
    dkernel = jnp.einsum("brwf,brwc->fc", dy, flat, preferred_element_type=columns.dtype)
    return windows, dflat.reshape(columns.shape), dkernel


CANDIDATES = {
    "sorted": FORMS["sums"]._replace(scatter_add=add_sorted),
    # Blocks of at most 14 rows, or of whole small maps, whose points then lie in a band.
    "one_hot": FORMS["sums"]._replace(pull_back=pull_back_by_one_hot, block_elements=2**20),
    "pallas": FORMS["sums"]._replace(pull_back=pull_back_by_kernel),
}
