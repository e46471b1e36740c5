"""How a backend gathers the corners of a deformable convolution, and adds up their gradients.

What is fast on one backend can be many times slower on another, so there are three
implementations of the same arithmetic, equal up to rounding:

    products   gathers 2 x 2 patches, interpolates by small matrix products: CPU, backward
    sums       gathers 2 x 2 patches, interpolates by sums, fused with the gather: CPU, forward; GPU
    cells      gathers the four corners one by one, interpolates by sums: TPU

On CPUs and GPUs the choice and the block size are measured (benchmarks/results/cpu.md, gpu.md);
those for TPUs were chosen from compiled programs (compiled.md) and are not measured.

In all of them the input is padded with a ring of zeros, so that a sampling point may lie up to one
pixel outside, and `corner` is a point's upper left corner in the padded input. Shapes: B images,
blocks of r output rows and w' columns, K taps, C channels, F features.
"""

import dataclasses
import functools
import operator
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

# Arrays whose layout only their implementation knows.
Corners = Any
Weights = Any


def default_for(platform: str) -> str:
    """The name in `IMPLEMENTATIONS` for a platform of JAX: 'cpu', 'tpu', 'gpu'; others are GPUs."""
    return {"cpu": "sums_then_products", "tpu": "cells"}.get(platform, "sums")


class Implementation(Protocol):
    """One way to gather, to interpolate and to add up.

    Attributes:
        block_elements: channels times sampling points of a block, all images together.
        image_elements: of every image a block has so many in any case. Where a batch may be sharded
            over devices its size says nothing of what one of them has to do; memory then grows
            with the images that a device has.
    """

    @property
    def block_elements(self) -> int: ...

    @property
    def image_elements(self) -> int: ...

    def pad(self, x: jax.Array) -> jax.Array:
        """x [B, h, w, C] -> the padded input that `gather` reads; linear."""
        ...

    def kernel(self, weight: jax.Array) -> jax.Array:
        """weight [kh, kw, C, F] -> what `combine` takes; linear."""
        ...

    def bilinear_weights(self, fraction: jax.Array, mask: jax.Array) -> Weights:
        """What each corner counts.

        Args:
            fraction: [B, r, w', K, 2] (y, x) distance of the point from its upper left corner.
            mask: [B, r, w', K].
        """
        ...

    def gather(self, padded: jax.Array, corner: jax.Array) -> Corners:
        """The input at the four corners of every point; corner int32 [B, r, w', K, 2] (y, x)."""
        ...

    def combine(
        self,
        corners: Corners,
        weights: Weights,
        kernel: jax.Array,
        size: tuple[int, ...],
        dtype: Any,
    ) -> jax.Array:
        """Interpolate, and sum over taps and channels: [B, r, w', F].

        Args:
            corners: from `gather`.
            weights: from `bilinear_weights`.
            kernel: from `kernel`, in the dtype that its gradient shall have.
            size: (r, w').
            dtype: of the factors of the last product, and of the result.
        """
        ...

    def scatter_add(self, total: jax.Array, corner: jax.Array, corners: Corners) -> jax.Array:
        """Add to a sum of the padded input's shape what belongs to the corners.

        The transpose of `gather`.
        """
        ...


def _bilinear(fraction: jax.Array, mask: jax.Array) -> list[jax.Array]:
    """Weights of the upper left, upper right, lower left and lower right corner."""
    fy, fx = fraction[..., 0], fraction[..., 1]
    left, right = mask * (1 - fx), mask * fx
    return [(1 - fy) * left, (1 - fy) * right, fy * left, fy * right]


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, terms)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _multiply(subscripts: str, dtype: Any, columns: jax.Array, kernel: jax.Array) -> jax.Array:
    """`einsum(subscripts, columns, kernel)` with factors and result of that dtype.

    Gradients are sums of such products too, in the dtypes of columns and kernel. JAX's own would
    multiply in float32 wherever bfloat16 is summed up in float32, at a fraction of the speed.
    """
    return _product(subscripts, dtype, columns, kernel, dtype)


def _multiply_forward(subscripts, dtype, columns, kernel):
    return _multiply(subscripts, dtype, columns, kernel), (columns, kernel)


