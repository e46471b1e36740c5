"""NumPy arrays under PyTorch names -> Flax variables. Neither reads files nor needs PyTorch."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ggnet_jax.config import ModelConfig
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.torch_import.architecture import check_architecture, check_backbone, describe
from ggnet_jax.torch_import.names import STEMS, is_head, torch_name
from ggnet_jax.torch_import.report import Report

# Entries that no network of ours has a use for: a counter that PyTorch keeps beside every batch
# norm, the ImageNet classifier left in DLA's files, and the skips of DLA's deep trees, which
# the released code computes and drops (the trees inside make their own).
_UNUSED = re.compile(r".*\.num_batches_tracked|base\.fc\..*|base\.level[34]\.project\..*")
_NO_USE, _NO_PLACE = "of no use", "not a parameter of this network"
_ABSENT = "not in the file"


def from_torch(state_dict: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Convert the parameters of exactly the network that `config` describes.

    Args:
        state_dict: arrays under PyTorch names and in PyTorch's layouts (OIHW); a `module.` prefix
            is taken off. The stem convolution's input channels are B, G, R, as in all released
            files; ours are R, G, B, so they are reversed.
        config: `config.model`, whatever `ModelConfig.from_fields` takes.

    Returns:
        `{'params', 'batch_stats'}` with float32 NumPy leaves.

    Raises:
        UserError: parameters are missing, too many or of another shape: the file is cut short, or
            of another network.
    """
    return convert(state_dict, config)[0]


def convert(state_dict: Mapping[str, Any], config: Any) -> tuple[dict[str, Any], Report]:
    """`from_torch` and what became of every parameter."""
    arrays, config = _clean(state_dict), ModelConfig.from_fields(config)
    check_architecture(describe(arrays), config)
    variables, report = _merge(arrays, config)
    for name, reason in report.missing:
        if reason != _ABSENT:
            raise UserError(_other_shape(name, reason))
    surplus = [name for name, reason in report.skipped if reason == _NO_PLACE]
    if report.missing or surplus:
        raise UserError(_unlike(arrays, [name for name, _ in report.missing], surplus))
    return variables, report


def pretrained(state_dict: Mapping[str, Any], config: Any) -> tuple[dict[str, Any], Report]:
    """Convert what a file has of a network: all of its backbone, and those heads that fit.

    Args:
        state_dict: see `from_torch`.
        config: `config.model`, whatever `ModelConfig.from_fields` takes.

    Returns:
        The variables, NumPy leaves for what was loaded and `jax.ShapeDtypeStruct` for what the file
        does not have (`fill` puts initial values there), and what became of every parameter.

    Raises:
        UserError: the backbone is another one, or cut short.
    """
    arrays, config = _clean(state_dict), ModelConfig.from_fields(config)
    check_backbone(describe(arrays), config)
    return _merge(arrays, config)


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


def _merge(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> tuple[dict[str, Any], Report]:
    """Put what fits into the network; see `pretrained`."""
    merged, missing, skipped = {}, [], []
    loaded, taken = set(), set()
    expected: dict[Any, Any] = traverse_util.flatten_dict(expected_variables(config))
    for path, leaf in expected.items():
        name = torch_name(path[1:], config)
        merged[path] = leaf
        if name not in arrays:
            missing.append((name, _ABSENT))
            continue
        taken.add(name)
        array = _to_ours(name, arrays[name])
        if array.shape == leaf.shape:
            merged[path] = array
            loaded.add(name)
            continue
        reason = f"{_shape(arrays[name].shape)} in the file, {_torch_shape(leaf.shape)} here"
        if not is_head(name):
            raise UserError(_other_shape(name, reason))
        missing.append((name, reason))
        skipped.append((name, reason))
    lost = [name for name, _ in missing if not is_head(name)]
    surplus = [name for name in arrays if name not in taken and not _UNUSED.fullmatch(name)]
    if lost or not all(map(is_head, surplus)):
        raise UserError(_unlike(arrays, lost, [name for name in surplus if not is_head(name)]))
    for name in arrays:
        if name not in taken:
            skipped.append((name, _NO_PLACE if name in surplus else _NO_USE))
    in_file_order = tuple(name for name in arrays if name in loaded)
    report = Report(in_file_order, tuple(missing), tuple(skipped))
    return traverse_util.unflatten_dict(merged), report


def _clean(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """NumPy arrays under names without the `module.` of DataParallel."""
    return {name.removeprefix("module."): np.asarray(array) for name, array in state_dict.items()}


def _to_ours(name: str, array: np.ndarray) -> np.ndarray:
    """From PyTorch's layout to ours, float32 and contiguous."""
    if name in STEMS and array.ndim == 4:
        array = array[:, ::-1]  # B, G, R -> R, G, B
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    return np.array(array, dtype=np.float32, order="C")


def _torch_shape(shape: tuple[int, ...]) -> str:
    """One of our shapes as PyTorch has it."""
    return _shape(shape if len(shape) != 4 else (shape[3], shape[2], shape[0], shape[1]))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"


def _other_shape(name: str, reason: str) -> str:
    return f"{name} is {reason}; give the config of the network that the checkpoint is of"


def _unlike(arrays: Mapping[str, Any], missing: list[str], surplus: list[str]) -> str:
    """One line on what a file has too little or too much of."""

    def some(names: list[str]) -> str:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more

    parts = []
    if missing:
        parts.append(f"lacks {len(missing)} parameters of the network ({some(missing)})")
    if surplus:
        parts.append(f"has {len(surplus)} that the network has no place for ({some(surplus)})")
    return (
        f"the checkpoint, {len(arrays)} entries, {' and '.join(parts)}; "
        "it is cut short, or config.model describes another network"
    )
