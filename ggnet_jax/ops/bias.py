"""Adding a bias to feature maps of any precision."""

import jax
import jax.numpy as jnp


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Add a bias to all pixels, in at least float32.

    So that going backward the bias's gradient, a sum over all pixels, is summed in float32 as well.
    XLA's CPUs and GPUs would sum bfloat16 in bfloat16, where 256 + 1 = 256.

    Args:
        y: [..., F].
        bias: [F].

    Returns:
        y + bias of y's dtype.
    """
    wide = jnp.promote_types(y.dtype, jnp.float32)
    return (y.astype(wide) + bias.astype(wide)).astype(y.dtype)
