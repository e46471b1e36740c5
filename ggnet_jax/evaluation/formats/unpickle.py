"""Pickles as data: plain containers, numbers, strings and NumPy arrays; nothing is run.

A pickle is a program. What it may call here are stand-ins of this file; anything else that it names
ends in an error before it is looked for. Python's own machine, which is fast, runs it once
`_check_opcodes` has seen that it holds none but common operations and numbers no object higher than
it has bytes: the machine would make room for the number.
"""

import contextlib
import gc
import io
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from ggnet_jax.errors import UserError

CACHE_CLASS = "CacheTemplate"
"""UPT's and PViC's subclass of `defaultdict`, which many repositories have a copy of."""


class Filled(dict):
    """What a `CacheTemplate` holds; the roles and agents that it lacks count as filled with 0."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Attributes, which nobody needs."""


class Array:
    """A NumPy array of a pickle; `np.asarray` takes it.

    Attributes:
        values: the array.
    """

    __slots__ = ("values",)

    def __init__(self, *_: Any):
        self.values = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.values = _array(data, dtype.value, shape, "F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)


class _Dtype:
    """A simple type of numbers, strings or objects."""

    __slots__ = ("value",)

    def __init__(self, description: Any, *_: Any):
        if not _DTYPE.fullmatch(str(description)):
            raise ValueError(f"an array of the type {description!s:.40}")
        self.value = np.dtype(str(description))

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


_DTYPE = re.compile(r"[<>|=]?(?:\?|b1|[iuf](?:1|2|4|8)|[bBhHlLqQefd]|[SU]\d{0,4}|O8?)")


def load(path: str | Path, data: bytes) -> Any:
    """The object in a pickle, of Python 2 or 3.

    Args:
        path: of the file, for messages.
        data: its content.

    Returns:
        Lists, tuples, dictionaries, sets, numbers, strings and bytes; `Array` for NumPy's arrays,
        numbers for its numbers; `Filled` for a cache.

    Raises:
        UserError: it is damaged, or wants something called that is not among these.
    """
    try:
        _check_opcodes(data)
        with _no_collection(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, about odd escapes in a garbled string
            return _Machine(io.BytesIO(data)).load()
    except _RefusedError as error:
        raise UserError(f"{path} is a pickle that {error}") from None
    except MemoryError:
        raise UserError(f"{path} needs more memory than there is") from None
    except Exception as error:  # what damaged pickles raise is any of a dozen kinds
        why = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        raise UserError(f"{path} is a damaged pickle ({why:.120}); write it again") from None


def numbers_of(value: Any, count: int) -> np.ndarray:
    """So many numbers, of a list or array or a number alone; an empty array of anything else.

    A pickle can refer to one list a million times: lists in lists are not looked into.
    """
    items = value if isinstance(value, list | tuple) else [value]
    if len(items) <= count and not any(isinstance(v, list | tuple | dict | bool) for v in items):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            found = np.array(value).ravel()
            if found.dtype.kind in "fiu" and len(found) == count:
                return found.astype(np.float64)
    return np.empty(0)


class _RefusedError(Exception):
    """What a pickle does that is refused, and what to do."""


class _Machine(pickle.Unpickler):
    """Python's machine, which finds none but the stand-ins."""

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="latin1")
        # Made anew for each pickle, which can change the attributes of what it gets.
        self._known = {name: _anew(target) for name, target in _STAND_INS.items()}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a class or function."""
        module = {"__builtin__": "builtins"}.get(module, module).replace("._core.", ".core.")
        full = CACHE_CLASS if name == CACHE_CLASS else f"{module}.{name}"
        if full in self._known:
            return self._known[full]
        if module.partition(".")[0] == "torch":
            raise _RefusedError(f"holds PyTorch's {full:.80}: save arrays or lists (.tolist())")
        raise _RefusedError(
            f"asks for {full!r:.120}, which is neither a container nor a NumPy array: it could run "
            "any code, and is not opened"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        """Nothing outside of the file."""
        raise _RefusedError("refers to something outside of the file, and is not opened")


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    result = Array()
    result.values = _array(bytes(data), dtype.value, shape, str(order))
    return result


def _scalar(dtype: Any, data: Any = b"") -> Any:
    return _array(data, dtype.value, (), "C").item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    return str(text).encode("latin1")


_STAND_INS = {
    CACHE_CLASS: Filled,
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.int": None,  # what a defaultdict makes of nothing
    "builtins.float": None,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy.ndarray": None,
    "numpy.dtype": _Dtype,
    "builtins.bytes": lambda: b"",
    "_codecs.encode": _encode,
}


def _anew(target: Any) -> Any:
    if target in (Filled, Array, _Dtype):
        return type(target.__name__, (target,), {"__slots__": ()})
    return None if target is None else lambda *arguments: target(*arguments)


def _array(data: Any, dtype: np.dtype, shape: Any, order: str) -> np.ndarray:
    """An array of as many values as there are data for."""
    if dtype.hasobject:
        values = np.empty(len(data), object)
        values[:] = data
    else:
        data = data.encode("latin1") if isinstance(data, str) else data  # of Python 2
        values = np.frombuffer(data, dtype) if data else np.empty(0, dtype)
    return values.reshape([int(length) for length in shape], order="F" if order == "F" else "C")


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without looking for cycles among millions of new objects, of which none is one."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_SIZES = {b"X": 4, b"B": 4, b"T": 4, b"\x8b": 4, b"\x8c": 1, b"C": 1, b"U": 1, b"\x8a": 1}
_SIZES |= dict.fromkeys((b"\x8d", b"\x8e", b"\x96"), 8)  # operations with a size, and its bytes


def _check_opcodes(data: bytes) -> None:
    """Raise a ValueError or EOFError unless every operation is a common one and is there whole."""
    short, at = _short_operations(len(data)), 0
    while True:
        match = short.match(data, at)
        at = match.end() if match else at
        opcode = data[at : at + 1]
        if opcode == b".":
            return
        if not opcode:
            raise EOFError("it ends too early")
        if opcode not in _SIZES:
            raise ValueError(f"the operation {opcode!r} at byte {at}")
        begin = at + 1 + _SIZES[opcode]
        at = begin + int.from_bytes(data[at + 1 : begin], "little")


def _short_operations(longest: int) -> re.Pattern[bytes]:
    """A pattern for any number of operations that need no count, in the order of their frequency.

    Args:
        longest: the file's bytes; no object may have a number with more digits (to the base 256,
            as to the base 10).
    """
    digits = longest.to_bytes(4, "little").rstrip(b"\0") or b"\0"
    number = b"." * (len(digits) - 1) + b"[\0-" + re.escape(digits[-1:]) + b"]"
    operations = (
        rb"G.{8}",
        rb"[]()}QNRabdelosu012\x81\x88\x89\x8f-\x94]++",
        rb"[Khq\x80].",
        _strings(b"X", 4),
        _strings(b"\x8c", 1),
        _strings(b"U", 1),
        rb"M..|[Jj].{4}|\x95.{8}|[ILFSVPg][^\n]*+\n|[ci][^\n]*+\n[^\n]*+\n",
        # Tuples, but not a hundred in each other: Python's hash of such a key overflows its stack.
        rb"[t\x85-\x87](?!(?:(?:q.|r.{4}|\x94)?+[t\x85-\x87]){100})",
        b"r" + number + b"\0" * (4 - len(digits)),
        rb"p\d{1,%d}\n" % len(str(longest)),
    )
    return re.compile(b"(?:" + b"|".join(operations) + b")*+", re.DOTALL)


def _strings(opcode: bytes, size: int) -> bytes:
    """A pattern for strings of up to 40 bytes, the keys of dictionaries."""
    lengths = (re.escape(i.to_bytes(size, "little")) + b".{%d}" % i for i in range(41))
    return re.escape(opcode) + b"(?:" + b"|".join(lengths) + b")"
