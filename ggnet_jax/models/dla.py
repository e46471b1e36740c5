"""DLA-34 backbone with deformable aggregation, as CenterNet and PPDM use it (paper section 4).

Deep layer aggregation: trees of residual blocks make maps at strides 4, 8, 16 and 32, then pairs
of levels are merged again and again until one map at stride 4 combines all levels. Every
convolution of the merging is deformable, every upsampling is learned.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.gaze import t_offset
from ggnet_jax.models.layers import BatchNorm, ConvNorm, Dtype, deform_conv

WIDTHS = (16, 32, 64, 128, 256, 512)  # of the levels at strides 1, 2, 4, 8, 16, 32
DEPTHS = (0, 0, 1, 2, 2, 1)  # of their trees; the first two are plain convolutions
FIRST = 2  # the level of the output map, stride 4


class DLA34(nn.Module):
    """Images [B, H, W, 3] -> one feature map [B, H/4, W/4, 64], H and W divisible by 32."""

    config: ModelConfig

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> tuple[jax.Array]:
        if images.shape[1] % 32 or images.shape[2] % 32:
            raise ValueError(
                "DLA-34 halves its input 5 times: height and width must be divisible by 32, got "
                f"{images.shape[1]} x {images.shape[2]}"
            )
        config = self.config
        x = ConvNorm(config, WIDTHS[0], kernel=7, name="stem")(images, train)
        x = ConvNorm(config, WIDTHS[0], name="level0")(x, train)
        x = ConvNorm(config, WIDTHS[1], stride=2, name="level1")(x, train)
        tree = nn.remat(Tree, static_argnums=(2,)) if config.remat else Tree
        levels = []
        for level in range(FIRST, len(WIDTHS)):
            x = tree(
                config,
                WIDTHS[level],
                DEPTHS[level],
                stride=2,
                keep_input=level > FIRST,
                name=f"level{level}",
            )(x, train)
            levels.append(x)

        # Merge the coarsest two levels, then the coarsest three, then all four; the last map of
        # each round is its finest.
        finest = []
        for i in range(len(levels) - 1):
            first = len(levels) - 2 - i
            width = WIDTHS[FIRST + first]
            merged = Aggregation(config, width, name=f"up{i}")(levels[first:], train)
            levels[first:] = merged
            finest.append(merged[-1])
        return (Aggregation(config, WIDTHS[FIRST], name="merge")(finest[::-1], train)[-1],)


class Tree(nn.Module):
    """An aggregation tree: two blocks (or smaller trees) and a 1x1 convolution over all of them.

    Attributes:
        features: output channels.
        depth: 1 for two residual blocks, more for two trees of one less.
        stride: of the first block.
        keep_input: also hand the (shrunk) input to the final 1x1 convolution.
    """

    config: ModelConfig
    features: int
    depth: int = 1
    stride: int = 1
    keep_input: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, children: tuple[jax.Array, ...] = ()
    ) -> jax.Array:
        """`children`: outputs of the enclosing trees that the final convolution also sees."""
        config, features = self.config, self.features
        bottom = nn.max_pool(x, (self.stride,) * 2, (self.stride,) * 2) if self.stride > 1 else x
        if self.keep_input:
            children = (*children, bottom)
        if self.depth > 1:
            depth = self.depth - 1
            first = Tree(config, features, depth, self.stride, name="tree1")(x, train)
            return Tree(config, features, depth, name="tree2")(first, train, (*children, first))
        skip = bottom
        if x.shape[-1] != features:
            project = ConvNorm(config, features, kernel=1, relu=False, name="project")
            skip = project(bottom, train)
        first = Block(config, features, self.stride, name="tree1")(x, skip, train)
        second = Block(config, features, name="tree2")(first, first, train)
        together = jnp.concatenate([second, first, *children], axis=-1)
        return ConvNorm(config, features, kernel=1, name="root")(together, train)


class Block(nn.Module):
    """Two 3x3 convolutions added to a skip that comes from outside."""

    config: ModelConfig
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array, train: bool) -> jax.Array:
        y = ConvNorm(self.config, self.features, stride=self.stride, name="conv1")(x, train)
        y = ConvNorm(self.config, self.features, relu=False, name="conv2")(y, train)
        return nn.relu(y + skip)


class Aggregation(nn.Module):
    """Merge coarser and coarser maps into the finest one, which comes first."""

    config: ModelConfig
    features: int

    @nn.compact
    def __call__(self, maps: list[jax.Array], train: bool) -> list[jax.Array]:
        """Maps [B, h_i, w_i, C_i] of descending size -> as many of the first one's size."""
        config, features = self.config, self.features
        merged = [maps[0]]
        for i, coarse in enumerate(maps[1:], start=1):
            x = DeformConvNorm(config, features, name=f"proj{i}")(coarse, train)
            x = Upsample(maps[0].shape[1] // coarse.shape[1], config.dtype, name=f"up{i}")(x)
            x = DeformConvNorm(config, features, name=f"node{i}")(x + merged[-1], train)
            merged.append(x)
        return merged


class DeformConvNorm(nn.Module):
    """3x3 deformable convolution whose offsets come from its own input, batch norm, ReLU.

    The convolution that predicts offsets and weights starts at zero.
    """

    config: ModelConfig
    features: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = DeformConv(self.config, self.features, name="conv")(x)
        return nn.relu(BatchNorm(self.config.axis_name, name="norm")(x, train))


class DeformConv(nn.Module):
    """3x3 deformable convolution with a bias, offsets and weights from its own input."""

    config: ModelConfig
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        offset, weight = t_offset(self.config, x, points=9)
        return deform_conv(self, self.config, x, offset, weight, self.features)


class Upsample(nn.Module):
    """Upsample [B, h, w, C] by a depthwise transposed convolution, at first bilinear.

    Kernel 2 * factor, stride factor, padding factor / 2, factor even. Every output then lies
    between 2 x 2 inputs, and the factor * factor outputs between the same four take each of them
    by another tap: a handful of products, where a transposed convolution with as many groups as
    channels is many times slower on a CPU.
    """

    factor: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        f = self.factor
        batch, height, width, channels = x.shape
        kernel = self.param("kernel", bilinear_kernel, (2 * f, 2 * f, 1, channels))
        taps = kernel.astype(self.dtype).reshape(2, f, 2, f, channels)
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        # The first f taps fall on the later of two neighbors, the last f on the earlier.
        between = sum(
            (
                padded[:, 1 - i : height + 2 - i, None, 1 - j : width + 2 - j, None]
                * taps[i, :, None, j]
                for i in (0, 1)
                for j in (0, 1)
            ),
            start=jnp.zeros((), self.dtype),
        )
        y = between.reshape(batch, (height + 1) * f, (width + 1) * f, channels)
        return y[:, f // 2 : f // 2 + height * f, f // 2 : f // 2 + width * f]


def bilinear_kernel(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """An initializer: the tent that makes a transposed convolution interpolate bilinearly."""
    del key
    side = shape[0]
    tent = 1 - jnp.abs(jnp.arange(side, dtype=dtype) - (side - 1) / 2) / (side / 2)
    return jnp.broadcast_to((tent[:, None] * tent[None])[..., None, None], shape)
