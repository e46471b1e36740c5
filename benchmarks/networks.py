"""The networks that benchmarks measure, with random weights; needs no ml_collections."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ggnet_jax import models
from ggnet_jax.vocabularies import Vocabulary

# The fields of `configs/base.py` in plain Python.
HOURGLASS_104: dict[str, Any] = {
    "backbone": "hourglass",
    "stem_width": 128,
    "widths": (256, 256, 384, 384, 384, 512),
    "blocks": (2, 2, 2, 2, 2, 4),
    "stacks": 2,
    "head_width": 256,
    "gaze_steps": 2,
    "act_points": 25,
    "per_verb_offsets": True,
    "share_gaze_features": False,
    "dtype": "float32",
    "remat": False,
}
# As `configs/demo.py` has it.
DEMO: dict[str, Any] = HOURGLASS_104 | {
    "stem_width": 16,
    "widths": (32, 32, 48, 64),
    "blocks": (1, 1, 1, 1),
    "stacks": 1,
    "head_width": 32,
    "act_points": 9,
}
NETWORKS = {"hourglass_104": HOURGLASS_104, "demo": DEMO}
# Vocabulary and side of the input with which the configurations use them.
USUAL = {"hourglass_104": ("hico_det", 512), "demo": ("figures_hoi", 128)}


def settings(name: str, vocabulary: Vocabulary, **changes: Any) -> SimpleNamespace:
    """`config.model` of a network of `NETWORKS`, with a vocabulary's numbers of classes."""
    return SimpleNamespace(
        **NETWORKS[name]
        | {"num_verbs": vocabulary.num_verbs, "num_objects": vocabulary.num_objects}
        | changes
    )


def random_variables(
    model: models.GGNet, input_size: tuple[int, int], seed: int = 0
) -> Mapping[str, Any]:
    """He-initialised weights of the right shapes, without compiling the network's own start."""
    images = jax.ShapeDtypeStruct((1, *input_size, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(seed), images)
    rng = np.random.default_rng(seed)

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)
        spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)

    return jax.tree_util.tree_map_with_path(fill, shapes)
