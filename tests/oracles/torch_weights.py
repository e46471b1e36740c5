"""Our parameters under their released PyTorch names; no PyTorch here."""

from typing import Any

import numpy as np
from flax import traverse_util

from ggnet_jax.torch_import.names import STEMS, torch_name


def by_torch_name(tree: Any, config: Any) -> dict[str, np.ndarray]:
    """Parameters, gradients or running statistics -> released names and layouts.

    Args:
        tree: one collection of our variables, or of the same structure.
        config: `config.model`.

    Returns:
        NumPy arrays, convolutions [out, in, kh, kw]; the stem's input channels are B, G, R.
    """
    named = {}
    for path, leaf in traverse_util.flatten_dict(tree).items():
        name, leaf = torch_name(path, config), np.asarray(leaf)
        if leaf.ndim == 4:
            leaf = leaf.transpose(3, 2, 0, 1)
        named[name] = leaf[:, ::-1] if name in STEMS else leaf
    return named
