"""Convolution and batch norm with PyTorch's conventions, and the blocks built of them.

Everything is channels-last. Padding is explicit and symmetric, since XLA's "SAME" pads a strided
convolution on the other side than PyTorch does.

The plain layers (`Conv`, `BatchNorm`) know no configuration; every module above them is handed the
whole `ModelConfig`, and takes from it what it needs.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.config import ModelConfig
from ggnet_jax.ops import add_bias, conv2d, deform_conv2d, mean_pixels, scale_and_shift

Dtype = Any
Initializer = Callable[..., jax.Array]


def symmetric_uniform(bound: float) -> Initializer:
    """An initializer uniform in [-bound, bound)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


# PyTorch's default for convolutions: uniform in +-1 / sqrt(fan in).
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nn.Module):
    """2-D convolution [B, h, w, C] -> [B, h', w', features], padded and initialized as PyTorch's.

    Attributes:
        features: output channels.
        kernel: side of the square kernel.
        stride: step in both directions.
        use_bias: whether a bias is added.
        dtype: the compute dtype, also that of the result; parameters stay in float32.
        precision: of the products; None lets GPUs round float32 to TF32 and TPUs to bf16.
        kernel_init, bias_init: initial values; bias None is uniform in +-1 / sqrt(fan in).
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    precision: lax.Precision | None = None
    kernel_init: Initializer = torch_kernel_init
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = conv2d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            precision=self.precision,
        )
        if not self.use_bias:
            return y
        fan_in = self.kernel**2 * x.shape[-1]
        init = self.bias_init or symmetric_uniform(fan_in**-0.5)
        return add_bias(y, self.param("bias", init, (self.features,)))


class BatchNorm(nn.Module):
    """Batch norm over batch, height and width, with PyTorch's running statistics.

    The newest statistic has weight `momentum` = 0.1, and the running variance is the unbiased one,
    n / (n - 1) with n the number of values in the **global** batch: under `jit` the arrays are
    global anyway, under `pmap` the statistics are averaged over `axis_name`. (The released code
    normalizes by the two or three images of each GPU.) Statistics are computed in at least
    float32.
    """

    axis_name: str | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        values = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            mean, var, count = self._batch_moments(values)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                keep = 1 - self.momentum
                running_mean.value = keep * running_mean.value + self.momentum * mean
                running_var.value = keep * running_var.value + self.momentum * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * lax.rsqrt(var + self.epsilon)
        return scale_and_shift(values, factor, bias - mean * factor).astype(x.dtype)

    def _batch_moments(self, values: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Mean and biased variance [C] of the global batch, and how many values they are over."""
        count = values.size // values.shape[-1]
        mean = mean_pixels(values)
        if self.axis_name is not None and not self.is_initializing():
            mean = lax.pmean(mean, self.axis_name)
            count *= lax.axis_size(self.axis_name)
        # Two passes: the mean of squares minus the squared mean loses digits in float32. The
        # variance is smallest around the mean, so that no gradient flows through the mean in it.
        var = mean_pixels(jnp.square(values - lax.stop_gradient(mean)))
        if self.axis_name is not None and not self.is_initializing():
            var = lax.pmean(var, self.axis_name)
        return mean, var, count


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and a ReLU unless told otherwise."""

    config: ModelConfig
    features: int
    kernel: int = 3
    stride: int = 1
    relu: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            use_bias=False,
            dtype=self.config.dtype,
            name="conv",
        )(x)
        x = BatchNorm(self.config.axis_name, name="norm")(x, train)
        return nn.relu(x) if self.relu else x


class Residual(nn.Module):
    """Two 3x3 convolutions and a skip, which is a 1x1 convolution where the shape changes."""

    config: ModelConfig
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = ConvNorm(self.config, self.features, stride=self.stride, name="conv1")(x, train)
        y = ConvNorm(self.config, self.features, relu=False, name="conv2")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = ConvNorm(
                self.config, self.features, kernel=1, stride=self.stride, relu=False, name="skip"
            )(x, train)
        return nn.relu(x + y)


def deform_conv(
    module: nn.Module,
    config: ModelConfig,
    x: jax.Array,
    offset: jax.Array,
    weight: jax.Array,
    features: int,
) -> jax.Array:
    """Deformable convolution with a square kernel, whose parameters are those of `module`.

    Args:
        module: gets `kernel` and `bias`, initialized as PyTorch's and with zeros.
        config: the network's; offsets and weights are in float32 whatever its dtype.
        x: [B, h, w, C].
        offset: [B, h, w, K, 2] (dy, dx) in cells on top of the regular grid, K a square number.
        weight: [B, h, w, K] of the sampling points.
        features: output channels F.

    Returns:
        [B, h, w, F] of the network's dtype.
    """
    points, channels = offset.shape[-2], x.shape[-1]
    side = math.isqrt(points)
    init = symmetric_uniform((points * channels) ** -0.5)
    kernel = module.param("kernel", init, (side, side, channels, features))
    bias = module.param("bias", nn.initializers.zeros, (features,))
    dtype = config.dtype
    return deform_conv2d(x.astype(dtype), offset, weight, kernel.astype(dtype), bias)


def output_dtype(config: ModelConfig) -> Dtype:
    """Of predictions, whatever the dtype of the convolutions: at least float32."""
    return jnp.promote_types(config.dtype, jnp.float32)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Double height and width of [B, h, w, C] by repeating every cell."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
