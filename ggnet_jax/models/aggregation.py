"""What a single interaction prediction may look at besides its own pixel (paper Table 3).

All of this stands on the baseline: no gaze step, one pair of matching offsets for all verbs. The
paper's exact layers are in a supplement that is not public. Each structure here is the least that
does what its row says: the classifier stays one 1x1 convolution, as the baseline's, and what it
reads is

    'human', 'object', 'both'   F0 of the pixel, concatenated with F0 under the centre(s) that the
                                pixel's matching offsets point at, bilinear, zero outside
    'act_points'                one deformable convolution + ReLU on F0, whose offsets and weights
                                come from F0 too; only its result is supervised

No gradient runs from a verb back into the matching offsets: they stay what the matching loss makes
of them, centres, and do not turn into points that are merely useful.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ggnet_jax.models.gaze import GazeStep, act_point_positions
from ggnet_jax.models.heads import HEATMAP_BIAS
from ggnet_jax.models.layers import Conv, Dtype
from ggnet_jax.models.outputs import ActPoints
from ggnet_jax.ops import deform_conv2d

CENTRES = {"human": ("human",), "object": ("object",), "both": ("human", "object")}
"""Structures of centre features -> whose centres are looked at."""
STRUCTURES = (*CENTRES, "act_points")


class AggregatedGlance(nn.Module):
    """Backbone feature F -> verb logits, from a pixel and other places at once.

    Attributes:
      num_verbs: V.
      structure: one of `STRUCTURES`.
      width: channels of F0.
      act_points: K of 'act_points', a square number.
      dtype: compute dtype of the convolutions.
      deform_form: how features elsewhere are gathered, see `deform_conv2d`.
    """

    num_verbs: int
    structure: str
    width: int = 256
    act_points: int = 25
    dtype: Dtype = jnp.float32
    deform_form: str = "auto"

    @nn.compact
    def __call__(
        self, feature: jax.Array, human_offset: jax.Array, object_offset: jax.Array
    ) -> tuple[jax.Array, tuple[ActPoints, ...]]:
        """Look at the pixel and where the structure says.

        Args:
          feature: F [B, h, w, C].
          human_offset, object_offset: [B, h, w, 1, 2] (x, y) interaction point minus centre.

        Returns:
          Logits [B, h, w, V], and the ActPoints if the structure has some.
        """
        with jax.named_scope("glance"):
            f0 = nn.relu(Conv(self.width, dtype=self.dtype, name="glance_conv")(feature))
        act_points: tuple[ActPoints, ...] = ()
        with jax.named_scope("aggregation"):
            if self.structure == "act_points":
                seen, offset, weight = GazeStep(
                    self.width, self.act_points, self.dtype, self.deform_form, name="gather"
                )(f0, f0, None)
                act_points = (ActPoints(act_point_positions(offset), weight),)
            else:
                offsets = {"human": human_offset, "object": object_offset}
                chosen = [offsets[side] for side in CENTRES[self.structure]]
                centres = [at_centre(f0, offset, self.deform_form) for offset in chosen]
                seen = jnp.concatenate([f0, *centres], axis=-1)
            dtype = jnp.promote_types(self.dtype, jnp.float32)
            init = nn.initializers.constant(HEATMAP_BIAS)
            logits = Conv(
                self.num_verbs, kernel=1, dtype=dtype, bias_init=init, name="glance_classifier"
            )(seen)
        return logits, act_points


def at_centre(feature: jax.Array, offset: jax.Array, form: str = "auto") -> jax.Array:
    """The feature under every pixel's centre: bilinear, zero outside, offsets held constant.

    Args:
      feature: [B, h, w, C].
      offset: [B, h, w, 1, 2] (x, y), pixel minus centre, in cells.
      form: see `deform_conv2d`.

    Returns:
      [B, h, w, C], at (x, y) the feature of (x, y) - offset(x, y).
    """
    displacement = -jax.lax.stop_gradient(offset)[..., ::-1]
    # A deformable convolution with one tap that changes nothing is a bilinear gather.
    same = jnp.eye(feature.shape[-1], dtype=feature.dtype)[None, None]
    return deform_conv2d(feature, displacement, None, same, form=form)
