"""Which network a checkpoint holds, read off its names and shapes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the names in a file say about its network.

    Attributes:
      backbone: 'hourglass' or 'dla34'.
      interactions: False for CenterNet's object detectors, which have no verb heads.
      gaze_steps: 0 for PPDM's baseline.
      per_verb_offsets: a matching offset for every verb.
      num_objects, num_verbs: channels of the heatmaps; None where the file has none.
    """

    backbone: str
    interactions: bool
    gaze_steps: int
    per_verb_offsets: bool
    num_objects: int | None
    num_verbs: int | None


def describe(arrays: Mapping[str, np.ndarray]) -> Architecture:
    """Recognise the network of a state dict (without `module.`).

    Raises:
      UserError: it is none of the networks that can be imported.
    """
    if "pre.0.conv.weight" in arrays:
        backbone, first = "hourglass", "{}.0.1.weight"
    elif "base.base_layer.0.weight" in arrays:
        backbone, first = "dla34", "{}.2.weight"
    else:
        seen = next(iter(arrays), "nothing")
        raise UserError(
            f"this is no checkpoint of GGNet, PPDM or CenterNet with Hourglass-104 or DLA-34: its "
            f"first entry is {seen!r}; give one of their .pth files"
        )
    steps = 0
    if "hm_dcn.0.conv.weight" in arrays:
        steps = 1
    while f"hm_dcn{steps + 1}.0.conv.weight" in arrays:
        steps += 1

    def channels(head: str) -> int | None:
        array = arrays.get(first.format(head))
        return None if array is None else int(array.shape[0])

    offsets = channels("sub_offset")
    return Architecture(
        backbone=backbone,
        interactions=channels("hm_rel") is not None,
        gaze_steps=steps,
        per_verb_offsets=offsets is not None and offsets > 2,
        num_objects=channels("hm"),
        num_verbs=channels("hm_rel"),
    )


def check_architecture(found: Architecture, config: Any, *, interactions: bool = True) -> None:
    """Raise a UserError unless a file's network is the one that `config.model` describes.

    Args:
      found: see `describe`.
      config: `config.model`.
      interactions: also compare the interaction heads; otherwise the backbone alone.
    """
    fields = ["backbone"]
    if interactions:
        if not found.interactions:
            raise UserError(
                "the checkpoint is an object detector without interaction heads; start training "
                "from it with --config.init_from=FILE"
            )
        fields += ["gaze_steps", "per_verb_offsets", "num_verbs", "num_objects"]
    different = [f for f in fields if getattr(found, f) != getattr(config, f)]
    if different:
        theirs = ", ".join(f"{f}={getattr(found, f)}" for f in different)
        ours = ", ".join(f"{f}={getattr(config, f)}" for f in different)
        mend = " ".join(f"--config.model.{f}={getattr(found, f)}" for f in different)
        raise UserError(
            f"the checkpoint's network has {theirs}, the config's has {ours}; "
            f"give the config of that network, or {mend}"
        )
