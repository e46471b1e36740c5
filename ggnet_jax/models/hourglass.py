"""Stacked hourglass backbone (paper section 4); its default size is Hourglass-104."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.models.layers import ConvNorm, Dtype, Residual, upsample_nearest


class StackedHourglass(nn.Module):
    """Images [B, H, W, 3] -> one feature map [B, H/4, W/4, widths[0]] for every stack.

    H and W must be divisible by 4 * 2**order, order = len(widths) - 1 (128 for Hourglass-104).

    Attributes:
      stem_width: channels after the 7x7 stem convolution; the stem's residual block has widths[0].
      widths: channels of every level, the full resolution first.
      blocks: residual blocks of every level.
      stacks: how many hourglasses follow each other.
      dtype: compute dtype of the convolutions.
      remat: recompute the activations of the hourglasses in the backward pass to save memory.
      axis_name: name of pmap's axis, for batch norm.
    """

    stem_width: int = 128
    widths: Sequence[int] = (256, 256, 384, 384, 384, 512)
    blocks: Sequence[int] = (2, 2, 2, 2, 2, 4)
    stacks: int = 2
    dtype: Dtype = jnp.float32
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        divisor = 4 * 2 ** (len(self.widths) - 1)
        if images.shape[1] % divisor or images.shape[2] % divisor:
            raise ValueError(
                f"this hourglass halves its input {len(self.widths) + 1} times: height and width "
                f"must be divisible by {divisor}, got {images.shape[1]} x {images.shape[2]}"
            )
        width = self.widths[0]
        hourglass = nn.remat(Hourglass, static_argnums=(2,)) if self.remat else Hourglass
        x = ConvNorm(self.stem_width, kernel=7, stride=2, **common, name="stem_conv")(images, train)
        x = Residual(width, stride=2, **common, name="stem_residual")(x, train)
        features = []
        for stack in range(self.stacks):
            y = hourglass(self.widths, self.blocks, **common, name=f"hourglass{stack}")(x, train)
            feature = ConvNorm(width, **common, name=f"feature{stack}")(y, train)
            features.append(feature)
            if stack + 1 < self.stacks:
                old = ConvNorm(width, 1, relu=False, **common, name=f"merge_input{stack}")(x, train)
                new = ConvNorm(width, 1, relu=False, **common, name=f"merge_feature{stack}")(
                    feature, train
                )
                x = Residual(width, **common, name=f"between{stack}")(nn.relu(old + new), train)
        return tuple(features)


class Hourglass(nn.Module):
    """One hourglass: halve, recurse, double, add to the path that stayed at full resolution."""

    widths: Sequence[int]
    blocks: Sequence[int]
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        width, inner_width = self.widths[:2]
        blocks, inner_blocks = self.blocks[:2]

        def residuals(x, name, widths, strides=None):
            strides = strides or (1,) * len(widths)
            for i, (features, stride) in enumerate(zip(widths, strides, strict=True)):
                x = Residual(features, stride, self.dtype, self.axis_name, name=f"{name}{i}")(
                    x, train
                )
            return x

        upper = residuals(x, "upper", (width,) * blocks)
        lower = residuals(x, "down", (inner_width,) * blocks, (2,) + (1,) * (blocks - 1))
        if len(self.widths) > 2:
            lower = Hourglass(
                self.widths[1:], self.blocks[1:], self.dtype, self.axis_name, name="inner"
            )(lower, train)
        else:
            lower = residuals(lower, "inner", (inner_width,) * inner_blocks)
        lower = residuals(lower, "up", (inner_width,) * (blocks - 1) + (width,))
        return upper + upsample_nearest(lower)
