"""GGNet: a shared backbone, object detection as points, glance and gaze, APM (paper Figure 2)."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from ggnet_jax.models.aggregation import STRUCTURES, AggregatedGlance
from ggnet_jax.models.dla import DLA34
from ggnet_jax.models.gaze import GlanceGaze
from ggnet_jax.models.heads import LocationRegressor, ObjectBranch
from ggnet_jax.models.hourglass import StackedHourglass
from ggnet_jax.models.layers import Dtype
from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops.deform_forms import FORMS

# What a configuration without the field means.
_OPTIONAL = {"aggregation": "none", "deform_conv": "auto"}


class InteractionHeads(nn.Module):
    """Every head on the feature of one stack: F [B, h, w, C] -> `Outputs`."""

    num_verbs: int
    num_objects: int
    width: int = 256
    gaze_steps: int = 2
    act_points: int = 25
    per_verb_offsets: bool = True
    share_gaze_features: bool = False
    aggregation: str = "none"
    zero_biases: bool = False  # initial biases of sizes and offsets
    dtype: Dtype = jnp.float32
    deform_form: str = "auto"  # see `deform_conv2d`

    @nn.compact
    def __call__(self, feature: jax.Array) -> Outputs:
        object_logits, box_size, center_offset = ObjectBranch(
            self.num_objects, self.width, self.dtype, self.zero_biases, name="objects"
        )(feature)
        matching = LocationRegressor(
            self.num_verbs if self.per_verb_offsets else 1,
            self.width,
            self.dtype,
            self.zero_biases,
            name="matching",
        )
        if self.aggregation == "none":
            f0, interaction_logits, act_points = GlanceGaze(
                self.num_verbs,
                self.width,
                self.gaze_steps,
                self.act_points,
                self.share_gaze_features,
                self.dtype,
                self.deform_form,
                name="interactions",
            )(feature)
            human_offset, object_offset = matching(f0 if self.per_verb_offsets else feature)
        else:
            human_offset, object_offset = matching(feature)
            logits, act_points = AggregatedGlance(
                self.num_verbs,
                self.aggregation,
                self.width,
                self.act_points,
                self.dtype,
                self.deform_form,
                name="interactions",
            )(feature, human_offset, object_offset)
            interaction_logits = (logits,)
        return Outputs(
            object_logits,
            box_size,
            center_offset,
            interaction_logits,
            human_offset,
            object_offset,
            act_points,
        )


class GGNet(nn.Module):
    """Normalised RGB images [B, H, W, 3] -> one `Outputs` a stack, the last is the best.

    Attributes:
      backbone: module (images, train) -> tuple of feature maps at stride 4.
      heads: keyword arguments of `InteractionHeads`.
    """

    backbone: nn.Module
    heads: FrozenDict[str, Any]

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[Outputs, ...]:
        with jax.named_scope("backbone"):
            features = self.backbone(images, train)
        return tuple(
            InteractionHeads(**self.heads, name=f"heads{stack}")(feature)
            for stack, feature in enumerate(features)
        )


def create_model(config: Any, axis_name: str | None = None) -> GGNet:
    """The network that `config.model` describes.

    Args:
      config: any object with the fields of `configs/base.py`'s `model`; those of `_OPTIONAL` may
        be missing. DLA-34 has one size and one stack: `stem_width`, `widths`, `blocks` and `stacks`
        are the hourglass's alone.
      axis_name: name of pmap's axis; batch norm averages its statistics over it.

    Returns:
      A Flax linen module: `apply(variables, images, train=False)`.

    Raises:
      ValueError: a field has a value that no network can be built from.
    """
    _check(config)
    dtype, deform_form = jnp.dtype(config.dtype), _optional(config, "deform_conv")
    common = {"dtype": dtype, "remat": config.remat, "axis_name": axis_name}
    if config.backbone == "dla34":
        backbone = DLA34(**common, deform_form=deform_form)
    else:
        backbone = StackedHourglass(
            stem_width=config.stem_width,
            widths=tuple(config.widths),
            blocks=tuple(config.blocks),
            stacks=config.stacks,
            **common,
        )
    heads = {
        "num_verbs": config.num_verbs,
        "num_objects": config.num_objects,
        "width": config.head_width,
        "gaze_steps": config.gaze_steps,
        "act_points": config.act_points,
        "per_verb_offsets": config.per_verb_offsets,
        "share_gaze_features": config.share_gaze_features,
        "aggregation": _optional(config, "aggregation"),
        "zero_biases": config.backbone == "dla34",  # as each was released
        "dtype": dtype,
        "deform_form": deform_form,
    }
    return GGNet(backbone, FrozenDict(heads))  # frozen: a module must be hashable


def _optional(config: Any, field: str) -> Any:
    """A field that the configuration of an older run does not have."""
    return getattr(config, field, _OPTIONAL[field])


def _check(config: Any) -> None:
    """Raise a ValueError that names the field, its value and what it may be."""
    allowed = {
        "backbone": ("hourglass", "dla34"),
        "dtype": ("float32", "bfloat16", "float64"),
        "gaze_steps": (0, 1, 2, 3),
        "aggregation": ("none", *STRUCTURES),
        "deform_conv": ("auto", *FORMS),
    }
    for field, values in allowed.items():
        value = _optional(config, field) if field in _OPTIONAL else getattr(config, field)
        if value not in values:
            raise ValueError(f"model.{field} is {value!r}; it can be {', '.join(map(str, values))}")
    aggregation = _optional(config, "aggregation")
    if aggregation != "none" and (config.gaze_steps or config.per_verb_offsets):
        raise ValueError(
            f"model.aggregation={aggregation!r} is for the baseline: it needs model.gaze_steps=0 "
            f"and model.per_verb_offsets=False, not {config.gaze_steps} and "
            f"{config.per_verb_offsets}"
        )
    side = math.isqrt(max(config.act_points, 0))
    if side * side != config.act_points or side % 2 == 0:
        raise ValueError(
            f"model.act_points is {config.act_points}; "
            "it must be the square of an odd number (9, 25, 49)"
        )
    if len(config.widths) != len(config.blocks) or len(config.widths) < 2:
        raise ValueError(
            f"model.widths {tuple(config.widths)} and model.blocks {tuple(config.blocks)} "
            "must be of equal length, at least 2"
        )
    for field in ("num_verbs", "num_objects", "head_width", "stem_width", "stacks"):
        if getattr(config, field) < 1:
            raise ValueError(f"model.{field} is {getattr(config, field)}; it must be at least 1")
