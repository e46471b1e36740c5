"""PyTorch checkpoints of GGNet, PPDM and CenterNet -> Flax variables.

`from_torch` converts arrays; `python -m ggnet_jax.torch_import` converts a `.pth` file into a
workdir that `main.py` evaluates, predicts with or trains on from. Only reading a `.pth` file needs
PyTorch, an optional install.
"""

from ggnet_jax.torch_import.convert import from_torch

__all__ = ["from_torch"]
