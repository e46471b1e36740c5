"""Operators as pure functions of arrays."""

from ggnet_jax.ops.bias import add_bias
from ggnet_jax.ops.deform_conv import deform_conv2d
from ggnet_jax.ops.peaks import find_peaks

__all__ = ["add_bias", "deform_conv2d", "find_peaks"]
