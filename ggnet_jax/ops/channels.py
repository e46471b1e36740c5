"""One number a channel: sums over all pixels, and what is added to or multiplied with every pixel.

Sums are in at least float32: CPUs and GPUs would sum bfloat16 in bfloat16, where 256 + 1 = 256. On
CPUs rows are summed first, then their columns, many numbers side by side: XLA's own sums walk
through memory once for every channel there (benchmarks/results/cpu.md).
"""

import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def sum_pixels(x: jax.Array) -> jax.Array:
    """[..., C] -> [C] in at least float32."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if x.ndim >= 3 and jax.default_backend() == "cpu":
        rows = x.reshape(-1, x.shape[-2] * x.shape[-1]).sum(axis=0)
        return rows.reshape(x.shape[-2:]).sum(axis=0)
    return x.reshape(-1, x.shape[-1]).sum(axis=0)


def _sum_forward(x):
    return sum_pixels(x), x


def _sum_backward(x, dy):
    # One broadcast. JAX's own would be two, with the reshapes of the sum between: 4% of a step.
    return (jnp.broadcast_to(dy.astype(x.dtype), x.shape),)


sum_pixels.defvjp(_sum_forward, _sum_backward)


def mean_pixels(x: jax.Array) -> jax.Array:
    """[..., C] -> [C] in at least float32."""
    return sum_pixels(x) / math.prod(x.shape[:-1])


@jax.custom_vjp
def scale_and_shift(x: jax.Array, factor: jax.Array, shift: jax.Array) -> jax.Array:
    """x [..., C] times factor [C] plus shift [C], all of one dtype."""
    return x * factor + shift


def _scale_forward(x, factor, shift):
    return scale_and_shift(x, factor, shift), (x, factor)


def _scale_backward(residuals, dy):
    x, factor = residuals
    return dy * factor, sum_pixels(dy * x), sum_pixels(dy)


scale_and_shift.defvjp(_scale_forward, _scale_backward)


@jax.custom_vjp
def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Add a bias to all pixels, in at least float32.

    Args:
        y: [..., F].
        bias: [F].

    Returns:
        y + bias of y's dtype.
    """
    wide = jnp.promote_types(y.dtype, jnp.float32)
    return (y.astype(wide) + bias.astype(wide)).astype(y.dtype)


def _bias_forward(y, bias):
    return add_bias(y, bias), bias


def _bias_backward(bias, dy):
    return dy, sum_pixels(dy).astype(bias.dtype)


add_bias.defvjp(_bias_forward, _bias_backward)
