"""PyTorch's files, written by hand: what `torch.save` writes, and what it would never write."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {"float64": "Double", "float32": "Float", "float16": "Half", "int64": "Long",
            "int8": "Char", "complex64": "ComplexFloat"}  # fmt: skip
LEGACY_START = b"".join(
    pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
)


class Tensor:
    """A tensor as files describe it; without more, a contiguous view of all of its storage."""

    def __init__(self, storage: np.ndarray, shape=None, strides=None, offset=0, *, kind=None):
        self.storage = storage.ravel()
        self.shape = storage.shape if shape is None else shape
        steps = np.cumprod((1, *self.shape[:0:-1]))[::-1] if self.shape else ()
        self.strides = tuple(map(int, steps)) if strides is None else strides
        self.offset = offset
        self.kind = kind or STORAGES[storage.dtype.name]


class Pickled:
    """A pickle of plain values, arrays and tensors; `storages` has their numbers by key."""

    def __init__(self, value: Any, *, old: bool = False):
        self._old = old
        self.storages: dict[str, np.ndarray] = {}
        self._keys: dict[int, str] = {}
        self._kept: list[Any] = []
        self.program = b"\x80\x02" + self._put(value) + b"."

    def _put(self, value: Any) -> bytes:
        if isinstance(value, np.ndarray):
            return self._tensor(Tensor(value))
        match value:
            case bytes():  # opcodes of the test's own
                return value
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
            case str():
                text = value.encode()
                return b"X" + struct.pack("<I", len(text)) + text
            case tuple():
                return b"(" + b"".join(map(self._put, value)) + b"t"
            case dict():
                pairs = (self._put(k) + self._put(v) for k, v in value.items())
                return b"}(" + b"".join(pairs) + b"u"
            case Tensor():
                return self._tensor(value)
        raise TypeError(value)

    def _tensor(self, tensor: Tensor) -> bytes:
        self._kept.append(tensor)  # so that no two have one identity
        base = tensor.storage if tensor.storage.base is None else tensor.storage.base
        key = self._keys.setdefault(id(base), str(len(self._keys)))
        self.storages[key] = tensor.storage
        kind = f"ctorch\n{tensor.kind}Storage\n".encode()
        identity = ("storage", kind, key, "cpu", tensor.storage.size)
        identity += (None,) * self._old  # no view of another storage
        view = tensor.offset, tuple(tensor.shape), tuple(tensor.strides)
        hooks = b"ccollections\nOrderedDict\n)R"
        arguments = (self._put(identity) + b"Q", *view, False, hooks)
        return b"ctorch._utils\n_rebuild_tensor_v2\n" + self._put(arguments) + b"R"


def zip_members(value: Any, byteorder: str = "little") -> dict[str, bytes]:
    """The members of the archive that `torch.save` makes of a value."""
    pickled = Pickled(value)
    order = {"little": "<", "big": ">"}[byteorder]
    numbers = {
        f"model/data/{key}": storage.astype(storage.dtype.newbyteorder(order)).tobytes()
        for key, storage in pickled.storages.items()
    }
    names = {"data.pkl": pickled.program, "byteorder": byteorder.encode(), "version": b"3\n"}
    return {f"model/{name}": data for name, data in names.items()} | numbers


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def legacy(value: Any) -> bytes:
    """What `torch.save` before 1.6 made of a value."""
    pickled = Pickled(value, old=True)
    numbers = (struct.pack("<q", s.size) + s.tobytes() for s in pickled.storages.values())
    keys = pickle.dumps(list(pickled.storages), 2)
    return LEGACY_START + pickled.program + keys + b"".join(numbers)


def save(path: str | Path, value: Any, *, old: bool = False) -> None:
    """`torch.save`."""
    Path(path).write_bytes(legacy(value) if old else packed(zip_members(value)))
