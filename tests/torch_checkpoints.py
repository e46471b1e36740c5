"""Made PyTorch checkpoints, and our networks in PyTorch's terms."""

from typing import Any

import jax
import numpy as np
import reference_weights as reference
import torch_files
from tiny_config import get_config as tiny_config

from ggnet_jax import vocabularies
from ggnet_jax.torch_import.convert import expected_variables
from ggnet_jax.torch_import.names import torch_name

# What an object detector has no weights for.
GAZE_HEADS = tuple(f"{part}{n}" for part in ("hm_dcn", "refine_dcn", "refine_head") for n in (1, 2))
DETECTOR_LACKS = ("hm_rel", "sub_offset", "obj_offset", *GAZE_HEADS)


def shapes_of(config) -> dict[str, tuple[int, ...]]:
    """The layout of a network of ours in PyTorch's terms."""
    flat = {}
    for tree in expected_variables(config).values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            order = (3, 2, 0, 1) if leaf.ndim == 4 else range(leaf.ndim)
            name = torch_name(tuple(key.key for key in path), config)
            assert name not in flat
            flat[name] = tuple(leaf.shape[i] for i in order)
    return flat


def change(config, **fields):
    return type(config)(**(vars(config) | fields))


def tiny_checkpoint(path, *, drop=(), **changes) -> tuple[Any, dict[str, np.ndarray]]:
    """A checkpoint of the tiny network with the rendered data set's classes, and its config."""
    config: Any = tiny_config()
    config.model.update(changes)
    vocabulary = vocabularies.load("figures_hoi")
    resolved = config.copy_and_resolve_references()
    resolved.model.update(
        num_verbs=vocabulary.num_verbs, num_objects=vocabulary.num_objects, **changes
    )
    weights = reference.state_dict(shapes_of(resolved.model))
    weights = {k: v for k, v in weights.items() if k.split(".")[0] not in drop}
    torch_files.save(path, {"state_dict": weights})
    return config, weights
