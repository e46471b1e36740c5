"""Stacked hourglass backbone (paper section 4); its default size is Hourglass-104."""

import flax.linen as nn
import jax

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.layers import ConvNorm, Residual, upsample_nearest


class StackedHourglass(nn.Module):
    """Images [B, H, W, 3] -> one feature map [B, H/4, W/4, widths[0]] for every stack.

    H and W must be divisible by 4 * 2**order, order = len(widths) - 1 (128 for Hourglass-104).
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        config = self.config
        levels, width = len(config.widths), config.widths[0]
        divisor = config.input_divisor
        if images.shape[1] % divisor or images.shape[2] % divisor:
            raise ValueError(
                f"this hourglass halves its input {levels + 1} times: height and width "
                f"must be divisible by {divisor}, got {images.shape[1]} x {images.shape[2]}"
            )
        hourglass = nn.remat(Hourglass, static_argnums=(2,)) if config.remat else Hourglass
        x = ConvNorm(config, config.stem_width, kernel=7, stride=2, name="stem_conv")(images, train)
        x = Residual(config, width, stride=2, name="stem_residual")(x, train)
        features = []
        for stack in range(config.stacks):
            y = hourglass(config, name=f"hourglass{stack}")(x, train)
            feature = ConvNorm(config, width, name=f"feature{stack}")(y, train)
            features.append(feature)
            if stack + 1 < config.stacks:
                old = ConvNorm(config, width, kernel=1, relu=False, name=f"merge_input{stack}")
                new = ConvNorm(config, width, kernel=1, relu=False, name=f"merge_feature{stack}")
                merged = nn.relu(old(x, train) + new(feature, train))
                x = Residual(config, width, name=f"between{stack}")(merged, train)
        return tuple(features)


class Hourglass(nn.Module):
    """One hourglass: halve, recurse, double, add to the path that stayed at full resolution.

    Attributes:
        level: of `config.widths` and `config.blocks`, 0 for the output's resolution.
    """

    config: ModelConfig
    level: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        width, inner_width = self.config.widths[self.level : self.level + 2]
        blocks, inner_blocks = self.config.blocks[self.level : self.level + 2]

        def residuals(
            x: jax.Array, name: str, widths: tuple[int, ...], first_stride: int = 1
        ) -> jax.Array:
            for i, features in enumerate(widths):
                stride = 1 if i else first_stride
                x = Residual(self.config, features, stride, name=f"{name}{i}")(x, train)
            return x

        upper = residuals(x, "upper", (width,) * blocks)
        lower = residuals(x, "down", (inner_width,) * blocks, first_stride=2)
        if self.level + 2 < len(self.config.widths):
            lower = Hourglass(self.config, self.level + 1, name="inner")(lower, train)
        else:
            lower = residuals(lower, "inner", (inner_width,) * inner_blocks)
        lower = residuals(lower, "up", (inner_width,) * (blocks - 1) + (width,))
        return upper + upsample_nearest(lower)
