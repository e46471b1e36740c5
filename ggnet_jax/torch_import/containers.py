"""The three kinds of files that hold tensors: PyTorch's zip archives and legacy files, safetensors.

Each reader gives what the file holds, with a `Tensor` for every tensor, and the `Arrays` that turns
these into numbers. Only the numbers that are asked for are read, and those of an archive are
compared with its checksums.
"""

import io
import json
import mmap
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from ggnet_jax.torch_import.tensors import REBUILD, Arrays, Storage, Tensor, storage
from ggnet_jax.torch_import.unpickle import MOST_BYTES, DamagedError, Inert, load

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY_STARTS = tuple(bytes((0x80, version)) for version in range(2, 6))
_ZIP_END, _ZIP64_POINTER = b"PK\x05\x06", b"PK\x06\x07"
_MOST_DIRECTORY = 16 << 20  # bytes of a zip file's list of members; Hourglass-104's has 120 kB
_MOST_HEADER = 16 << 20  # bytes of the JSON in a safetensors file
# Weights hardly compress: packed files of more than this are made to fill the memory.
_MOST_UNPACKED, _MOST_RATIO = 256 << 20, 20
_SAFETENSORS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32",
    "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def open_zip(file: mmap.mmap) -> zipfile.ZipFile | None:
    """Open a zip file; None if this is none, or one without its end.

    Raises:
        DamagedError: its list of members cannot be read.
    """
    end = file.rfind(_ZIP_END, max(0, len(file) - (1 << 16) - 22))
    if end < 0 or len(file) < end + 22:
        return None
    size = int.from_bytes(file[end + 12 : end + 16], "little")
    if end >= 76 and file[end - 20 : end - 16] == _ZIP64_POINTER:  # its record stands before it
        size = int.from_bytes(file[end - 36 : end - 28], "little")
    if size > _MOST_DIRECTORY:
        raise DamagedError("its list of members is longer than that of any checkpoint")
    try:
        archive = zipfile.ZipFile(Window(file))
    except Exception as error:  # zipfile raises what its parser stumbles over
        raise DamagedError("its list of members is garbled") from error
    for info in archive.infolist():
        info.filename = info.filename.replace("\\", "/")  # as some of Windows' packers write it
    return archive


def pickle_name(archive: zipfile.ZipFile) -> str | None:
    """The member that says what an archive of PyTorch's holds, wherever the archive was packed."""
    names = [name for name in archive.namelist() if PurePosixPath(name).name == "data.pkl"]
    return min(names, key=lambda name: name.count("/"), default=None)


def read_zip(file: mmap.mmap, archive: zipfile.ZipFile, pickle: str) -> tuple[Any, Arrays]:
    """Read an archive that `torch.save` made, or that was packed again."""
    members = _Members(file, archive)
    prefix = pickle.removesuffix("data.pkl")
    name = prefix + "byteorder"
    order = bytes(members.read(name)).strip() if name in members else b"little"
    if order not in (b"little", b"big"):
        raise DamagedError("its member 'byteorder' says neither little nor big")
    if members.size(pickle) > MOST_BYTES:
        raise DamagedError("its pickle is longer than that of any checkpoint")
    content = load(bytes(members.read(pickle)), REBUILD, storage)

    def fetch(source: Storage) -> memoryview:
        name = f"{prefix}data/{source.key}"
        if name not in members:
            raise DamagedError(f"its numbers, the member {name[:80]}, are missing")
        data = members.read(name)
        if len(data) < source.nbytes:
            raise DamagedError(f"it needs {source.nbytes} bytes and its member has {len(data)}")
        return data

    return content, Arrays(fetch, "<" if order == b"little" else ">")


class _Members:
    """Members of a zip file, compared with their checksums; those not packed stay on the disk."""

    def __init__(self, file: mmap.mmap, archive: zipfile.ZipFile):
        self._file = file
        self._archive = archive
        self._infos = {info.filename: info for info in archive.infolist()}
        self._counts = Counter(archive.namelist())
        unpacked = sum(info.file_size for info in self._infos.values())
        if unpacked > _MOST_UNPACKED + _MOST_RATIO * len(file):
            raise DamagedError(
                f"it would unpack to {unpacked >> 20} MB from {len(file) >> 20} MB, which no "
                "weights do"
            )
        # torch.serialization.set_crc32_options(False) leaves every checksum at zero.
        self._checked = any(info.CRC for info in self._infos.values())

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def size(self, name: str) -> int:
        return self._infos[name].file_size

    def read(self, name: str) -> memoryview:
        """The bytes of a member."""
        info = self._infos[name]
        if self._counts[name] > 1:
            raise DamagedError(f"it has {self._counts[name]} members {name[:80]!r}")
        try:
            with self._archive.open(info):  # compares the two places that name it
                pass
            if info.compress_type == zipfile.ZIP_STORED:
                data = self._stored(info)
            else:
                data = memoryview(self._archive.read(info))
        except Exception as error:  # as above; BadZipFile for a checksum
            raise DamagedError(f"its member {name[:80]} is damaged") from error
        if len(data) != info.file_size or (self._checked and zlib.crc32(data) != info.CRC):
            raise DamagedError(f"its member {name[:80]} is damaged: the checksum does not fit")
        return data

    def _stored(self, info: zipfile.ZipInfo) -> memoryview:
        header = self._file[info.header_offset : info.header_offset + 30]
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        return memoryview(self._file)[start : start + info.file_size]