def _multiply_backward(subscripts, dtype, residuals, dy):
    columns, kernel = residuals
    of_columns, of_kernel, of_y = subscripts.replace("->", ",").split(",")
    dcolumns = _product(f"{of_y},{of_kernel}->{of_columns}", dtype, dy, kernel, columns.dtype)
    dkernel = _product(f"{of_y},{of_columns}->{of_kernel}", dtype, dy, columns, kernel.dtype)
    return dcolumns, dkernel


_multiply.defvjp(_multiply_forward, _multiply_backward)


def _product(subscripts: str, dtype: Any, a: jax.Array, b: jax.Array, result: Any) -> jax.Array:
    """`einsum(subscripts, a, b)` of factors rounded to `dtype`, summed up in at least float32.

    Args:
        result: its dtype.
    """
    a, b = a.astype(dtype), b.astype(dtype)
    sum_dtype = jnp.promote_types(dtype, jnp.float32)

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        y = jnp.einsum(subscripts, a, b, preferred_element_type=sum_dtype)
        return y.astype(result)

    def on_cpu(a: jax.Array, b: jax.Array) -> jax.Array:
        # XLA's CPU compiler has few products of bfloat16 with a sum of float32, and fast ones in
        # bfloat16 alone: these too sum up in float32, and round once.
        if result == dtype:
            return jnp.einsum(subscripts, a, b)
        return multiply(a.astype(sum_dtype), b.astype(sum_dtype))

    if dtype == sum_dtype:
        return multiply(a, b)
    return lax.platform_dependent(a, b, cpu=on_cpu, default=multiply)


def _pad(x: jax.Array) -> jax.Array:
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


@dataclasses.dataclass(frozen=True)
class Patches:
    """Corners as one patch [B, r, w', K, 4, C] a point, bilinear weights [B, r, w', K, 4].

    Attributes:
        by_products: interpolate by matrix products, for which XLA has kernels on CPUs. A compiler
            for GPUs fuses sums with the gather.
    """

    by_products: bool
    block_elements: int
    image_elements: int = 0

    def pad(self, x: jax.Array) -> jax.Array:
        return _pad(x)

    def kernel(self, weight: jax.Array) -> jax.Array:
        """[F, kh kw C]; so its gradient needs no transposed columns."""
        return weight.reshape(-1, weight.shape[-1]).T

    def bilinear_weights(self, fraction: jax.Array, mask: jax.Array) -> jax.Array:
        # Few numbers, each read C times: without the barrier they are computed as often. It holds
        # in the backward pass too, for their gradients.
        return lax.optimization_barrier(jnp.stack(_bilinear(fraction, mask), axis=-1))

    def gather(self, padded: jax.Array, corner: jax.Array) -> jax.Array:
        numbers = lax.GatherDimensionNumbers(
            offset_dims=self._patch_axes(corner), collapsed_slice_dims=(), start_index_map=(0, 1)
        )
        gather = partial(
            lax.gather,
            dimension_numbers=numbers,
            slice_sizes=(2, 2, padded.shape[-1]),
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )
        return jax.vmap(gather)(padded, corner).reshape(*corner.shape[:-1], 4, -1)

    def combine(
        self,
        corners: jax.Array,
        weights: jax.Array,
        kernel: jax.Array,
        size: tuple[int, ...],
        dtype: Any,
    ) -> jax.Array:
        if self.by_products:
            # As exact as sums, on devices too whose products of float32 are not.
            columns = jnp.einsum("brwki,brwkic->brwkc", weights, corners, precision="highest")
        else:
            columns = _sum(weights[..., i, None] * corners[..., i, :] for i in range(4))
        flat = columns.reshape(*columns.shape[:3], -1)
        return _multiply("brwc,fc->brwf", dtype, flat, kernel)

    def scatter_add(self, total: jax.Array, corner: jax.Array, corners: jax.Array) -> jax.Array:
        numbers = lax.ScatterDimensionNumbers(
            update_window_dims=self._patch_axes(corner),
            inserted_window_dims=(),
            scatter_dims_to_operand_dims=(0, 1),
        )
        scatter = partial(
            lax.scatter_add,
            dimension_numbers=numbers,
            mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
        )
        patches = corners.astype(total.dtype).reshape(*corner.shape[:-1], 2, 2, -1)
        return jax.vmap(scatter)(total, corner, patches)

    @staticmethod
    def _patch_axes(corner: jax.Array) -> tuple[int, ...]:
        """Where one image's 2 x 2 x C patches lie: after the axes of the points."""
        return tuple(range(corner.ndim - 2, corner.ndim + 1))


