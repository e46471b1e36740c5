"""Cell arrays of matrices in MATLAB's .mat files, versions 6 and 7, read with NumPy alone.

HICO-DET's detections are 600 x 9,658 cells, nearly all of them empty. A general reader takes
minutes for them; this one steps over runs of empty cells at once.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ggnet_jax.errors import UserError

HDF5 = b"MATLAB 7.3 MAT-file"

_MATRIX, _COMPRESSED = 14, 15
_CELLS = 1  # class of an array
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_CLASSES = {4: "char", 5: "sparse", 2: "struct", 3: "object", 16: "function"}
_NUMBERS = range(6, 16)  # classes of numbers
_COMPLEX = 0x800
_UNPACKED, _RATIO = 1 << 28, 200  # more than that, and more than so many times the file, is a trap


class _DamagedError(Exception):
    """What is wrong with a file."""


Cells = tuple[tuple[int, int], np.ndarray, list[np.ndarray]]


def read_cells(path: str | Path, data: bytes, name: str) -> Cells:
    """The cells of an array of cells that are not empty.

    Args:
        path: of the file, for messages.
        data: its content.
        name: of the array in it.

    Returns:
        The array's (rows, columns); [k, 2] row and column of each cell, column after column; k
        matrices of numbers.

    Raises:
        UserError: the file is damaged, of another version, or has no such array of cells.
    """
    if data.startswith(HDF5):
        raise UserError(
            f"{path} is a MATLAB 7.3 file (HDF5), which is not read; save it with -v7 in MATLAB, "
            "or with scipy.io.savemat"
        )
    try:
        return _read_cells(data, name)
    except _DamagedError as error:
        raise UserError(f"{path}: {error}") from None
    except (struct.error, ValueError, TypeError, zlib.error, MemoryError, OverflowError) as error:
        raise UserError(f"{path} is a damaged .mat file ({error!s:.80}); write it again") from None


def _read_cells(data: bytes, name: str) -> Cells:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise _DamagedError("damaged .mat file (its header gives no byte order); write it again")
    names = []
    for variable in _variables(data, order):
        reader = _Reader(variable, order)
        kind, shape, found, at = reader.header(0, len(variable))
        names.append(found)
        if found != name:
            continue
        if kind != _CELLS or len(shape) != 2:
            raise _DamagedError(f"{name!r} is not a cell array with two dimensions")
        places, matrices = reader.cells(at, shape[0] * shape[1])
        index = np.array(places, np.int64).reshape(-1)
        rows = max(1, shape[0])
        return (shape[0], shape[1]), np.column_stack([index % rows, index // rows]), matrices
    there = ", ".join(map(repr, names[:8])) or "nothing"
    raise _DamagedError(f"the .mat file has no array {name!r} (it has {there:.160})")


def _variables(data: bytes, order: str) -> Iterator[bytes]:
    """The content of each variable, unpacked."""
    at = 128
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        content = data[at + 8 : at + 8 + size]
        if len(content) < size:
            raise _DamagedError("the .mat file ends too early; write it again")
        at += 8 + size
        if kind == _COMPRESSED:
            unpacking = zlib.decompressobj()
            content = unpacking.decompress(content, max(_UNPACKED, _RATIO * size))
            if unpacking.unconsumed_tail or not unpacking.eof:
                raise _DamagedError("the .mat file is packed too tightly, or ends too early")
            kind, size = struct.unpack_from(f"{order}II", content)
            content = content[8 : 8 + size]
        if kind == _MATRIX:
            yield content


class _Reader:
    """One variable's bytes."""

    def __init__(self, data: bytes, order: str):
        self._data, self._order = data, order
        self._tag = struct.Struct(f"{order}II")
        self._usual = struct.Struct(f"{order}12I")
        self._floats = {7: np.dtype(f"{order}f4"), 9: np.dtype(f"{order}f8")}

    def header(self, at: int, end: int) -> tuple[int, tuple[int, ...], str, int]:
        """Class, shape and name of the array whose content begins there, and where these end."""
        flags, at = self._element(at, end)
        shape, at = self._element(at, end)
        name, at = self._element(at, end)
        if len(flags) < 1 or (shape < 0).any():
            raise ValueError("a header without a class or with a negative shape")
        kind = int(flags[0])
        if kind & _COMPLEX:
            raise ValueError("complex numbers")
        return kind & 0xFF, tuple(shape.tolist()), name.tobytes().decode("latin1"), at

    def cells(self, at: int, number: int) -> tuple[list[int], list[np.ndarray]]:
        """The number in the array and the content of each cell that is not empty."""
        places, matrices, place = [], [], 0
        empties, length = re.compile(b"(?!)"), 1  # a run of empty cells, and the bytes of one
        while place < number:
            if run := empties.match(self._data, at):
                count = min(number - place, (run.end() - at) // length)
                place, at = place + count, at + count * length
                continue
            kind, size = self._tag.unpack_from(self._data, at)
            end = at + 8 + size
            if kind != _MATRIX or end > len(self._data):
                raise ValueError(f"cell {place} is no matrix")
            matrix = self._matrix(at + 8, end) if size else np.empty((0, 0))
            if matrix.size:
                places.append(place)
                matrices.append(matrix)
                place, at = place + 1, end
            else:
                empty, length = self._data[at:end], end - at
                empties = re.compile(b"(?:%b)++" % re.escape(empty), re.DOTALL)
        return places, matrices

    def _matrix(self, at: int, end: int) -> np.ndarray:
        """The numbers of the cell whose content lies there."""
        if end - at > 48:  # the usual order of a header, without a name, and floats
            *head, kind, size = self._usual.unpack_from(self._data, at)
            rows, columns = head[6:8]
            dtype = self._floats.get(kind)
            usual = (*head[:2], *head[4:6], *head[8:]) == (6, 8, 5, 8, 1, 0)
            if usual and head[2] in _NUMBERS and dtype and size == dtype.itemsize * rows * columns:
                if at + 48 + size <= end:
                    values = np.frombuffer(self._data, dtype, rows * columns, at + 48)
                    return values.reshape(columns, rows).T
        kind, shape, _, at = self.header(at, end)
        if kind not in _NUMBERS:
            raise ValueError(f"a cell holds {_CLASSES.get(kind, 'cells')}, not numbers")
        values, _ = self._element(at, end)
        return values.reshape(shape, order="F")

    def _element(self, at: int, end: int) -> tuple[np.ndarray, int]:
        """The numbers of the element that begins there, and where the next one does."""
        kind, size = self._tag.unpack_from(self._data, at)
        begin, after = at + 8, at + 8 + (size + 7) // 8 * 8
        if kind >> 16:  # up to four bytes lie in the tag itself
            kind, size, begin, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        if kind not in _STORED or begin + size > end or size > after - begin:
            raise ValueError("an element of an unknown kind or beyond its array")
        dtype = np.dtype(self._order + _STORED[kind])
        if size % dtype.itemsize:
            raise ValueError("an element with a fraction of a number")
        return np.frombuffer(self._data, dtype, size // dtype.itemsize, begin), after
