"""Prediction heads on the shared feature: object detection as points, and APM."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.models.layers import Conv, Dtype

# Initial bias of every heatmap: sigmoid(-2.19) = 0.1, CenterNet's prior for a peak.
HEATMAP_BIAS = -2.19


class Head(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution to `features` channels in float32.

    Initial biases are PyTorch's unless `bias` gives that of the last layer, or `zero_biases` makes
    both zero.
    """

    features: int
    width: int = 256
    dtype: Dtype = jnp.float32
    bias: float | None = None
    zero_biases: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros if self.zero_biases else None
        x = nn.relu(Conv(self.width, dtype=self.dtype, bias_init=zeros, name="conv")(x))
        init = zeros if self.bias is None else nn.initializers.constant(self.bias)
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        return Conv(self.features, kernel=1, dtype=dtype, bias_init=init, name="out")(x)


class ObjectBranch(nn.Module):
    """CenterNet's heads: class heatmap [.., O], box size [.., 2] and centre offset [.., 2]."""

    num_objects: int
    width: int = 256
    dtype: Dtype = jnp.float32
    zero_biases: bool = False  # of the heads that are no heatmap

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        head = (self.width, self.dtype)
        with jax.named_scope("object_branch"):
            return (
                Head(self.num_objects, *head, bias=HEATMAP_BIAS, name="object_heatmap")(feature),
                Head(2, *head, zero_biases=self.zero_biases, name="box_size")(feature),
                Head(2, *head, zero_biases=self.zero_biases, name="center_offset")(feature),
            )


class LocationRegressor(nn.Module):
    """APM: for every verb its own offset from the human's and the object's centre (section 3.2).

    `num_verbs` = 1 is the baseline's regressor, shared by all verbs.
    """

    num_verbs: int
    width: int = 256
    dtype: Dtype = jnp.float32
    zero_biases: bool = False

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Feature [B, h, w, C] -> human and object offset, each [B, h, w, V, 2] (x, y)."""

        def offsets(name: str) -> jax.Array:
            y = Head(
                2 * self.num_verbs,
                self.width,
                self.dtype,
                zero_biases=self.zero_biases,
                name=name,
            )(feature)
            return y.reshape(*y.shape[:3], self.num_verbs, 2)

        with jax.named_scope("matching"):
            return offsets("human_offset"), offsets("object_offset")
