"""Convolution and batch norm with PyTorch's conventions, and the blocks built of them.

Everything is channels-last. Padding is explicit and symmetric, since XLA's "SAME" pads a strided
convolution on the other side than PyTorch does.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.ops import add_bias

Dtype = Any
# PyTorch's default for convolutions: uniform in +-1 / sqrt(fan in).
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nn.Module):
    """2-D convolution [B, h, w, C] -> [B, h', w', features], padded and initialised as PyTorch's.

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
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=[(self.kernel // 2, self.kernel // 2)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=self.precision,
        )
        if not self.use_bias:
            return y
        fan_in = self.kernel**2 * x.shape[-1]
        init = self.bias_init or symmetric_uniform(fan_in**-0.5)
        return add_bias(y, self.param("bias", init, (self.features,)))


def predict_points(x: jax.Array, points: int, dtype: Dtype) -> tuple[jax.Array, jax.Array]:
    """Where a deformable convolution looks around every pixel and what each place counts.

    A convolution, `offset_conv` of the module that calls, with a sqrt(K) x sqrt(K) kernel. It
    starts at zero: no displacement, weights of one half.

    Args:
      x: [B, h, w, C].
      points: K, a square number.
      dtype: of the network's convolutions.

    Returns:
      Displacements [B, h, w, K, 2] (dy, dx) in cells and weights [B, h, w, K] in 0 to 1, in at
      least float32 whatever the dtype: bf16 could not hold a fraction of a cell on a map of 128.
    """
    # Sums are in float32. Operands are rounded no coarser than where the features came from: to
    # bf16 in a bf16 network on TPUs, to TF32 on GPUs, split into three bf16 products otherwise.
    coarse = jnp.dtype(dtype) == jnp.bfloat16
    predicted = Conv(
        3 * points,
        kernel=math.isqrt(points),
        dtype=jnp.promote_types(dtype, jnp.float32),
        precision=lax.Precision.DEFAULT if coarse else lax.Precision.HIGH,
        kernel_init=nn.initializers.zeros,
        bias_init=nn.initializers.zeros,
        name="offset_conv",
    )(x)
    displacement = predicted[..., : 2 * points].reshape(*predicted.shape[:3], points, 2)
    return displacement, nn.sigmoid(predicted[..., 2 * points :])


def symmetric_uniform(bound: float) -> Callable:
    """An initialiser uniform in [-bound, bound)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class BatchNorm(nn.Module):
    """Batch norm over batch, height and width, with PyTorch's running statistics.

    A new statistic weighs `momentum` = 0.1 and the running variance is the unbiased one,
    n / (n - 1) with n the number of values in the **global** batch: under `jit` the arrays are
    global anyway, under `pmap` the statistics are averaged over `axis_name`. (The released code
    normalises by the two or three pictures of each GPU.) Statistics are computed in at least
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
        return (values * factor + (bias - mean * factor)).astype(x.dtype)

    def _batch_moments(self, values: jax.Array) -> tuple[jax.Array, jax.Array, int]:
        """Mean and biased variance [C] of the global batch, and how many values they are over."""
        count = values.size // values.shape[-1]
        mean = values.mean((0, 1, 2))
        if self.axis_name is not None and not self.is_initializing():
            mean = lax.pmean(mean, self.axis_name)
            count *= lax.axis_size(self.axis_name)
        # Two passes: the mean of squares minus the squared mean loses digits in float32.
        var = jnp.square(values - mean).mean((0, 1, 2))
        if self.axis_name is not None and not self.is_initializing():
            var = lax.pmean(var, self.axis_name)
        return mean, var, count


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and a ReLU unless told otherwise."""

    features: int
    kernel: int = 3
    stride: int = 1
    relu: bool = True
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = Conv(
            self.features, self.kernel, self.stride, use_bias=False, dtype=self.dtype, name="conv"
        )(x)
        x = BatchNorm(self.axis_name, name="norm")(x, train)
        return nn.relu(x) if self.relu else x


class Residual(nn.Module):
    """Two 3x3 convolutions and a skip, which is a 1x1 convolution where the shape changes."""

    features: int
    stride: int = 1
    dtype: Dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        common = {"dtype": self.dtype, "axis_name": self.axis_name}
        y = ConvNorm(self.features, stride=self.stride, **common, name="conv1")(x, train)
        y = ConvNorm(self.features, relu=False, **common, name="conv2")(y, train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = ConvNorm(
                self.features, kernel=1, stride=self.stride, relu=False, **common, name="skip"
            )(x, train)
        return nn.relu(x + y)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Double height and width of [B, h, w, C] by repeating every cell."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
