"""`.pth` files -> NumPy arrays. The one place that needs PyTorch, and it loads data, never code."""

import importlib
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError

# How PyTorch's careful unpickler names what a file wants called.
_CALL = re.compile(r"(?:GLOBAL|function|class|type) ([\w.]+)")


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the parameters in a PyTorch file, in the legacy format or the zip format.

    Args:
        path: a file that holds a state dict, bare or under `state_dict`. What else it holds (an
            optimizer's state, the epoch) is left alone.

    Returns:
        Arrays under PyTorch names, `module.` prefixes taken off; floats of less than 32 bits
        come as float32. Those of a zip file are mapped from the disk, not read.

    Raises:
        UserError: PyTorch is not installed; the file is missing, damaged, of another kind, or asks
            for code to be run, which is refused.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; check the path of the checkpoint")
    torch = _import_torch()
    content = _load(torch, path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds {type(content).__name__}, not the parameters of a network")
    return {str(k).removeprefix("module."): _array(torch, path, k, v) for k, v in content.items()}


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise UserError(
            "PyTorch is needed to read .pth files and for nothing else: pip install torch"
        ) from error


def _load(torch: Any, path: Path) -> Any:
    """What the file holds, out of plain containers, numbers and tensors alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on how a file was made
            # Only a zip file can be mapped; a legacy file is one pickle after the other.
            mapped = zipfile.is_zipfile(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # damage surfaces as whatever the parser stumbles over
        if isinstance(error, pickle.UnpicklingError) and (call := _CALL.search(str(error))):
            raise UserError(
                f"{path} is not only data, it wants {call[1]} to be called: refused. If you trust "
                "it, save its state_dict alone with PyTorch"
            ) from error
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint ({_reason(error)}); "
            "it is cut short or another kind of file: fetch it again"
        ) from error


def _reason(error: Exception) -> str:
    """The telling part of an error of PyTorch's, which goes on for paragraphs."""
    text = str(error).split("WeightsUnpickler error:")[-1].strip()
    return text.splitlines()[0].split(". ")[0][:150] if text else type(error).__name__


def _array(torch: Any, path: Path, name: Any, tensor: Any) -> np.ndarray:
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        raise UserError(
            f"{path}: entry {name!r} is {type(tensor).__name__}, not a parameter; a state dict is "
            "expected, bare or under 'state_dict'"
        )
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.numpy()