@dataclasses.dataclass(frozen=True)
class Cells:
    """Corners as four arrays [B, K, r w', C], bilinear weights as four [B, K, r w'].

    A TPU reads and adds whole cells by the thousand, but patches one by one.
    """

    block_elements: int
    image_elements: int = 0

    def pad(self, x: jax.Array) -> jax.Array:
        """In at least float32: a TPU converts the input faster than what was gathered from it."""
        return _pad(x.astype(jnp.promote_types(x.dtype, jnp.float32)))

    def kernel(self, weight: jax.Array) -> jax.Array:
        """[kh kw, C, F]."""
        return weight.reshape(-1, *weight.shape[2:])

    def bilinear_weights(self, fraction: jax.Array, mask: jax.Array) -> list[jax.Array]:
        return _bilinear(self._by_tap(fraction), self._by_tap(mask))

    def gather(self, padded: jax.Array, corner: jax.Array) -> list[jax.Array]:
        batch, height, width, channels = padded.shape
        cells = padded.reshape(batch, height * width, channels)
        gather = jax.vmap(lambda cells, index: cells.at[index].get(mode="promise_in_bounds"))
        return [gather(cells, index) for index in self._indices(width, corner)]

    def combine(
        self,
        corners: list[jax.Array],
        weights: list[jax.Array],
        kernel: jax.Array,
        size: tuple[int, ...],
        dtype: Any,
    ) -> jax.Array:
        columns = _sum(w[..., None] * cells for w, cells in zip(weights, corners, strict=True))
        y: jax.Array = _multiply("bkpc,kcf->bpf", dtype, columns, kernel)
        return y.reshape(y.shape[0], *size, -1)

    def scatter_add(
        self, total: jax.Array, corner: jax.Array, corners: list[jax.Array]
    ) -> jax.Array:
        batch, height, width, channels = total.shape
        cells = total.reshape(batch, height * width, channels)
        add = jax.vmap(lambda cells, index, a: cells.at[index].add(a, mode="promise_in_bounds"))
        for index, one in zip(self._indices(width, corner), corners, strict=True):
            cells = add(cells, index, one)
        return cells.reshape(total.shape)

    @staticmethod
    def _by_tap(a: jax.Array) -> jax.Array:
        """[B, r, w', K, ...] -> [B, K, r w', ...]."""
        return jnp.moveaxis(a.reshape(a.shape[0], -1, *a.shape[3:]), 2, 1)

    def _indices(self, width: int, corner: jax.Array) -> list[jax.Array]:
        """The four corners' places in a list of all cells, [B, K, r w'] each."""
        first = self._by_tap(corner[..., 0] * width + corner[..., 1])
        return [first, first + 1, first + width, first + width + 1]


class Passes(NamedTuple):
    """The implementations of both passes; the backward one gathers again, in blocks of its own."""

    forward: Implementation
    backward: Implementation


_PRODUCTS = Patches(by_products=True, block_elements=2**18)
# A GPU starts dozens of kernels for every block: as few blocks as its memory bears.
_SUMS = Patches(by_products=False, block_elements=2**27, image_elements=2**23)
_CELLS = Cells(block_elements=2**20, image_elements=2**20)
# On a CPU the corners of few rows have to stay in its caches.
_SUMS_OF_FEW_ROWS = Patches(by_products=False, block_elements=2**21)

IMPLEMENTATIONS = {
    "products": Passes(_PRODUCTS, _PRODUCTS),
    "sums_then_products": Passes(forward=_SUMS_OF_FEW_ROWS, backward=_PRODUCTS),
    "sums": Passes(_SUMS, _SUMS),
    "cells": Passes(_CELLS, _CELLS),
}
