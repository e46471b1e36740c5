"""A program of its own: HICO-DET's `anno_bbox.mat` -> a line of JSON for each image.

    python mat_reader.py anno_bbox.mat bbox_train

SciPy trusts a MATLAB file and can crash on a damaged one, or ask for any amount of memory. In a
process with limits neither harms who asked. The last line is {"images": number}, or {"error": why}.
Needs NumPy and SciPy alone.
"""

import json
import resource
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

_MEMORY = 16 << 30  # bytes of address space; a file of HICO-DET's size takes a fifth of it
_HEADER = 128
_COMPRESSED = 15  # the type of a compressed element


class _DamageError(Exception):
    """What is wrong with the file."""


def check_checksums(path: str) -> None:
    """Raise a _DamageError for a compressed part that is damaged; SciPy doesn't look."""
    data = memoryview(Path(path).read_bytes())
    order = {b"IM": "<", b"MI": ">"}.get(bytes(data[126:128]))
    if order is None:
        return  # another version of the format
    at = _HEADER
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            try:
                for start in range(at + 8, min(at + 8 + size, len(data)), 1 << 16):
                    chunk = data[start : min(start + (1 << 16), at + 8 + size)]
                    while chunk:
                        unpacker.decompress(chunk, 1 << 24)
                        chunk = unpacker.unconsumed_tail
            except zlib.error as error:
                raise _DamageError(f"the part at byte {at} is damaged ({error})") from None
            if not unpacker.eof:
                raise _DamageError(f"the part at byte {at} is cut short")
        at += 8 + size
    if at > len(data):
        raise _DamageError("the file is cut short")


def images(path: str, variable: str) -> Iterator[dict[str, Any]]:
    """The images of a split, as plain numbers and lists; None for what is not a number."""
    content = scipy.io.loadmat(
        path, squeeze_me=True, struct_as_record=False, variable_names=[variable]
    )
    if variable not in content:
        raise _DamageError(f"it has no {variable}; is it HICO-DET's anno_bbox.mat?")
    for index, image in enumerate(np.atleast_1d(content[variable])):
        where = f"{variable}({index + 1})"
        size = _field(image, "size", where)
        name = _field(image, "filename", where)
        yield {
            "filename": str(name) if isinstance(name, str) else None,
            "width": _number(_field(size, "width", where)),
            "height": _number(_field(size, "height", where)),
            "hoi": [_hoi(hoi, where) for hoi in np.atleast_1d(_field(image, "hoi", where))],
        }


def _hoi(hoi: Any, where: str) -> dict[str, Any]:
    pairs = np.ravel(_field(hoi, "connection", where))
    if len(pairs) % 2:
        raise _DamageError(f"{where} has a connection that is not pairs of indices")
    return {
        "id": _number(_field(hoi, "id", where)),
        "people": _boxes(_field(hoi, "bboxhuman", where), where),
        "objects": _boxes(_field(hoi, "bboxobject", where), where),
        "pairs": [[_number(a), _number(b)] for a, b in pairs.reshape(-1, 2)],
    }


def _boxes(structs: Any, where: str) -> list[list[int | float | None]]:
    """(x1, y1, x2, y2) of each box; the file's field order is x1, x2, y1, y2."""
    keys = ("x1", "y1", "x2", "y2")
    return [[_number(_field(box, k, where)) for k in keys] for box in np.atleast_1d(structs)]


def _field(owner: Any, name: str, where: str) -> Any:
    if name not in getattr(owner, "_fieldnames", ()):
        raise _DamageError(f"{where} lacks the field {name!r}")
    return getattr(owner, name)


def _number(value: Any) -> int | float | None:
    if not isinstance(value, int | float | np.integer | np.floating):
        return None
    number = float(value)
    return int(number) if number.is_integer() else number


def main(path: str, variable: str) -> int:
    """Print the images; 1 if the file could not be read."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    count = 0
    try:
        check_checksums(path)
        for image in images(path, variable):
            print(json.dumps(image))
            count += 1
    except MemoryError:
        return _fail(f"reading it takes more than {_MEMORY >> 30} GiB of memory")
    except _DamageError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(error.strerror or str(error))
    except Exception as error:  # SciPy fails on damaged files in more ways than it documents
        return _fail(f"{type(error).__name__}: {error}")
    print(json.dumps({"images": count}))
    return 0


def _fail(why: str) -> int:
    print(json.dumps({"error": " ".join(why.split())}))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
