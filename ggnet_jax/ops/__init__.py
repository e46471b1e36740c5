"""Operators as pure functions of arrays."""

from ggnet_jax.ops.channels import add_bias, mean_pixels, scale_and_shift
from ggnet_jax.ops.conv import conv2d
from ggnet_jax.ops.deform_conv import deform_conv2d
from ggnet_jax.ops.gather import gather_cells, gather_offsets
from ggnet_jax.ops.normalize import normalize_images
from ggnet_jax.ops.peaks import find_peaks

__all__ = [
    "add_bias",
    "conv2d",
    "deform_conv2d",
    "find_peaks",
    "gather_cells",
    "gather_offsets",
    "mean_pixels",
    "normalize_images",
    "scale_and_shift",
]
