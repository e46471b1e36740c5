"""The record that lies in every checkpoint: what it is of, and a checksum of each of its files.

`record.json` is written before the checkpoint gets its name. A disk that flips a bit, a copy that
was cut off and a folder that was renamed are noticed when the checkpoint is read; Orbax by itself
notices a third of the flipped bits. A checkpoint of an older revision has no record.

CRC-32 finds every change of up to 32 neighboring bits, and of all others all but one in four
billion. It is no guard against somebody who wants to deceive.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ggnet_jax import io

RECORD = "record.json"
_CHUNK = 1 << 22


class DamagedError(ValueError):
    """A checkpoint is not what its record says; the message says why, without its name."""


def write(place: Path, about: Mapping[str, Any]) -> None:
    """Record what lies in the folder of a checkpoint.

    Args:
        place: the folder.
        about: what else to record, of JSON's types.
    """
    names = sorted(
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.is_file() and path.name != RECORD
    )
    with ThreadPoolExecutor() as pool:
        files = dict(zip(names, pool.map(lambda name: _sum(place / name), names), strict=True))
    content = {**about, "files": files}
    io.write_json(place / RECORD, {**content, "checksum": _of(content)}, depth=2)
    with open(place / RECORD, "rb") as file:  # as Orbax does with its files
        os.fsync(file.fileno())


def read(place: Path) -> dict[str, Any] | None:
    """The record of a checkpoint, without its own checksum; None where there is none.

    Raises:
        DamagedError: the record itself is damaged.
    """
    path = place / RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        checksum = content.pop("checksum")
        whole = checksum == _of(content) and isinstance(content["files"], dict)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise DamagedError(f"{RECORD} is damaged")
    return content


def check(
    place: Path, record: Mapping[str, Any], wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Compare the files of a checkpoint with its record.

    Args:
        place: the folder.
        record: from `read`.
        wanted: which files, by their path below the folder.

    Raises:
        DamagedError: a file is missing or is not what was written.
        OSError: a file cannot be read.
    """
    names = [name for name in record["files"] if wanted(name)]
    for name in names:  # what is missing or cut off is known without reading anything
        path, size = place / name, record["files"][name][0]
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != size:
            raise DamagedError(f"{name} has {path.stat().st_size} bytes, {size} were written")
    with ThreadPoolExecutor() as pool:
        for name, found in zip(names, pool.map(lambda n: _sum(place / n), names), strict=True):
            if found != list(record["files"][name]):
                raise DamagedError(f"{name} is damaged: its checksum is another one")


def _sum(path: Path) -> list[int]:
    """[bytes, CRC-32] of a file."""
    size = total = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size, total = size + len(chunk), zlib.crc32(chunk, total)
    return [size, total]


def _of(content: Mapping[str, Any]) -> int:
    """Checksum of a record's content, however it is written down."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
