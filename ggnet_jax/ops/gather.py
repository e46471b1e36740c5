"""Reading output maps at single points."""

import jax
import jax.numpy as jnp


def gather_cells(maps: jax.Array, cell: jax.Array) -> jax.Array:
    """Read maps [B, h, w, ...] at flat cells [B, M] (y * w + x) -> [B, M, ...]."""
    flat = maps.reshape(maps.shape[0], -1, *maps.shape[3:])
    return jax.vmap(lambda values, index: values[index])(flat, cell)


def gather_offsets(offset: jax.Array, cell: jax.Array, verb: jax.Array) -> jax.Array:
    """Matching offsets [B, h, w, V or 1, 2] of cells and verbs [B, M] -> [B, M, 2]."""
    width, regressors = offset.shape[2:4]
    if regressors == 1:  # shared by all verbs
        verb = jnp.zeros_like(verb)
    # By vmap, not by indexing the batch: only so does XLA see that every image reads its own
    # maps. Otherwise their gradient, the largest of all, is summed over all devices.
    return jax.vmap(lambda maps, c, v: maps[c // width, c % width, v])(offset, cell, verb)
