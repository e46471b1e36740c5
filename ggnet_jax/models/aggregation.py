"""What a single interaction prediction may look at besides its own pixel (paper Table 3).

Variants of the baseline: no gaze step, one pair of matching offsets for all verbs. The paper's
exact layers are in a supplement that is not public; each here is the simplest that fits its row:
the classifier stays one 1x1 convolution, as the baseline's, and what it reads is

    'human', 'object', 'both'   F0 of the pixel, concatenated with F0 under the center(s) that the
                                pixel's matching offsets point at, bilinear, zero outside
    'act_points'                one deformable convolution + ReLU on F0, whose offsets and weights
                                come from F0 too; only its result is supervised

No gradient flows from a verb back into the matching offsets: they stay what the matching loss makes
of them, centers, and do not turn into points that are merely useful.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.gaze import GazeStep, act_point_positions, feature_conv
from ggnet_jax.models.heads import verb_classifier
from ggnet_jax.models.outputs import ActPoints
from ggnet_jax.ops import deform_conv2d

CENTERS = {"human": ("human",), "object": ("object",), "both": ("human", "object")}
"""`config.aggregation` -> whose centers are looked at."""


class AggregatedGlance(nn.Module):
    """Backbone feature F -> verb logits, from a pixel and other places at once."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, feature: jax.Array, human_offset: jax.Array, object_offset: jax.Array
    ) -> tuple[jax.Array, tuple[ActPoints, ...]]:
        """Look at the pixel and where `config.aggregation` says.

        Args:
            feature: F [B, h, w, C].
            human_offset, object_offset: [B, h, w, 1, 2] (x, y) interaction point minus center.

        Returns:
            Logits [B, h, w, V], and the ActPoints if the structure has some.
        """
        config = self.config
        with jax.named_scope("glance"):
            f0 = feature_conv(config, "glance_conv", feature)
        act_points: tuple[ActPoints, ...] = ()
        with jax.named_scope("aggregation"):
            if config.aggregation == "act_points":
                seen, offset, weight = GazeStep(config, name="gather")(f0, f0, None)
                act_points = (ActPoints(act_point_positions(offset), weight),)
            else:
                offsets = {"human": human_offset, "object": object_offset}
                centers = [at_center(f0, offsets[side]) for side in CENTERS[config.aggregation]]
                seen = jnp.concatenate([f0, *centers], axis=-1)
            logits = verb_classifier(config, "glance_classifier")(seen)
        return logits, act_points


def at_center(feature: jax.Array, offset: jax.Array) -> jax.Array:
    """The feature under every pixel's center: bilinear, zero outside, offsets held constant.

    Args:
        feature: [B, h, w, C].
        offset: [B, h, w, 1, 2] (x, y), pixel minus center, in cells.

    Returns:
        [B, h, w, C], at (x, y) the feature of (x, y) - offset(x, y).
    """
    displacement = -jax.lax.stop_gradient(offset)[..., ::-1]
    # A deformable convolution with one tap and the identity as kernel is a bilinear gather.
    identity = jnp.eye(feature.shape[-1], dtype=feature.dtype)[None, None]
    return deform_conv2d(feature, displacement, None, identity)
