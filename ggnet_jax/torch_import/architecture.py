"""Which network a checkpoint holds, read off its names and shapes."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the names in a file say about its network.

    Attributes:
        backbone: 'hourglass' or 'dla34'.
        stacks: hourglasses in a row; 1 for DLA-34.
        gaze_steps: 0 for PPDM's baselines.
        per_verb_offsets: a pair of matching offsets for every verb.
        num_objects, num_verbs: channels of the heatmaps. 0 verbs: one of CenterNet's object
            detectors, which have no interaction heads at all.
    """

    backbone: str
    stacks: int
    gaze_steps: int
    per_verb_offsets: bool
    num_objects: int
    num_verbs: int

    def __str__(self) -> str:
        name = {"hourglass": "Hourglass", "dla34": "DLA-34"}[self.backbone]
        if not self.num_verbs:
            return f"CenterNet's object detector on {name}, {self.num_objects} objects"
        steps = {0: "no gaze step", 1: "1 gaze step"}.get(self.gaze_steps)
        steps = steps or f"{self.gaze_steps} gaze steps"
        return f"{name}, {steps}, {self.num_verbs} verbs, {self.num_objects} objects"


def describe(arrays: Mapping[str, np.ndarray]) -> Architecture:
    """Recognize the network of a state dict (without `module.`).

    Raises:
        UserError: it is none of the networks that can be imported.
    """
    stacks = 1
    if "pre.0.conv.weight" in arrays:
        backbone, last_layer = "hourglass", "{}.0.1.weight"
        stacks = len({name.split(".")[1] for name in arrays if name.startswith("kps.")})
    elif "base.base_layer.0.weight" in arrays:
        backbone, last_layer = "dla34", "{}.2.weight"
    else:
        seen = next(iter(arrays), "nothing")
        raise UserError(
            f"not a checkpoint of GGNet, PPDM or CenterNet on Hourglass or DLA-34 (its first entry "
            f"is {seen!r}); give one of their .pth files"
        )
    steps = int("hm_dcn.0.conv.weight" in arrays)
    while f"hm_dcn{steps + 1}.0.conv.weight" in arrays:
        steps += 1

    def channels(head: str) -> int:
        array = arrays.get(last_layer.format(head))
        return 0 if array is None else int(array.shape[0])

    return Architecture(
        backbone=backbone,
        stacks=stacks,
        gaze_steps=steps,
        per_verb_offsets=channels("sub_offset") > 2,
        num_objects=channels("hm"),
        num_verbs=channels("hm_rel"),
    )


def check_backbone(found: Architecture, config: ModelConfig) -> None:
    """Raise a UserError unless the file's backbone is that of `config`."""
    _compare(found, config, ["backbone"])
    if found.backbone == "hourglass":
        _compare(found, config, ["stacks"])


def check_architecture(found: Architecture, config: ModelConfig) -> None:
    """Raise a UserError unless the file's network is that of `config`."""
    check_backbone(found, config)
    if not found.num_verbs:
        raise UserError(
            f"the checkpoint is {found}: it knows no interactions; "
            "start training from it with --config.init_from=FILE"
        )
    _compare(found, config, ["gaze_steps", "per_verb_offsets"])
    for field, what in (("num_verbs", "verbs"), ("num_objects", "objects")):
        in_file, wanted = getattr(found, field), getattr(config, field)
        if in_file != wanted:
            raise UserError(
                f"the checkpoint's network knows {in_file} {what}, the config's vocabulary has "
                f"{wanted}; give the config of the data set it was trained on"
            )


def _compare(found: Architecture, config: ModelConfig, fields: list[str]) -> None:
    """Raise a UserError that names those of `fields` in which the two differ."""
    different = [f for f in fields if getattr(found, f) != getattr(config, f)]
    if different:
        in_file = ", ".join(f"{f}={getattr(found, f)}" for f in different)
        wanted = ", ".join(f"{f}={getattr(config, f)}" for f in different)
        flags = " ".join(f"--config.model.{f}={getattr(found, f)}" for f in different)
        raise UserError(
            f"the checkpoint's network has {in_file} ({found}), config.model has {wanted}; "
            f"give the config of that network, or {flags}"
        )