class Window(io.RawIOBase):
    """A mapped file as a file object, which reads no more than there is, whatever is declared."""

    def __init__(self, file: mmap.mmap):
        self._file, self._at = file, 0

    def read(self, size: int | None = -1) -> bytes:
        stop = len(self._file) if size is None or size < 0 else self._at + size
        data = self._file[self._at : stop]
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, len(self._file))[whence]
        if self._at < 0:
            raise OSError("before the beginning")
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def is_legacy(file: mmap.mmap) -> bool:
    """Whether a file begins with the pickled number that PyTorch before 1.6 wrote first."""
    if file[:2] not in _LEGACY_STARTS:
        return False
    file.seek(0)
    try:
        return load(file, {}) == _MAGIC
    except Exception:  # some other pickle
        return False


def read_legacy(file: mmap.mmap) -> tuple[Any, Arrays]:
    """Read a file of PyTorch before 1.6: pickles one after the other, then bare numbers.

    It has no checksums. What can be compared is: its own lists of storages, their sizes, its end.
    """
    used: dict[str, Storage] = {}

    def remember(identity: Any) -> Storage:
        source = storage(identity)
        known = used.setdefault(source.key, source)
        if (known.dtype, known.total) != (source.dtype, source.total):
            raise DamagedError(f"it has two sizes for its storage {source.key[:40]!r}")
        return source

    file.seek(0)
    load(file, {})
    if load(file, {}) != _PROTOCOL:
        raise DamagedError("it is of an unknown version of PyTorch's old format")
    load(file, {})  # sizes of C's types on the machine that wrote it; the numbers are little-endian
    content = load(file, REBUILD, remember)
    keys = load(file, {})
    texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not texts or sorted(keys) != sorted(used):
        raise DamagedError("its list of storages is not that of its tensors")
    places, at = {}, file.tell()
    for key in keys:
        count = int.from_bytes(file[at : at + 8], "little")
        if count != used[key].total or at + 8 + used[key].nbytes > len(file):
            raise DamagedError(f"it ends inside of its storage {key[:40]!r}, or before")
        places[key] = at + 8
        at += 8 + used[key].nbytes
    if at != len(file):
        raise DamagedError(f"{len(file) - at} bytes follow its last storage")
    return content, Arrays(lambda source: memoryview(file)[places[source.key] :])


def is_safetensors(file: mmap.mmap) -> bool:
    """Whether a file begins with the length of a JSON header and that header's brace."""
    return len(file) > 9 and file[8:9] == b"{" and 2 <= _header_size(file) <= len(file) - 8


def read_safetensors(file: mmap.mmap) -> tuple[Any, Arrays]:
    """Read a safetensors file: a JSON header of names, types, shapes and places, then numbers."""
    size = _header_size(file)
    if size > _MOST_HEADER:
        raise DamagedError("its header is longer than that of any checkpoint")
    try:
        entries = json.loads(file[8 : 8 + size], object_pairs_hook=_unique)
        entries.pop("__metadata__", None)
        content = {name: _entry(name, entry) for name, entry in entries.items()}
        starts = {name: 8 + size + entry["data_offsets"][0] for name, entry in entries.items()}
        ends = [8 + size + entry["data_offsets"][1] for entry in entries.values()]
    except DamagedError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DamagedError("its header is garbled") from error
    if max(ends, default=8 + size) != len(file):
        raise DamagedError("its numbers do not end where its header says")
    return content, Arrays(lambda source: memoryview(file)[starts[source.key] :])


def _header_size(file: mmap.mmap) -> int:
    return int.from_bytes(file[:8], "little")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise DamagedError("two entries of its header have one name")
    return entries


def _entry(name: str, entry: dict[str, Any]) -> Tensor | Inert:
    dtype, shape = _SAFETENSORS.get(entry["dtype"]), entry["shape"]
    start, end = entry["data_offsets"]
    count, strides = 1, []
    for length in reversed(shape):
        strides.insert(0, count)
        count *= length
        if not isinstance(length, int) or not 0 <= length < 2**60 or len(shape) > 32:
            raise DamagedError(f"its entry {name[:80]!r} has an impossible shape")
    if dtype is None:
        return Inert(f"a tensor of {str(entry['dtype'])[:40]}")
    source = Storage(name, dtype, count, "cpu", 0, count)
    if not isinstance(start, int) or start < 0 or end - start != source.nbytes:
        raise DamagedError(f"its entry {name[:80]!r} has another size than its shape says")
    return Tensor(source, 0, tuple(shape), tuple(strides), dtype)
