"""Convolution, written for XLA's CPU compiler where that is slow with its own.

On GPUs and TPUs it is XLA's. On a CPU matrix products take its place (benchmarks/results/cpu.md):

    forward                  on maps smaller than the kernel
    gradient of the kernel   for XLA a convolution whose window is the whole map; products of the
                             input's pixels with the output's gradient take as little as a tenth
    gradient of the input    of few pixels, where turning the kernel around takes longer than to
                             convolve; products need no kernel turned around
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

# Measured on CPUs with AVX-512. So many channels fill a processor in a product of one tap; fewer do
# in a product of all taps together, if the whole batch has many pixels.
_MANY_CHANNELS = 128
_MANY_PIXELS = 4096
# An image has fewer channels than any product needs: there XLA's gradient is faster.
_MIN_CHANNELS = 8
# Up to so many pixels of the whole batch the gradient of the input is faster by products, and that
# of the kernel by one product of all taps.
_FEW_PIXELS = 256


def conv2d(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, precision: lax.Precision | None = None
) -> jax.Array:
    """2-D convolution with a square kernel of odd side, zero padding of half its side.

    Args:
        x: [B, h, w, C].
        kernel: [k, k, C, F], of x's dtype.
        stride: step in both directions.
        precision: of the products.

    Returns:
        [B, h', w', F]; h' = ceil(h / stride).
    """
    convolve = _conv_on_cpu if jax.default_backend() == "cpu" else _xla_conv
    return convolve(stride, precision, x, kernel)


def _xla_conv(
    stride: int, precision: lax.Precision | None, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(kernel.shape[0] // 2, kernel.shape[0] // 2)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=precision,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv_on_cpu(
    stride: int, precision: lax.Precision | None, x: jax.Array, kernel: jax.Array
) -> jax.Array:
    side, features = kernel.shape[0], kernel.shape[-1]
    if min(x.shape[1:3]) >= side or not _has_many_channels(kernel):
        return _xla_conv(stride, precision, x, kernel)
    size = tuple(-(-length // stride) for length in x.shape[1:3])
    padded = _pad(x, side // 2)
    columns = _columns(padded, side, stride, size)
    return jnp.matmul(columns, kernel.reshape(-1, features), precision=precision)


def _vjp_forward(stride, precision, x, kernel):
    return _conv_on_cpu(stride, precision, x, kernel), (x, kernel)


def _vjp_backward(stride, precision, residuals, dy):
    x, kernel = residuals
    return (
        _input_gradient(stride, precision, x, kernel, dy),
        _kernel_gradient(stride, precision, x, kernel, dy),
    )


_conv_on_cpu.defvjp(_vjp_forward, _vjp_backward)


def _kernel_gradient(stride, precision, x, kernel, dy):
    """sum_p x(stride p + tap) dy(p)^T for every tap, [k, k, C, F]."""
    side, size = kernel.shape[0], dy.shape[1:3]
    rows = _rows(dy)
    many_channels = _has_many_channels(kernel)
    if kernel.shape[2] < _MIN_CHANNELS or not (
        many_channels or len(rows) >= _MANY_PIXELS or side == 1
    ):
        return jax.vjp(lambda kernel: _xla_conv(stride, precision, x, kernel), kernel)[1](dy)[0]
    padded = _pad(x, side // 2)

    def product(read: jax.Array) -> jax.Array:
        return jnp.matmul(_rows(read).T, rows, precision=precision)

    if side == 1 or len(rows) <= _FEW_PIXELS:
        return product(_columns(padded, side, stride, size)).reshape(kernel.shape)
    if side == 3 and stride == 1 and not many_channels:
        return _kernel_gradient_of_few_channels(precision, padded, kernel, dy)

    def of_tap(corner: tuple[jax.Array, jax.Array]) -> jax.Array:
        extent = ((length - 1) * stride + 1 for length in size)
        read = lax.dynamic_slice(padded, (0, *corner, 0), (len(x), *extent, x.shape[-1]))
        return product(read[:, ::stride, ::stride])

    # One after the other, so that the copy of the input for one tap alone takes memory.
    corners = jnp.divmod(jnp.arange(side**2), side)
    return lax.map(of_tap, corners).reshape(kernel.shape)


def _kernel_gradient_of_few_channels(precision, padded, kernel, dy):
    """`_kernel_gradient` at stride 1 in one product, [k C] x [k F] for every image.

    Columns of taps read the padded input at other columns, rows of taps the output's gradient at
    other rows, so that both are copied k times and not k k times.
    """
    side, _, channels, features = kernel.shape
    height, width = dy.shape[1:3]
    across = jnp.concatenate([padded[:, :, j : j + width] for j in range(side)], axis=-1)
    zeros = jnp.pad(dy, ((0, 0), (side - 1, side - 1), (0, 0), (0, 0)))
    rows = range(side - 1, -1, -1)  # row i of the taps meets row h of the output in row h + i
    down = jnp.concatenate([zeros[:, i : i + height + side - 1] for i in rows], axis=-1)
    of_images = jnp.einsum(
        "bpc,bpf->bcf",
        across.reshape(len(dy), -1, side * channels),
        down.reshape(len(dy), -1, side * features),
        precision=precision,
    )
    by_tap = of_images.sum(axis=0).reshape(side, channels, side, features)
    return by_tap.transpose(2, 0, 1, 3)


def _input_gradient(stride, precision, x, kernel, dy):
    """Every tap's dy(p) kernel(tap)^T added where the tap has read."""
    if not _has_many_channels(kernel) or dy[..., 0].size > _FEW_PIXELS:
        return jax.vjp(lambda x: _xla_conv(stride, precision, x, kernel), x)[1](dy)[0]
    side, radius = kernel.shape[0], kernel.shape[0] // 2
    sum_dtype = jnp.promote_types(x.dtype, jnp.float32)
    padded = _pad(jnp.zeros(x.shape, sum_dtype), radius)
    of_taps = jnp.matmul(dy, kernel.reshape(-1, kernel.shape[-1]).T, precision=precision)
    windows = _windows(side, stride, dy.shape[1:3])
    for index, of_tap in zip(windows, jnp.split(of_taps, side**2, axis=-1), strict=True):
        padded = padded.at[index].add(of_tap.astype(sum_dtype))
    inside = padded[:, radius : radius + x.shape[1], radius : radius + x.shape[2]]
    return inside.astype(x.dtype)


def _has_many_channels(kernel: jax.Array) -> bool:
    return min(kernel.shape[2:]) >= _MANY_CHANNELS


def _rows(x: jax.Array) -> jax.Array:
    """[B, h, w, C] -> [B h w, C]; with three axes to sum over XLA would take twice as long."""
    return x.reshape(-1, x.shape[-1])


def _pad(x: jax.Array, radius: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)))


def _columns(padded: jax.Array, side: int, stride: int, size: tuple[int, ...]) -> jax.Array:
    """All that an output pixel reads of the padded input, [B, h', w', k k C]."""
    return jnp.concatenate([padded[index] for index in _windows(side, stride, size)], axis=-1)


def _windows(side: int, stride: int, size: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """For every tap, row-major, the pixels of the padded input that it reads."""

    def along(axis: int, tap: int) -> slice:
        return slice(tap, tap + (size[axis] - 1) * stride + 1, stride)

    return [(slice(None), along(0, i), along(1, j)) for i in range(side) for j in range(side)]
