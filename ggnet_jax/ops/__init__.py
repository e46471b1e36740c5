"""Operators as pure functions of arrays."""

from ggnet_jax.ops.deform_conv import deform_conv2d
from ggnet_jax.ops.peaks import find_peaks

__all__ = ["deform_conv2d", "find_peaks"]
