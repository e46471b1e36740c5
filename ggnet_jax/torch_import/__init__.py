"""PyTorch checkpoints of GGNet, PPDM and CenterNet -> Flax variables.

`from_torch` converts arrays; `import_checkpoint` (`main.py --mode=import`) makes a workdir of a
`.pth` file, which `main.py` evaluates, predicts with or trains on; `pretrained` gives training a
start from a `.pth` file whose heads may differ. None of it needs PyTorch.
"""

from ggnet_jax.torch_import.convert import fill, from_torch, pretrained
from ggnet_jax.torch_import.files import read_state_dict
from ggnet_jax.torch_import.new_run import import_checkpoint
from ggnet_jax.torch_import.report import Report

__all__ = ["Report", "fill", "from_torch", "import_checkpoint", "pretrained", "read_state_dict"]
