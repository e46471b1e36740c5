"""JSON files, packed or not, one entry after the other."""

import gzip
import itertools
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError

Source = str | Path | Iterable[Mapping[str, Any]]
Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done (0 to 1)."""

_LIST = re.compile(r"\s*\[\s*(\]\s*)?")
_NEXT = re.compile(r"\s*([,\]])\s*")
_MEMBER = re.compile(r"\s*[{,]\s*")
_COLON = re.compile(r"\s*:\s*")
_END = re.compile(r"\s*\}\s*$")
_INSTANCES = {  # what is used of COCO's; the outlines, most of the file, are not kept
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore"),
}
_decode = json.JSONDecoder().raw_decode


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
    if not _LIST.match(text):
        raise UserError(f"{source}: {what} must be a JSON list with one entry for each picture")
    try:
        at = yield from _items(text, 0, what, progress)
        if at != len(text):
            raise json.JSONDecodeError("Extra data", text, at)
    except json.JSONDecodeError as error:
        raise UserError(f"{source} is not JSON: {error}") from None


def load_instances(source: Any, progress: Progress | None = None) -> Any:
    """COCO's instances without outlines: {"images": [...], "annotations": [...]}.

    COCO's own files have hundreds of megabytes; as Python objects they would take gigabytes.

    Args:
      source: a `.json` or `.json.gz` path; anything else is handed back as it is.
      progress: told how far the reading is.

    Raises:
      UserError: the file is missing, no JSON, or not COCO's.
    """
    if not isinstance(source, str | Path):
        return source
    text = read_text(source)
    if not text.lstrip().startswith("{"):
        raise UserError(f"{source} holds no COCO instances: it is no JSON object")
    content: dict[str, list[dict[str, Any]]] = {}
    try:
        at = 0
        while not _END.match(text, at):
            at = _expect(_MEMBER, text, at, "Expecting an object's next member")
            key, at = _decode(text, at)
            at = _expect(_COLON, text, at, "Expecting ':'")
            if key not in _INSTANCES or not _LIST.match(text, at):
                _, at = _decode(text, at)
                continue
            fields, content[key] = _INSTANCES[key], []
            items = _items(text, at, "instances", progress)
            while True:
                try:
                    item = next(items)
                except StopIteration as stop:
                    at = stop.value
                    break
                content[key].append({field: item[field] for field in fields if field in item})
    except json.JSONDecodeError as error:
        raise UserError(f"{source} is not JSON: {error}") from None
    except TypeError as error:
        raise UserError(f"{source} holds no COCO instances: {error}") from None
    missing = [key for key in _INSTANCES if key not in content]
    if missing:
        raise UserError(f"{source} holds no COCO instances: it has no list {missing[0]!r}")
    return content


def _items(text: str, at: int, what: str, progress: Progress | None) -> Generator[Any, None, int]:
    """Yield the items of the JSON list at a position; returns the position behind it."""
    start = _LIST.match(text, at)
    at, more = start.end(), not start[1]
    for count in itertools.count():
        if not more:
            return at
        item, at = _decode(text, at)
        yield item
        link = _NEXT.match(text, at)
        if not link:
            raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
        at, more = link.end(), link[1] == ","
        if progress and count % 256 == 0:
            progress(f"reading {what}", at / len(text))


def _expect(pattern: re.Pattern[str], text: str, at: int, what: str) -> int:
    """The position behind a token that must come next."""
    match = pattern.match(text, at)
    if not match:
        raise json.JSONDecodeError(what, text, at)
    return match.end()
