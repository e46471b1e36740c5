"""Glance and gaze: verb heatmaps refined by action-aware points (paper section 3.2)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.models.heads import HEATMAP_BIAS
from ggnet_jax.models.layers import Conv, Dtype, predict_points, symmetric_uniform
from ggnet_jax.models.outputs import ActPoints
from ggnet_jax.ops import deform_conv2d


class GlanceGaze(nn.Module):
    """Backbone feature F -> verb logits of the glance and of every gaze step.

    Attributes:
      num_verbs: V.
      width: channels of F0, F1, ... and G1, G2, ... .
      steps: number of gaze steps, 0 for the glance alone.
      act_points: K, a square number.
      share_features: one F(t) for all steps instead of one for each (Table 2, "sharing").
      dtype: compute dtype of the convolutions.
      deform_form: how the ActPoints are gathered, see `deform_conv2d`.
    """

    num_verbs: int
    width: int = 256
    steps: int = 2
    act_points: int = 25
    share_features: bool = False
    dtype: Dtype = jnp.float32
    deform_form: str = "auto"

    @nn.compact
    def __call__(
        self, feature: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...], tuple[ActPoints, ...]]:
        """Look once, then gaze.

        Args:
          feature: F [B, h, w, C].

        Returns:
          F0 [B, h, w, width], the logits [B, h, w, V] of glance and steps, the steps' ActPoints.
        """
        with jax.named_scope("glance"):
            f0 = nn.relu(Conv(self.width, dtype=self.dtype, name="glance_conv")(feature))
            logits = [self._classifier("glance_classifier")(f0)]
        act_points = []
        gaze, offset = f0, None  # G(0) = F0, p(0) = (0, 0)
        for step in range(1, self.steps + 1):
            with jax.named_scope(f"gaze{step}"):
                if step == 1 or not self.share_features:
                    sampled = nn.relu(
                        Conv(self.width, dtype=self.dtype, name=f"gaze{step}_feature")(feature)
                    )
                gaze, offset, weight = GazeStep(
                    self.width, self.act_points, self.dtype, self.deform_form, name=f"gaze{step}"
                )(gaze, sampled, offset)
                logits.append(self._classify(gaze, step))
                act_points.append(ActPoints(act_point_positions(offset), weight))
        return f0, tuple(logits), tuple(act_points)

    def _classify(self, gaze: jax.Array, step: int) -> jax.Array:
        """Verb logits of one gaze step; the last step has a hidden layer, as released."""
        if step == self.steps:
            hidden = math.floor(math.sqrt(self.width / self.num_verbs) * self.num_verbs)
            gaze = Conv(hidden, kernel=1, dtype=self.dtype, name=f"gaze{step}_hidden")(gaze)
            gaze = nn.relu(gaze)
        return self._classifier(f"gaze{step}_classifier")(gaze)

    def _classifier(self, name: str) -> Conv:
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        init = nn.initializers.constant(HEATMAP_BIAS)
        return Conv(self.num_verbs, kernel=1, dtype=dtype, bias_init=init, name=name)


class GazeStep(nn.Module):
    """One gaze step: eq. (2) p(t) = p(t-1) + dp(t), eq. (3) dp(t) = T_offset(t)(G(t-1)).

    T_offset is `predict_points`, which also gives every ActPoint its weight, anew at each step.
    """

    width: int
    act_points: int
    dtype: Dtype = jnp.float32
    deform_form: str = "auto"

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
        side = math.isqrt(self.act_points)
        displacement, weight = predict_points(gaze, self.act_points, self.dtype)
        offset = displacement if offset is None else offset + displacement
        kernel_shape = (side, side, sampled.shape[-1], self.width)
        fan_in = side * side * sampled.shape[-1]
        kernel = self.param("kernel", symmetric_uniform(fan_in**-0.5), kernel_shape)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        gathered = deform_conv2d(
            sampled.astype(self.dtype),
            offset,
            weight,
            kernel.astype(self.dtype),
            bias,
            form=self.deform_form,
        )
        return nn.relu(gathered), offset, weight


def act_point_positions(offset: jax.Array) -> jax.Array:
    """Offsets (dy, dx) on top of the regular grid -> displacements (x, y) from the pixel.

    Args:
      offset: [..., K, 2].

    Returns:
      [..., K, 2] in map cells, grid included.
    """
    side = math.isqrt(offset.shape[-2])
    steps = jnp.arange(side, dtype=offset.dtype) - side // 2
    grid = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return (offset + grid)[..., ::-1]
