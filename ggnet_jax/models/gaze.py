"""Glance and gaze: verb heatmaps refined by action-aware points (paper section 3.2).

The glance looks at every pixel of F0. Gaze step t then moves the ActPoints of every pixel,

    eq. (1)    P = {(x_k, y_k)}, k = 1..K     (`act_point_positions`: regular grid + p)
    eq. (2)    p(t) = p(t-1) + dp(t)          p(0) = (0, 0)
    eq. (3)    dp(t) = T_offset(t)(G(t-1))    G(0) = F0

and G(t) is a deformable convolution of F(t) at these points. Verb heatmaps are predicted from F0
and from every G(t): inference uses the last; the others are supervised too.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.heads import verb_classifier
from ggnet_jax.models.layers import Conv, deform_conv, output_dtype
from ggnet_jax.models.outputs import ActPoints


class GlanceGaze(nn.Module):
    """Backbone feature F -> verb logits of the glance and of every gaze step."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, feature: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[ActPoints, ...]]:
        """Glance, then gaze.

        Args:
            feature: F [B, h, w, C].

        Returns:
            F0 [B, h, w, width], the logits [B, h, w, V] of glance and steps, the steps' ActPoints.
        """
        config = self.config
        with jax.named_scope("glance"):
            f0 = feature_conv(config, "glance_conv", feature)
            logits = [verb_classifier(config, "glance_classifier")(f0)]
        act_points = []
        gaze, offset, sampled = f0, None, None  # G(0) = F0, p(0) = (0, 0)
        for step in range(1, config.gaze_steps + 1):
            with jax.named_scope(f"gaze{step}"):
                if sampled is None or not config.share_gaze_features:
                    sampled = feature_conv(config, f"gaze{step}_feature", feature)  # F(t)
                gaze, offset, weight = GazeStep(config, name=f"gaze{step}")(gaze, sampled, offset)
                logits.append(self._classify(gaze, step))
                act_points.append(ActPoints(act_point_positions(offset), weight))
        return f0, tuple(logits), tuple(act_points)

    def _classify(self, gaze: jax.Array, step: int) -> jax.Array:
        """Verb logits of one gaze step; the last step has a hidden layer, as released."""
        config = self.config
        if step == config.gaze_steps:
            hidden = hidden_width(config)
            gaze = Conv(hidden, kernel=1, dtype=config.dtype, name=f"gaze{step}_hidden")(gaze)
            gaze = nn.relu(gaze)
        return verb_classifier(config, f"gaze{step}_classifier")(gaze)


def hidden_width(config: ModelConfig) -> int:
    """Channels of the last gaze step's hidden layer, as released: more for more verbs."""
    return math.floor(math.sqrt(config.head_width / config.num_verbs) * config.num_verbs)


def feature_conv(config: ModelConfig, name: str, feature: jax.Array) -> jax.Array:
    """3x3 convolution `name` of the module that calls, ReLU: F [B, h, w, C] -> F0 or F(t)."""
    return nn.relu(Conv(config.head_width, dtype=config.dtype, name=name)(feature))


class GazeStep(nn.Module):
    """One gaze step: eq. (2) and (3), and the features under the ActPoints."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, gaze: jax.Array, sampled: jax.Array, offset: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Displace the points of the step before and gather the features under them.

        Args:
            gaze: G(t-1) [B, h, w, C].
            sampled: F(t) [B, h, w, C].
            offset: p(t-1) [B, h, w, K, 2] (dy, dx) on top of the regular grid; None for zeros.

        Returns:
            G(t) [B, h, w, width], p(t) like `offset`, weights [B, h, w, K].
        """
        config = self.config
        displacement, weight = t_offset(config, gaze, config.act_points)  # eq. (3)
        offset = displacement if offset is None else offset + displacement  # eq. (2)
        gathered = deform_conv(self, config, sampled, offset, weight, config.head_width)
        return nn.relu(gathered), offset, weight


def t_offset(config: ModelConfig, x: jax.Array, points: int) -> tuple[jax.Array, jax.Array]:
    """T_offset of eq. (3): displacement and modulation weight of every point, anew at each step.

    A convolution with a sqrt(K) x sqrt(K) kernel, `offset_conv` of the module that calls. It starts
    at zero: no displacement, weights of one half. DLA-34's deformable convolutions use it too.

    Args:
        config: the network's.
        x: G(t-1) [B, h, w, C].
        points: K, a square number.

    Returns:
        dp(t) [B, h, w, K, 2] (dy, dx) in cells and weights [B, h, w, K] in (0, 1), in at least
        float32 whatever the dtype: bf16 could not hold a fraction of a cell on a map of 128.
    """
    # Input precision: bf16 on TPUs in bf16 networks, TF32 on GPUs, otherwise three bf16 passes (on
    # TPUs; CPUs compute in float32). Sums are in float32.
    coarse = config.dtype == "bfloat16"
    predicted = Conv(
        3 * points,
        kernel=math.isqrt(points),
        dtype=output_dtype(config),
        precision=lax.Precision.DEFAULT if coarse else lax.Precision.HIGH,
        kernel_init=nn.initializers.zeros,
        bias_init=nn.initializers.zeros,
        name="offset_conv",
    )(x)
    displacement = predicted[..., : 2 * points].reshape(*predicted.shape[:3], points, 2)
    return displacement, nn.sigmoid(predicted[..., 2 * points :])


def act_point_positions(offset: jax.Array) -> jax.Array:
    """Offsets (dy, dx) on top of the regular grid -> displacements (x, y) from the pixel, eq. (1).

    Args:
        offset: [..., K, 2].

    Returns:
        [..., K, 2] in map cells, grid included.
    """
    side = math.isqrt(offset.shape[-2])
    steps = jnp.arange(side, dtype=offset.dtype) - side // 2
    grid = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return (offset + grid)[..., ::-1]
