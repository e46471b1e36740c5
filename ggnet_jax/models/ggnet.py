"""GGNet: a shared backbone, object detection as points, glance and gaze, APM (paper Figure 2)."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.models.aggregation import AggregatedGlance
from ggnet_jax.models.apm import APM
from ggnet_jax.models.dla import DLA34
from ggnet_jax.models.gaze import GlanceGaze
from ggnet_jax.models.heads import ObjectBranch
from ggnet_jax.models.hourglass import StackedHourglass
from ggnet_jax.models.outputs import Outputs

BACKBONES = {"hourglass": StackedHourglass, "dla34": DLA34}


class GGNet(nn.Module):
    """Normalized RGB images [B, H, W, 3] -> one `Outputs` a stack, the last is the best."""

    config: ModelConfig

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[Outputs, ...]:
        with jax.named_scope("backbone"):
            backbone = BACKBONES[self.config.backbone](self.config, name="backbone")
            features = backbone(images, train)
        return tuple(
            InteractionHeads(self.config, name=f"heads{stack}")(feature)
            for stack, feature in enumerate(features)
        )


class InteractionHeads(nn.Module):
    """Every head on the feature of one stack: F [B, h, w, C] -> `Outputs`."""

    config: ModelConfig

    @nn.compact
    def __call__(self, feature: jax.Array) -> Outputs:
        object_logits, box_size, center_offset = ObjectBranch(self.config, name="objects")(feature)
        matching = APM(self.config, name="matching")
        if self.config.aggregation == "none":
            f0, interaction_logits, act_points = GlanceGaze(self.config, name="interactions")(
                feature
            )
            offsets = matching(f0 if self.config.per_verb_offsets else feature)
        else:
            offsets = matching(feature)
            logits, act_points = AggregatedGlance(self.config, name="interactions")(
                feature, *offsets
            )
            interaction_logits = (logits,)
        return Outputs(
            object_logits, box_size, center_offset, interaction_logits, *offsets, act_points
        )


def create_model(config: Any, axis_name: str | None = None) -> GGNet:
    """The network that `config.model` describes.

    Args:
        config: what `ModelConfig.from_fields` takes: a ConfigDict, a mapping, a `ModelConfig` or an
            object with the fields as attributes.
        axis_name: name of pmap's axis; batch norm averages its statistics over it.

    Returns:
        A Flax linen module: `apply(variables, images, train=False)`.

    Raises:
        UserError: a field has a value that no network can be built from.
    """
    config = dataclasses.replace(ModelConfig.from_fields(config), axis_name=axis_name)
    for field in ("num_verbs", "num_objects"):
        if getattr(config, field) == 0:
            raise UserError(
                f"config.model.{field} is 0; a network needs the number of its vocabulary"
            )
    return GGNet(config)
