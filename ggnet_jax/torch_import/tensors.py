"""PyTorch's tensors as files describe them: a storage of numbers, and a strided view of it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ggnet_jax.torch_import.unpickle import DamagedError, Global, Inert

_BFLOAT16 = "bfloat16"
# A dtype of PyTorch's -> NumPy's.
_DTYPES = {
    "float64": "f8", "float32": "f4", "float16": "f2", _BFLOAT16: "u2",
    "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1",
    "uint64": "u8", "uint32": "u4", "uint16": "u2", "uint8": "u1", "bool": "?",
    "complex64": "c8", "complex128": "c16",
}  # fmt: skip
_OTHER_NAMES = {"double": "float64", "float": "float32", "half": "float16", "long": "int64",
                "int": "int32", "short": "int16"}  # fmt: skip
_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": _BFLOAT16,
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexDouble": "complex128", "ComplexFloat": "complex64",
    "Untyped": "uint8", "QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers in a row, which may be shared by several tensors.

    Attributes:
        key: its name in the file.
        dtype: PyTorch's name of it.
        count: numbers, or so many bytes of an untyped storage.
        location: the device that it was on.
        start: where it begins in the numbers of this key, for a view of another storage.
        total: numbers of the whole key.
    """

    key: str
    dtype: str
    count: int
    location: str
    start: int
    total: int

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return np.dtype(_DTYPES[self.dtype]).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes that the file must have under this key."""
        return self.total * self.itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    negative: bool = False


def storage(identity: Any) -> Storage:
    """What a persistent id stands for.

    Raises:
        DamagedError: it is none of PyTorch's.
    """
    match identity:
        case ("storage", Global(name=kind), str(key), str(location), int(count), *view):
            dtype = _STORAGES.get(kind.rpartition(".")[2].strip("_").removesuffix("Storage"))
            if dtype is None:
                raise DamagedError(f"it has a storage of the unknown type {kind[:80]}")
            view = view[0] if view else None
            start, size = (0, count) if view is None else view[1:]
            if 0 <= start <= start + size <= count < 2**60:
                return Storage(key, dtype, size, location, start, count)
    raise DamagedError("the pickle in it asks for something that is no storage")


def _rebuild(source: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor | Inert:
    """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)`."""
    return _tensor(source, offset, shape, strides, None, rest[2] if len(rest) > 2 else None)


def _rebuild_v3(source: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor | Inert:
    """`_rebuild_tensor_v3`, which has the dtype before the metadata."""
    return _tensor(source, offset, shape, strides, rest[2], rest[3] if len(rest) > 3 else None)


def _tensor(
    source: Any, offset: Any, shape: Any, strides: Any, dtype: Any, metadata: Any
) -> Tensor | Inert:
    whole = (offset, *shape, *strides)
    if (
        not isinstance(source, Storage)
        or len(shape) != len(strides)
        or len(shape) > 32
        or not all(isinstance(n, int) and 0 <= n < 2**60 for n in whole)
    ):
        raise DamagedError("a tensor in it has an impossible shape")
    name = source.dtype if dtype is None else dtype.name.removeprefix("torch.")
    name = _OTHER_NAMES.get(name, name)
    if source.location == "meta":
        return Inert("a tensor on the meta device, which has no values")
    if name not in _DTYPES:
        return Inert(f"a tensor of {name[:40]}")
    negative = isinstance(metadata, dict) and bool(metadata.get("neg"))
    return Tensor(source, offset, tuple(shape), tuple(strides), name, negative)


def _inner(value: Any, *rest: Any) -> Any:
    """The tensor inside a parameter or a copy of a device's tensor."""
    return value


def _from_type(function: Any, kind: Any, arguments: Any, *rest: Any) -> Any:
    """A tensor of a subclass or with attributes of its own."""
    if isinstance(function, Global) and function.name in REBUILD and isinstance(arguments, tuple):
        return REBUILD[function.name](*arguments)
    raise DamagedError("a tensor in it is made in an unknown way")


def _without_values(what: str) -> Callable[..., Inert]:
    return lambda *arguments: Inert(what)


REBUILD: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_v3,
    "torch._utils._rebuild_parameter": _inner,
    "torch._utils._rebuild_parameter_with_state": _inner,
    "torch.nn.parameter.Parameter": _inner,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _inner,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._utils._rebuild_qtensor": _without_values("a quantized tensor"),
    "torch._utils._rebuild_sparse_tensor": _without_values("a sparse tensor"),
    "torch._utils._rebuild_nested_tensor": _without_values("a nested tensor"),
    "torch.nested._internal.nested_tensor._rebuild_njt": _without_values("a nested tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _without_values(
        "a tensor on the meta device, which has no values"
    ),
    "torch._utils._rebuild_wrapper_subclass": _without_values("a tensor of a subclass"),
    "torch._utils._rebuild_device_tensor_from_numpy": _without_values("a tensor of XLA's"),
}
"""Functions that pickles of PyTorch's call, and what stands for their results."""


class Arrays:
    """Tensors of a file -> NumPy arrays. Each storage is fetched and widened once."""

    def __init__(self, fetch: Callable[[Storage], Any], byteorder: Literal["<", ">"] = "<"):
        """Args:
        fetch: gives the bytes of a storage's key, at least `nbytes`, or raises a `DamagedError`.
        byteorder: of the file, '<' or '>'.
        """
        self._fetch = fetch
        self._byteorder: Literal["<", ">"] = byteorder
        self._storages: dict[tuple[str, str], np.ndarray] = {}

    def array(self, tensor: Tensor) -> np.ndarray:
        """The values of a tensor; floats of less than 32 bits come as float32.

        Raises:
            DamagedError: it reaches beyond its storage, or its bytes are damaged.
        """
        values = self._values(tensor.storage, tensor.dtype)
        source = tensor.storage
        size = source.count * source.itemsize // np.dtype(_DTYPES[tensor.dtype]).itemsize
        values = values[source.start : source.start + size]
        if tensor.negative:
            values = -values
        pairs = zip(tensor.shape, tensor.strides, strict=True)
        needed = tensor.offset + 1 + sum((n - 1) * stride for n, stride in pairs)
        empty = 0 in tensor.shape
        if needed > size and not empty:
            raise DamagedError(f"it needs {needed} numbers and its storage has {size}")
        steps = [stride * values.itemsize for stride in tensor.strides]
        try:
            if empty:
                return np.zeros(tensor.shape, values.dtype)
            return np.lib.stride_tricks.as_strided(
                values[tensor.offset :], tensor.shape, steps, writeable=False
            )
        except ValueError as error:  # more bytes than there are addresses
            raise DamagedError("its shape is impossible") from error

    def _values(self, source: Storage, dtype: str) -> np.ndarray:
        known = self._storages.get((source.key, dtype))
        if known is not None:
            return known
        kind = np.dtype(_DTYPES[dtype]).newbyteorder(self._byteorder)
        data = memoryview(self._fetch(source))[: source.nbytes]
        values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
        if dtype == _BFLOAT16:  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        elif dtype == "float16":
            values = values.astype(np.float32)
        elif self._byteorder == ">":
            values = values.astype(kind.newbyteorder("="))
        self._storages[source.key, dtype] = values
        return values
