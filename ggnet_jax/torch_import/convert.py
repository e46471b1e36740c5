"""NumPy arrays under PyTorch names -> Flax variables. Neither reads files nor needs PyTorch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.torch_import.architecture import (
    Architecture,
    check_architecture,
    check_backbone,
    describe,
)
from ggnet_jax.torch_import.entries import UNUSED, parameters
from ggnet_jax.torch_import.names import STEMS, UPSAMPLING, is_backbone, is_head, torch_name
from ggnet_jax.torch_import.report import Report

_NO_USE, _NO_PLACE = "of no use", "not a parameter of this network"
_OTHER_TASK = "a head for another task"
_ABSENT = "not in the file"
# The first layers of CenterNet's heads, on Hourglass and on DLA-34.
_FIRST_OF_HEADS = ("hm.0.0.conv.weight", "hm.0.weight", "wh.0.0.conv.weight", "wh.0.weight")
_BARE_STEM = "base_layer.0.weight"  # of DLA-34 by itself; in a detector it is under `base.`
_RGB = (
    "DLA-34 by itself is taken to have seen R, G, B, as ImageNet's has; "
    "a detector's, saved without its `base.`, saw B, G, R"
)


def from_torch(state_dict: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Convert the parameters of exactly the network that `config` describes.

    Args:
        state_dict: arrays under PyTorch names and in PyTorch's layouts (OIHW); prefixes such as
            `module.` are taken off. The stem convolution's input channels are B, G, R, as in all
            files of CenterNet's family; ours are R, G, B, so they are reversed.
        config: `config.model`, whatever `ModelConfig.from_fields` takes.

    Returns:
        `{'params', 'batch_stats'}` with float32 NumPy leaves.

    Raises:
        UserError: parameters are missing, too many or of another shape (the file is cut short, or
            of another network), or no finite real numbers.
    """
    return convert(state_dict, config)[0]


def convert(state_dict: Mapping[str, Any], config: Any) -> tuple[dict[str, Any], Report]:
    """`from_torch` and what became of every parameter."""
    arrays, config = clean(state_dict), ModelConfig.from_fields(config)
    check_architecture(describe(arrays), config)
    variables, report = _merge(arrays, config)
    for name, reason in report.missing:
        if reason != _ABSENT:
            raise UserError(_other_shape(name, reason))
    surplus = [name for name, reason in report.skipped if reason in (_NO_PLACE, _OTHER_TASK)]
    if report.missing or surplus:
        raise UserError(_unlike(arrays, [name for name, _ in report.missing], surplus))
    return variables, report


def pretrained(state_dict: Mapping[str, Any], config: Any) -> tuple[dict[str, Any], Report]:
    """Convert what a file has of a network: all of its backbone, and those heads that fit.

    The backbone of a detector for another task will do, and so will DLA-34 by itself, as it was
    trained on ImageNet: it lacks the layers that sample its features up again.

    Args:
        state_dict: see `from_torch`.
        config: `config.model`, whatever `ModelConfig.from_fields` takes.

    Returns:
        The variables, NumPy leaves for what was loaded and `jax.ShapeDtypeStruct` for what the file
        does not have (`fill` puts initial values there), and what became of every parameter.

    Raises:
        UserError: the backbone is another one, or cut short, or something that would be loaded is
            not made of finite real numbers.
    """
    arrays, config = clean(state_dict), ModelConfig.from_fields(config)
    check_backbone(describe(arrays), config)
    variables, report = _merge(arrays, config)
    bare = _BARE_STEM in parameters(state_dict, _is_array)[0]
    return variables, dataclasses.replace(report, notes=(_RGB,) if bare else ())


def network_of(
    state_dict: Mapping[str, Any], config: Any
) -> tuple[dict[str, Any], ModelConfig, Architecture, Report]:
    """Convert what a file has of its own network, for a start of one with other heads or classes.

    Args:
        state_dict: see `from_torch`.
        config: `config.model` of the network to be started. The backbone has to be its own.

    Returns:
        `pretrained`'s variables and report for the file's own network, with its configuration and
        what it is; the heads that it lacks are `config`'s.

    Raises:
        UserError: see `pretrained`.
    """
    arrays, config = clean(state_dict), ModelConfig.from_fields(config)
    found = describe(arrays)
    widths = [arrays[name].shape[0] for name in _FIRST_OF_HEADS if np.ndim(arrays.get(name, 0))]
    own: dict[str, Any] = {
        "head_width": widths[0] if widths else config.head_width,
        "num_objects": found.num_objects or config.num_objects,
    }
    if found.num_verbs:
        own |= {
            "num_verbs": found.num_verbs,
            "gaze_steps": found.gaze_steps,
            "per_verb_offsets": found.per_verb_offsets,
            "aggregation": "none",
            "share_gaze_features": False,
        }
    theirs = dataclasses.replace(config, **own)
    variables, report = pretrained(state_dict, theirs)
    return variables, theirs, found, report


