"""Action-aware point matching: from an interaction point to its human and its object (section 3.2).

For every verb its own 2-D offset to the human point and to the object point, 4V channels in all,
predicted on F0, the feature that the glance looks at. The baseline has one pair of offsets for all
verbs, predicted on the backbone's feature F.
"""

import flax.linen as nn
import jax

from ggnet_jax.config import ModelConfig
from ggnet_jax.models.heads import Head


class APM(nn.Module):
    """F0 (or F, for the baseline) [B, h, w, C] -> matching offsets of human and object.

    Both are [B, h, w, V, 2] (x, y), or [B, h, w, 1, 2] where `config.per_verb_offsets` is False:
    the interaction point minus the human's (object's) center, in cells.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, feature: jax.Array) -> tuple[jax.Array, jax.Array]:
        regressors = self.config.num_verbs if self.config.per_verb_offsets else 1

        def offsets(name: str) -> jax.Array:
            y = Head(self.config, 2 * regressors, name=name)(feature)
            return y.reshape(*y.shape[:3], regressors, 2)

        with jax.named_scope("matching"):
            return offsets("human_offset"), offsets("object_offset")
