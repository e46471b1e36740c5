"""Prediction heads on the shared feature, and object detection as points (CenterNet's heads)."""

import flax.linen as nn
import jax

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.layers import Conv, output_dtype

# Initial bias of every heatmap: sigmoid(-2.19) = 0.1, CenterNet's prior for a peak.
HEATMAP_BIAS = -2.19


class Head(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution to `features` channels in float32.

    Initial biases are as each network was released: of a heatmap the prior for the last layer and
    PyTorch's for the first; of sizes and offsets PyTorch's on the hourglass, zero on DLA-34.
    """

    config: ModelConfig
    features: int
    heatmap: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        zeros = nn.initializers.zeros if self.config.backbone == "dla34" else None
        first = None if self.heatmap else zeros
        last = nn.initializers.constant(HEATMAP_BIAS) if self.heatmap else zeros
        width, dtype = self.config.head_width, self.config.dtype
        x = nn.relu(Conv(width, dtype=dtype, bias_init=first, name="conv")(x))
        dtype = output_dtype(self.config)
        return Conv(self.features, kernel=1, dtype=dtype, bias_init=last, name="out")(x)


class ObjectBranch(nn.Module):
    """CenterNet's heads: class heatmap [.., O], box size [.., 2] and center offset [.., 2]."""

    config: ModelConfig

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Feature [B, h, w, C] -> logits of the heatmap, (width, height) and (x, y), in cells."""
        with jax.named_scope("object_branch"):
            heatmap = Head(
                self.config, self.config.num_objects, heatmap=True, name="object_heatmap"
            )(feature)
            box_size = Head(self.config, 2, name="box_size")(feature)
            center_offset = Head(self.config, 2, name="center_offset")(feature)
        return heatmap, box_size, center_offset


def verb_classifier(config: ModelConfig, name: str) -> Conv:
    """1x1 convolution to the logits of the verb heatmaps, [B, h, w, C] -> [B, h, w, V]."""
    return Conv(
        config.num_verbs,
        kernel=1,
        dtype=output_dtype(config),
        bias_init=nn.initializers.constant(HEATMAP_BIAS),
        name=name,
    )