def fill(variables: Mapping[str, Any], initial: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of `pretrained` with the gaps taken from `initial`."""

    def choose(loaded: Any, fresh: Any) -> Any:
        return fresh if isinstance(loaded, jax.ShapeDtypeStruct) else loaded

    return jax.tree.map(choose, variables, initial)


def expected_variables(config: ModelConfig) -> dict[str, Any]:
    """Shapes of the variables of the network that `config` describes."""
    model = create_model(config)
    side = 32 if config.backbone == "dla34" else 4 * 2 ** (len(config.widths) - 1)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def clean(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """NumPy arrays under the names of the released networks, which have no prefixes.

    DLA-34 by itself gets the `base.` that it has in a detector. It was trained on R, G, B, so the
    input channels of its stem are put into the order of detectors' files.
    """
    entries, _ = parameters(state_dict, _is_array)
    arrays = {name: np.asarray(array) for name, array in entries.items()}
    if _BARE_STEM not in arrays:
        return arrays
    stem = arrays[_BARE_STEM]
    arrays[_BARE_STEM] = stem[:, ::-1] if stem.ndim == 4 else stem
    return {name if is_backbone(name) else f"base.{name}": a for name, a in arrays.items()}


def _is_array(value: Any) -> bool:
    return not isinstance(value, Mapping)


def _merge(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> tuple[dict[str, Any], Report]:
    """Put what fits into the network; see `pretrained`."""
    merged, missing, skipped = {}, [], []
    loaded, taken = set(), set()
    unfit: dict[str, list[str]] = {}
    may_lack = set() if any(map(_samples_up, arrays)) else set(UPSAMPLING)
    expected: dict[Any, Any] = traverse_util.flatten_dict(expected_variables(config))
    for path, leaf in expected.items():
        name = torch_name(path[1:], config)
        merged[path] = leaf
        if name not in arrays:
            missing.append((name, _ABSENT))
            continue
        taken.add(name)
        array = arrays[name]
        if _our_shape(array.shape) == leaf.shape:
            if fault := _fault(name, array):
                unfit.setdefault(fault, []).append(name)
            else:
                merged[path] = _to_ours(name, array)
            loaded.add(name)
            continue
        reason = f"{_shape(array.shape)} in the file, {_torch_shape(leaf.shape)} here"
        if not is_head(name):
            raise UserError(_other_shape(name, reason))
        missing.append((name, reason))
        skipped.append((name, reason))
    needed = [name for name, _ in missing if not is_head(name)]
    lost = [name for name in needed if name.split(".")[0] not in may_lack]
    surplus = [name for name in arrays if name not in taken and not UNUSED.fullmatch(name)]
    strange = [name for name in surplus if is_backbone(name)]
    if lost or strange:
        raise UserError(_unlike(arrays, lost, strange))
    if unfit:
        raise UserError(_unusable(unfit))
    for name in arrays:
        if name not in taken:
            place = _NO_PLACE if is_head(name) else _OTHER_TASK
            skipped.append((name, place if name in surplus else _NO_USE))
    in_file_order = tuple(name for name in arrays if name in loaded)
    report = Report(in_file_order, tuple(missing), tuple(skipped))
    return traverse_util.unflatten_dict(merged), report


def _samples_up(name: str) -> bool:
    return name.split(".")[0] in UPSAMPLING


def _fault(name: str, array: np.ndarray) -> str:
    """Why an array is not a parameter to compute with; "" if it is."""
    if array.dtype.kind != "f":
        return f"of type {array.dtype.name}, not real numbers"
    if not np.isfinite(array).all():
        return "with NaN or infinite values"
    if array.itemsize > 4 and np.abs(array).max(initial=0) > np.finfo(np.float32).max:
        return "with values beyond the range of float32"
    if name.endswith(".running_var") and array.min(initial=0) < 0:
        return "of negative variances"
    return ""


def _to_ours(name: str, array: np.ndarray) -> np.ndarray:
    """From PyTorch's layout to ours, float32 and contiguous."""
    if name in STEMS and array.ndim == 4:
        array = array[:, ::-1]  # B, G, R -> R, G, B
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    return np.array(array, dtype=np.float32, order="C")


def _our_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """One of PyTorch's shapes as ours is."""
    return shape if len(shape) != 4 else (shape[2], shape[3], shape[1], shape[0])


def _torch_shape(shape: tuple[int, ...]) -> str:
    """One of our shapes as PyTorch has it."""
    return _shape(shape if len(shape) != 4 else (shape[3], shape[2], shape[0], shape[1]))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _other_shape(name: str, reason: str) -> str:
    return f"{name} is {reason}; give the config of the network that the checkpoint is of"


def _unusable(unfit: Mapping[str, list[str]]) -> str:
    """One line on arrays that no network can compute with."""
    parts = [
        f"{len(names)} array{'s' * (len(names) > 1)} {fault} ({_some(names)})"
        for fault, names in unfit.items()
    ]
    return (
        f"the checkpoint has {' and '.join(parts)}; it is damaged, or its training diverged: "
        "give an earlier one, or fetch it again"
    )


def _unlike(arrays: Mapping[str, Any], missing: list[str], surplus: list[str]) -> str:
    """One line on what a file has too little or too much of."""

    parts = []
    if missing:
        parts.append(f"lacks {len(missing)} parameters of the network ({_some(missing)})")
    if surplus:
        parts.append(f"has {len(surplus)} that the network has no place for ({_some(surplus)})")
    return (
        f"the checkpoint, {len(arrays)} entries, {' and '.join(parts)}; "
        "it is cut short, or config.model describes another network"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name[:80] for name in names[:3]) + more
