"""Which network a checkpoint holds, read off its names and shapes."""

import dataclasses
import re
from collections.abc import Iterable, Mapping

import numpy as np

from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError

# What a network without interaction heads is for, by a head that it has.
_TASKS = (
    ("hps", "CenterNet's human pose detector (multi_pose)"),
    ("hm_t", "CenterNet's detector of extreme points (exdet)"),
    ("dep", "CenterNet's 3D detector (ddd)"),
    ("tracking", "CenterTrack's tracker"),
    ("id", "FairMOT's tracker"),
    ("tl_cnvs", "CornerNet"),
    ("t_cnvs", "ExtremeNet"),
    ("hm", "CenterNet's object detector"),
)
# Networks that are mistaken for one of ours, by an entry that they have.
_OTHERS = (
    (r"dla_up\.ida_0\.proj_1\.0\.weight",
     "CenterNet on DLA-34 without deformable convolutions (dlav0)"),
    (r"deconv_layers\..*", "CenterNet on a ResNet (resdcn or msra)"),
    (r"(.*\.)?transformer\.(encoder|decoder)\..*", "a DETR or one of its kin (QPIC, HOTR, CDN)"),
    (r"(.*\.)?(image_encoder|visual)\.(transformer|conv1|trunk)\..*", "a CLIP model"),
    (r"(.*\.)?(rpn|roi_heads|proposal_generator)\..*", "a Faster R-CNN"),
    (r"(.*\.)?layer1\.0\.conv1\.weight", "a ResNet"),
    (r"(.*\.)?stage2\.0\.branches\..*", "an HRNet"),
    (r"(.*\.)?features\.0\.weight", "a VGG or AlexNet"),
    (r"(.*\.)?patch_embed\..*", "a vision transformer"),
    (r"(.*\.)?model\.0\.conv\.weight|0\.conv\.weight", "a YOLO"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the names in a file say about its network.

    Attributes:
        backbone: 'hourglass' or 'dla34'.
        stacks: hourglasses in a row; 1 for DLA-34.
        gaze_steps: 0 for PPDM's baselines.
        per_verb_offsets: a pair of matching offsets for every verb.
        num_objects, num_verbs: channels of the heatmaps. 0 verbs: a network without interaction
            heads, such as one of CenterNet's object detectors.
        task: what a network without interaction heads is.
    """

    backbone: str
    stacks: int
    gaze_steps: int
    per_verb_offsets: bool
    num_objects: int
    num_verbs: int
    task: str

    def __str__(self) -> str:
        name = {"hourglass": "Hourglass", "dla34": "DLA-34"}[self.backbone]
        if not self.num_verbs:
            count = self.num_objects
            objects = f", {count} object{'s' * (count > 1)}" if count else ""
            return f"{self.task} on {name}{objects}"
        steps = {0: "no gaze step", 1: "1 gaze step"}.get(self.gaze_steps)
        steps = steps or f"{self.gaze_steps} gaze steps"
        return f"{name}, {steps}, {self.num_verbs} verbs, {self.num_objects} objects"


def describe(arrays: Mapping[str, np.ndarray]) -> Architecture:
    """Recognize the network of a state dict under the names of `convert.clean`.

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
        raise UserError(_unknown(arrays))
    if "dla_up.ida_0.proj_1.0.weight" in arrays:
        raise UserError(f"the checkpoint is {_other(arrays)}, which this project does not have")
    steps = int("hm_dcn.0.conv.weight" in arrays)
    while f"hm_dcn{steps + 1}.0.conv.weight" in arrays:
        steps += 1

    def channels(head: str) -> int:
        array = arrays.get(last_layer.format(head))
        return int(array.shape[0]) if array is not None and array.ndim else 0

    return Architecture(
        backbone=backbone,
        stacks=stacks,
        gaze_steps=steps,
        per_verb_offsets=channels("sub_offset") > 2,
        num_objects=channels("hm"),
        num_verbs=channels("hm_rel"),
        task=_task(arrays),
    )


def _task(names: Iterable[str]) -> str:
    parts = {name.split(".")[0] for name in names}
    return next((task for part, task in _TASKS if part in parts), "a network without heads")


def _other(names: Iterable[str]) -> str | None:
    """The network that is none of ours, if it is known."""
    names = list(names)
    for pattern, network in _OTHERS:
        if any(re.fullmatch(pattern, name) for name in names):
            return network
    return None


def _unknown(arrays: Mapping[str, np.ndarray]) -> str:
    seen = next(iter(arrays), "nothing")
    other = _other(arrays)
    looks = f"; it looks like {other}" if other else ""
    return (
        f"not a checkpoint of GGNet, PPDM or CenterNet on Hourglass or DLA-34 (its first entry "
        f"is {seen[:80]!r}{looks}); give one of their .pth files"
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
