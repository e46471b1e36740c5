"""How the released PyTorch networks name the parameters of ours.

A Flax path such as `backbone/hourglass0/inner/down0/conv1/norm/scale` is translated piece by piece
to `kps.0.low2.low1.0.bn1.weight`. Starting from our names ensures that every parameter of the
network is looked up; what else a file holds is reported as skipped.
"""

import re

from ggnet_jax.config import ModelConfig

# Collection and leaf -> the last piece of a state dict's name.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_HEADS = {
    "object_heatmap": "hm",
    "box_size": "wh",
    "center_offset": "reg",
    "human_offset": "sub_offset",
    "object_offset": "obj_offset",
}
# Top-level modules that predict, and those of the backbones: Hourglass-104's, DLA-34's, and of the
# latter those that sample features up again, which ImageNet's files do not have.
HEADS = (*_HEADS.values(), "hm_rel", "hm_dcn", "refine_dcn", "refine_head", "unreleased")
UPSAMPLING = ("dla_up", "ida_up")
BACKBONES = ("pre", "kps", "cnvs", "inters", "inters_", "cnvs_", "base", *UPSAMPLING)
# The convolutions that see the image: their input channels are B, G, R in the released files.
STEMS = ("pre.0.conv.weight", "base.base_layer.0.weight")


def is_head(name: str) -> bool:
    """Whether a parameter under its PyTorch name belongs to a prediction head."""
    return name.split(".")[0].rstrip("0123456789") in HEADS


def is_backbone(name: str) -> bool:
    """Whether a parameter under its PyTorch name belongs to a backbone."""
    return name.split(".")[0] in BACKBONES


def torch_name(path: tuple[str, ...], config: ModelConfig) -> str:
    """The name in a state dict of one leaf of our variables.

    Args:
        path: pieces of its path in `params` or `batch_stats`, the leaf last.
        config: of the network.

    Returns:
        The released name. Parts of a network that was never released get a name that no file has:
        one that continues the pattern (a third gaze step, gaze on DLA-34), or one of our own.
    """
    *modules, leaf = path
    if modules[0] == "backbone":
        translate = _dla if config.backbone == "dla34" else _hourglass
        pieces = translate(modules[1:])
    else:
        stack = modules[0].removeprefix("heads")
        pieces = _head(modules[1:], stack, config)
    return ".".join((*pieces, _LEAVES[leaf]))


def _hourglass(modules: list[str]) -> list[str]:
    """Modules inside the stacked hourglass."""
    first, *rest = modules
    name, number = _split(first)
    if name == "hourglass":
        return ["kps", number, *_inside_hourglass(rest)]
    if name == "stem_conv":
        return ["pre", "0", *_one_conv(rest)]
    if name == "stem_residual":
        return ["pre", "1", *_residual(rest)]
    if name == "feature":
        return ["cnvs", number, *_one_conv(rest)]
    if name == "between":
        return ["inters", number, *_residual(rest)]
    return [{"merge_input": "inters_", "merge_feature": "cnvs_"}[name], number, *_pair(rest)]


def _inside_hourglass(modules: list[str]) -> list[str]:
    """Levels of one hourglass: `inner` is another hourglass, `inner0` a residual block."""
    first, *rest = modules
    if first == "inner":
        return ["low2", *_inside_hourglass(rest)]
    name, number = _split(first)
    branch = {"upper": "up1", "down": "low1", "inner": "low2", "up": "low3"}[name]
    return [branch, number, *_residual(rest)]


def _dla(modules: list[str]) -> list[str]:
    """Modules inside DLA-34."""
    first, *rest = modules
    name, number = _split(first)
    if name == "stem":
        return ["base", "base_layer", *_pair(rest)]
    if name == "level":
        inside = _pair(rest) if int(number) < 2 else _tree(rest)
        return ["base", f"level{number}", *inside]
    place = ["ida_up"] if first == "merge" else ["dla_up", f"ida_{number}"]
    kind, step = _split(rest[0])
    if kind == "up":
        return [*place, f"up_{step}"]
    inside = {"norm": ["actf", "0"], "conv": ["conv"]}[rest[1]]
    offsets = ["conv_offset_mask"] if rest[2:] == ["offset_conv"] else []
    return [*place, f"{kind}_{step}", *inside, *offsets]


def _tree(modules: list[str]) -> list[str]:
    """Modules inside an aggregation tree of DLA."""
    first, *rest = modules
    if first in ("tree1", "tree2"):
        return [first, *_tree(rest)]
    if first == "root":
        return ["root", *_one_conv(rest)]
    if first == "project":
        return ["project", *_pair(rest)]
    return _residual(modules)


def _head(modules: list[str], stack: str, config: ModelConfig) -> list[str]:
    """Modules of the heads of one stack."""

    def place(name: str, layer: int) -> list[str]:
        if config.backbone == "dla34":  # one stack; convolution, ReLU, convolution in one list
            return [name, str(2 * layer)]
        return [name, stack, str(layer), *(["conv"] if layer == 0 else [])]

    branch, *rest = modules
    if branch != "interactions":
        return place(_HEADS[rest[0]], {"conv": 0, "out": 1}[rest[1]])
    found = re.fullmatch(r"(glance|gaze\d+)_?(conv|classifier|feature|hidden|)", rest[0])
    if found is None:
        return ["unreleased", stack, *rest]
    step, part = found.groups()
    if step == "glance":
        return place("hm_rel", {"conv": 0, "classifier": 1}[part])
    number = step.removeprefix("gaze")
    suffix = "" if config.gaze_steps == 1 else number
    if part == "feature":
        return [f"hm_dcn{suffix}", stack, "conv"]
    if part == "hidden":
        return [f"refine_head{suffix}", stack, "0", "conv"]
    if part == "classifier":
        last = int(number) == config.gaze_steps
        return [f"refine_head{suffix}", stack, "1" if last else "0"]
    offsets = ["conv_offset_mask"] if rest[1:] == ["offset_conv"] else []
    return [f"refine_dcn{suffix}", stack, *offsets]


def _one_conv(modules: list[str]) -> list[str]:
    """`ConvNorm` as `conv` and `bn`."""
    return [{"conv": "conv", "norm": "bn"}[modules[0]]]


def _pair(modules: list[str]) -> list[str]:
    """`ConvNorm` as entries 0 and 1 of a list."""
    return [{"conv": "0", "norm": "1"}[modules[0]]]


def _residual(modules: list[str]) -> list[str]:
    """Two `ConvNorm`s as `conv1`, `bn1`, `conv2`, `bn2`, and the skip as a list."""
    first, kind = modules
    if first == "skip":
        return ["skip", *_pair([kind])]
    number = first.removeprefix("conv")
    return [{"conv": "conv", "norm": "bn"}[kind] + number]


def _split(name: str) -> tuple[str, str]:
    """'hourglass0' -> ('hourglass', '0')."""
    stem = name.rstrip("0123456789")
    return stem, name[len(stem) :]
