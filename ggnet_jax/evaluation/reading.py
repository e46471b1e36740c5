"""JSON files, packed or not, one entry after the other."""

import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError

Source = str | Path | Iterable[Mapping[str, Any]]
Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done (0 to 1)."""

_START = re.compile(r"\s*\[\s*(\]\s*)?")
_NEXT = re.compile(r"\s*([,\]])\s*")


def read_text(path: str | Path) -> str:
    """The text of a file, unpacked if it is gzip's.

    Raises:
      UserError: there is no such file, or it is no text.
    """
    try:
        data = Path(path).read_bytes()
        return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def load_json(source: Any) -> Any:
    """The content of a `.json` or `.json.gz` file; anything but a path is handed back as it is.

    Raises:
      UserError: there is no such file, or it is not JSON.
    """
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(read_text(source))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{source} is not JSON: {error}") from None


def iterate(source: Source, what: str, progress: Progress | None = None) -> Iterator[Any]:
    """The entries of a JSON list, one after the other.

    Args:
      source: a `.json` or `.json.gz` path, or entries already read.
      what: "predictions" or the like, for messages.
      progress: told how far the reading is.

    Raises:
      UserError: the file is missing, no JSON, or no list.
    """
    if isinstance(source, Mapping):
        raise UserError(f"{what} must be a list with one entry for each picture, not an object")
    if not isinstance(source, str | Path):
        yield from source
        return
    text = read_text(source)
    start = _START.match(text)
    if not start:
        raise UserError(f"{source}: {what} must be a JSON list with one entry for each picture")
    at, more = start.end(), not start[1]
    decode = json.JSONDecoder().raw_decode
    try:
        for count in itertools.count():
            if not more:
                break
            entry, at = decode(text, at)
            yield entry
            link = _NEXT.match(text, at)
            if not link:
                raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
            at, more = link.end(), link[1] == ","
            if progress and count % 256 == 0:
                progress(f"reading {what}", at / len(text))
        if at != len(text):
            raise json.JSONDecodeError("Extra data", text, at)
    except json.JSONDecodeError as error:
        raise UserError(f"{source} is not JSON: {error}") from None
