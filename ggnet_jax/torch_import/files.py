"""`.pth` and `.safetensors` files -> NumPy arrays, without PyTorch. Data is read, never code."""

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import containers, kinds
from ggnet_jax.torch_import.entries import mappings, parameters
from ggnet_jax.torch_import.tensors import Arrays, Tensor
from ggnet_jax.torch_import.unpickle import DamagedError, Inert, RefusedError


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the parameters in a PyTorch file, in the legacy format or the zip format.

    Args:
        path: a file that holds a state dict, bare or in wrappers such as `state_dict`, `model` or
            `ema`; or a safetensors file. What else it holds (an optimizer's state, the epoch, an
            average beside the weights) is left alone.

    Returns:
        Arrays under PyTorch names without prefixes such as `module.`; floats of less than 32 bits
        come as float32. Those of a zip file are mapped from the disk, after its checksums were
        compared, unless they are packed.

    Raises:
        UserError: the file is missing, damaged, of another kind, or asks for code to be run, which
            is refused.
    """
    return read(path)[0]


def read(path: str | Path) -> tuple[dict[str, np.ndarray], str]:
    """`read_state_dict`, and under which entries the file has the parameters, such as 'ema'."""
    path = Path(path)
    try:
        return _read(path)
    except DamagedError as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint: {error}; "
            "it is damaged or cut short: fetch it again"
        ) from error
    except RefusedError as error:
        name = str(error)[:80]
        raise UserError(
            f"{path} is not only data, it wants {name!r} to be called: refused. If you trust it, "
            "save its state_dict alone with PyTorch"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    if path.is_dir():
        raise _other(path, kinds.of_folder(path))
    if not path.exists():
        raise UserError(f"there is no file {path}; check the path of the checkpoint")
    if not path.is_file():  # a pipe would be waited for
        raise _other(path, ("not a regular file", "give a .pth file"))
    content, arrays = _content(path)
    if isinstance(content, list | tuple) and any(isinstance(part, Mapping) for part in content):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds {_what(content)}, not the parameters of a network")
    entries, place = parameters(content, lambda value: isinstance(value, Tensor))
    if not entries:
        key, value = _telling(content)
        raise UserError(
            f"{path} holds no tensors, not the parameters of a network: its entry "
            f"{_what(key) if isinstance(key, Inert) else str(key)[:80]!r} is {_what(value)}"
        )
    return {name: _array(path, arrays, name, value) for name, value in entries.items()}, place


def _content(path: Path) -> tuple[Any, Arrays]:
    """What a file of any format holds."""
    if not path.stat().st_size:
        raise _other(path, ("an empty file", "fetch it again"))
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # closed with its last array
    if containers.is_legacy(data):
        return containers.read_legacy(data)
    # A tar archive may end with a zip file.
    tar = None if data[:2] == b"PK" else kinds.of_tar(containers.Window(data))
    archive = None if tar else containers.open_zip(data)
    if archive is not None:
        if other := kinds.of_zip(archive):
            raise _other(path, other)
        return containers.read_zip(data, archive, containers.pickle_name(archive) or "")
    if containers.is_safetensors(data):
        return containers.read_safetensors(data)
    if other := tar or kinds.of_file(path):
        raise _other(path, other)
    if data[:4] == b"PK\x03\x04":
        raise DamagedError("its end is missing")
    raise DamagedError("its first bytes are those of no known format")


def _array(path: Path, arrays: Arrays, name: str, value: Any) -> np.ndarray:
    if not isinstance(value, Tensor):
        raise UserError(
            f"{path}: entry {name[:80]!r} is {_what(value)}, not a parameter; a state dict of "
            "plain tensors is expected"
        )
    if not name.isprintable():
        raise DamagedError(f"its entry {name[:80]!r} has no name")
    try:
        return arrays.array(value)
    except DamagedError as error:
        raise DamagedError(f"entry {name[:80]!r}: {error}") from error


def _telling(content: Mapping[Any, Any]) -> tuple[Any, Any]:
    """An entry of a file without tensors that shows why: one of another kind, else the first."""
    for _, mapping in mappings(content):
        for key, value in mapping.items():
            if isinstance(value, Inert) and value.what.startswith("a "):
                return key, value
    return next(iter(content.items()))


def _what(value: Any) -> str:
    if isinstance(value, Tensor):
        return "Tensor"
    return value.what if isinstance(value, Inert) else type(value).__name__


def _other(path: Path, kind: tuple[str, str]) -> UserError:
    what, todo = kind
    return UserError(f"{path} cannot be read as a PyTorch checkpoint: it is {what}; {todo}")
