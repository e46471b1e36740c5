"""NumPy arrays under PyTorch names -> Flax variables. Neither reads files nor needs PyTorch."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.torch_import.architecture import check_architecture, describe
from ggnet_jax.torch_import.names import STEMS, is_head, torch_name

# Entries that no network of ours has a use for: a counter that PyTorch keeps beside every batch
# norm, the ImageNet classifier left in DLA's files, and the skips of DLA's deep trees, which
# the released code computes and drops (the trees inside make their own).
_UNUSED = re.compile(r".*\.num_batches_tracked|base\.fc\..*|base\.level[34]\.project\..*")


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of every parameter, under PyTorch names in the network's order.

    Attributes:
      loaded: went from the file into the network.
      fresh: in the network only, or of another shape in the file: keeps its initial value.
      skipped: in the file only; (name, reason).
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def from_torch(state_dict: Mapping[str, Any], config: Any) -> dict[str, Any]:
    """Convert a released checkpoint of exactly the network that `config` describes.

    Args:
      state_dict: arrays under PyTorch names and in PyTorch's layouts (OIHW); a `module.` prefix
        is taken off. The stem convolution's input channels are B, G, R, as in all released
        files; ours are R, G, B, so they are reversed.
      config: `config.model`.

    Returns:
      `{'params', 'batch_stats'}` with float32 NumPy leaves.

    Raises:
      UserError: parameters are missing or have another shape, or belong to another network.
    """
    arrays = clean_names(state_dict)
    check_architecture(describe(arrays), config)
    variables, report = merge(arrays, expected_variables(config), config)
    unknown = [name for name, reason in report.skipped if reason == UNKNOWN]
    if report.fresh or unknown:
        raise UserError(_incomplete(report.fresh, unknown, arrays))
    return variables


UNKNOWN = "not a parameter of this network"


def merge(
    arrays: Mapping[str, np.ndarray], variables: Mapping[str, Any], config: Any
) -> tuple[dict[str, Any], Report]:
    """Put what fits into a network's variables; heads that differ keep their initial values.

    Args:
      arrays: see `clean_names`.
      variables: `{'params', 'batch_stats'}`; arrays, or shapes alone.
      config: `config.model`.

    Returns:
      The variables, with NumPy leaves in place of those that were loaded, and what became of
      every parameter.

    Raises:
      UserError: a parameter outside the heads has another shape, or is missing.
    """
    merged, loaded, fresh, skipped, missing = {}, [], [], [], []
    used = set()
    for path, leaf in traverse_util.flatten_dict(dict(variables)).items():
        name = torch_name(path[1:], config)
        merged[path] = leaf
        array = arrays.get(name)
        if array is None:
            (fresh if is_head(name) else missing).append(name)
            continue
        used.add(name)
        array = _to_ours(name, array)
        if array.shape == leaf.shape:
            merged[path] = array
            loaded.append(name)
            continue
        found, needed = _shape(arrays[name].shape), _torch_shape(leaf.shape)
        if not is_head(name):
            raise UserError(
                f"{name} has shape {found} in the checkpoint and {needed} in the network that "
                "config.model describes; give the config of the checkpoint's network"
            )
        fresh.append(name)
        skipped.append((name, f"shape {found}, the network's is {needed}"))
    if missing:
        raise UserError(_incomplete(missing, [], arrays))
    for name in arrays:
        if name not in used:
            known = _UNUSED.fullmatch(name)
            skipped.append((name, "has no use here" if known else UNKNOWN))
    return traverse_util.unflatten_dict(merged), Report(tuple(loaded), tuple(fresh), tuple(skipped))


def clean_names(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a state dict as NumPy arrays, without the `module.` of DataParallel."""
    return {name.removeprefix("module."): np.asarray(array) for name, array in state_dict.items()}


def expected_variables(config: Any) -> dict[str, Any]:
    """Shapes of the variables of the network that `config` (`config.model`) describes."""
    model = create_model(config)
    side = 32 if config.backbone == "dla34" else 4 * 2 ** (len(config.widths) - 1)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), images)


def _to_ours(name: str, array: np.ndarray) -> np.ndarray:
    """From PyTorch's layout to ours, float32 and contiguous."""
    if name in STEMS:
        array = array[:, ::-1]  # B, G, R -> R, G, B
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    return np.ascontiguousarray(array, dtype=np.float32)


def _torch_shape(shape: tuple[int, ...]) -> str:
    """One of our shapes as PyTorch would print it."""
    return _shape(shape if len(shape) != 4 else (shape[3], shape[2], shape[0], shape[1]))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "()"


def _incomplete(missing, unknown, arrays) -> str:
    """One line on what is missing, or too much."""

    def some(names):
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    parts = []
    if missing:
        parts.append(f"lacks {len(missing)} parameters of the network ({some(missing)})")
    if unknown:
        parts.append(f"holds {len(unknown)} that it has no place for ({some(unknown)})")
    return (
        f"the checkpoint ({len(arrays)} entries) {' and '.join(parts)}; "
        "it is cut short, or config.model describes another network"
    )
