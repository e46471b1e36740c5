"""Normalize RGB with CenterNet's mean and standard deviation, on the device."""

import jax
import jax.numpy as jnp

# CenterNet's statistics of COCO in RGB order (the released code keeps them as B, G, R).
MEAN_RGB = (0.47026115, 0.44719302, 0.40789654)
STD_RGB = (0.27809835, 0.27408164, 0.28863828)


def normalize_images(images: jax.Array) -> jax.Array:
    """Normalize RGB images by CenterNet's mean and standard deviation.

    Args:
        images: [..., 3], uint8 in [0, 255] or floating point in about [0, 1].

    Returns:
        float32 of the same shape (float64 for a float64 input).
    """
    if images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 255.0
    elif images.dtype != jnp.float64:
        images = images.astype(jnp.float32)
    mean = jnp.asarray(MEAN_RGB, images.dtype)
    std = jnp.asarray(STD_RGB, images.dtype)
    return (images - mean) / std
