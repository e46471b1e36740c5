"""Files: the JSON reader, the atomic write and the JSON-lines log of the whole project.

Standard library only, so that the evaluators can use it. Whatever is wrong with a file that a
person gave becomes one `UserError`, which names the file and the place in it.
"""

import codecs
import contextlib
import gzip
import itertools
import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from ggnet_jax.errors import UserError
from ggnet_jax.file_kinds import kind_of

DRAFT = ".unfinished"
"""Suffix of a file that is being written; it is renamed when it is whole."""

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 24
# Annotations shrink to a fifth or a twentieth; what grows by more than this, and is large, is made
# to fill the memory.
_RATIO, _UNPACKED = 200, 1 << 28
_MARKS = (  # in this order: UTF-32's mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINES = re.compile(r"\s*\{[^\n]*\}[ \t\r]*\n\s*\{")
_SPACE = re.compile(r"[ \t\n\r]*")
_REST_OF_LINE = re.compile(r"[ \t\r]*(?:\n|\Z)")
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"?'
_CONSTANT = re.compile(rf"{_STRING}|(?P<found>-?Infinity|NaN)", re.DOTALL)
_BRACKET = re.compile(rf"{_STRING}|(?P<found>[\[{{\]}}])", re.DOTALL)


def read_text(path: str | Path) -> str:
    """The text of a file, unpacked if its first bytes are gzip's.

    UTF-8 with or without a byte order mark, UTF-16, or UTF-32 with one.

    Raises:
        UserError: the file cannot be read or unpacked, or its text is encoded otherwise.
    """
    data = read_bytes(path)
    encoding = _encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        kind = kind_of(data)
        line = data.count(b"\n", 0, error.start) + 1
        what = f" but {kind}" if kind else ""
        raise UserError(
            f"cannot read {path}: it is not {encoding.upper()} text{what} ({error.reason} at byte "
            f"{error.start}, line {line}); save it as {'JSON' if kind else 'UTF-8'}"
        ) from None


def read_bytes(path: str | Path) -> bytes:
    """The content of a file, unpacked if its first bytes are gzip's.

    Raises:
        UserError: the file cannot be read or unpacked.
    """
    return _unpack(path, _read_bytes(path))


def _read_bytes(path: str | Path) -> bytes:
    """The content of a file (or of a pipe, which a shell may name), but not of a device."""
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            return Path(path).read_bytes()
        reason = "it is a device, not a file"
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        reason = getattr(error, "strerror", None) or error
    raise UserError(f"cannot read {path}: {reason}")


def _unpack(path: str | Path, data: bytes) -> bytes:
    """The content of a gzip file; anything else as it is."""
    if not data.startswith(_GZIP):
        return data
    most = max(_UNPACKED, _RATIO * len(data))
    parts, size = [], 0
    try:
        with gzip.GzipFile(fileobj=BytesIO(data)) as file:
            while part := file.read(_CHUNK):
                parts.append(part)
                size += len(part)
                if size > most:
                    raise UserError(
                        f"cannot read {path}: its {len(data):,} bytes unpack to more than "
                        f"{most:,}; unpack it yourself (gunzip) if that is right"
                    )
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: damaged gzip file ({error})") from None
    return b"".join(parts)


def _encoding(data: bytes) -> str:
    """The Unicode encoding that the first bytes tell."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if 0 not in data[:2]:  # JSON begins with an ASCII character
        return "utf-8"
    wide = "32" if data[:4].count(0) == 3 else "16"
    return f"utf-{wide}-{'be' if data[0] == 0 else 'le'}"


def read_json(path: str | Path, *, allow_nan: bool = False) -> Any:
    """The content of a `.json` file, or the list of the lines of a `.jsonl` file; also packed.

    Args:
        path: of the file; whether it is packed by gzip is seen from its content.
        allow_nan: take NaN, Infinity and -Infinity, which Python writes and JSON does not have.

    Raises:
        UserError: the file cannot be read, or is not JSON.
    """
    reader = JsonReader(path, allow_nan=allow_nan)
    if _has_lines(path):
        return list(reader.lines())
    value = reader.value()
    reader.end()
    return value


def iterate_json(
    path: str | Path,
    what: str,
    *,
    allow_nan: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Any]:
    """The entries of a JSON list or of a `.jsonl` file, one after the other.

    Args:
        path: of the file; whether it is packed by gzip is seen from its content.
        what: the entries are, for messages.
        allow_nan: see `read_json`.
        progress: called now and then with how much has been read, 0 to 1.

    Raises:
        UserError: the file cannot be read, is not JSON, or is not a list.
    """
    reader = JsonReader(path, allow_nan=allow_nan)
    if not _has_lines(path) and reader.peek() != "[":
        raise UserError(f"{path}: {what} must be a JSON list{reader.instead()}")
    entries = reader.lines() if _has_lines(path) else reader.items()
    for count, entry in enumerate(entries):
        yield entry
        if progress and count % 256 == 0:
            progress(reader.fraction)
    reader.end()


class JsonReader:
    """The text of a JSON file, decoded piece by piece.

    A large file thus never has to stand in memory as Python objects. Every method goes on where
    the last one stopped and raises a `UserError` with line and column for what is not JSON.
    """

    def __init__(self, path: str | Path, *, allow_nan: bool = False):
        """Read the text of a file; see `read_json` for the arguments."""
        self._path = path
        self._text = read_text(path)
        self._end = 0  # of the last value
        self._at = self._skip(0)  # of what comes next
        self._decode = json.JSONDecoder(parse_constant=None if allow_nan else _refuse).raw_decode

    @property
    def fraction(self) -> float:
        """How much of the text has been read, 0 to 1."""
        return self._at / max(1, len(self._text))

    def peek(self) -> str:
        """The next character: "[" of a list, "{" of an object, "" at the end."""
        return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """The whole value that comes next."""
        try:
            value, self._end = self._decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._fail(error.msg, error.pos)
        except _ConstantError as error:
            self._fail(f"{error} is not a JSON number", self._find(_CONSTANT))
        except RecursionError:
            self._fail("nested too deeply", self._deepest())
        except ValueError:  # Python does not read whole numbers of that many digits
            limit = sys.get_int_max_str_digits()
            digits = re.compile(rf"{_STRING}|(?P<found>\d{{{limit + 1},}})", re.DOTALL)
            self._fail(f"a number of more than {limit} digits", self._find(digits))
        self._at = self._skip(self._end)
        return value

    def items(self) -> Iterator[Any]:
        """The items of the list that comes next."""
        self._expect("[")
        more = not self._accept("]")
        while more:
            yield self.value()
            more = not self._accept("]")
            if more:
                self._expect(",", "',' or ']'")

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; take each one's value before the next key."""
        self._expect("{")
        more = not self._accept("}")
        while more:
            if self.peek() != '"':
                self._fail("Expecting a key in double quotes", self._at)
            key = self.value()
            self._expect(":")
            yield key
            more = not self._accept("}")
            if more:
                self._expect(",", "',' or '}'")

    def lines(self) -> Iterator[Any]:
        """The values of a JSON-lines file."""
        while self.peek():
            value = self.value()
            if not _REST_OF_LINE.match(self._text, self._end):
                self._fail("Expecting the end of the line", self._end)
            yield value

    def instead(self) -> str:
        """What comes next where something else was expected, for a message."""
        kind = kind_of(self._text[:300].encode())
        if kind or not self._text.strip():
            return f"; it is {kind or 'empty'}"
        if _LINES.match(self._text):
            return "; these are JSON lines: name the file .jsonl"
        first = next(self.members(), None) if self.peek() == "{" else None
        return "" if first is None else f", not an object that begins with the key {first!r:.60}"

    def end(self) -> None:
        """See that nothing follows."""
        if self.peek():
            self._fail("Extra data", self._at)

    def _skip(self, at: int) -> int:
        """The position of the next character that is not white space."""
        space = _SPACE.match(self._text, at)
        return space.end() if space else at

    def _accept(self, token: str) -> bool:
        """Step over a character if it comes next."""
        found = self.peek() == token
        if found:
            self._at = self._skip(self._at + 1)
        return found

    def _expect(self, token: str, what: str | None = None) -> None:
        """Step over a character that must come next."""
        if not self._accept(token):
            self._fail(f"Expecting {what or repr(token)}", self._at)

    def _find(self, pattern: re.Pattern[str]) -> int:
        """Where a pattern's group `found` first matches outside of strings."""
        matches = pattern.finditer(self._text, self._at)
        return next((m.start() for m in matches if m["found"]), self._at)

    def _deepest(self) -> int:
        """Where the most brackets are open."""
        depth, deepest, place = 0, 0, self._at
        for match in _BRACKET.finditer(self._text, self._at):
            if match["found"]:
                depth += 1 if match["found"] in "[{" else -1
                if depth > deepest:
                    deepest, place = depth, match.start()
        return place

    def _fail(self, message: str, at: int) -> NoReturn:
        place = json.JSONDecodeError(message, self._text, at)  # finds line and column
        kind = kind_of(self._text[:300].encode())
        what = f"; it is {kind}" if kind else ""
        raise UserError(f"{self._path} is not JSON: {place}{what}") from None


class _ConstantError(ValueError):
    """A word that Python takes for a number and JSON does not."""


def _refuse(constant: str) -> NoReturn:
    raise _ConstantError(constant)


def _has_lines(path: str | Path) -> bool:
    return Path(path).name.removesuffix(".gz").endswith(".jsonl")


def write_file(path: str | Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file that is at every moment absent, old or new, never half.

    Args:
        path: of the file; its folder exists.
        content: the whole of it, or texts to write one after the other. Text becomes UTF-8.

    Raises:
        UserError: the file cannot be written. No draft is left then, or if `content` fails.
    """
    path = Path(path)
    draft = path.with_name(path.name + DRAFT)
    chunks = [content] if isinstance(content, str | bytes) else content
    try:
        with open(draft, "wb") as file:
            for chunk in chunks:
                file.write(
                    chunk.encode("utf-8", "backslashreplace") if isinstance(chunk, str) else chunk
                )
        os.replace(draft, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_json(path: str | Path, value: Any, *, depth: int | None = None) -> None:
    """Write JSON as `write_file` does, indented.

    Args:
        path: of the file; its folder exists.
        value: of JSON's types.
        depth: for so many levels every member has a line of its own; None for all levels.

    Raises:
        UserError: the file cannot be written.
    """
    deepest = sys.maxsize if depth is None else depth
    write_file(path, itertools.chain(_format(value, deepest, "\n"), "\n"))


def _format(value: Any, depth: int, newline: str) -> Iterator[str]:
    """JSON in pieces; `newline` ends with the indentation of the value itself."""
    if depth < 1 or not value or not isinstance(value, Mapping | list | tuple):
        yield json.dumps(value)
        return
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    members = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    before = opening
    for key, item in members:
        yield f"{before}{newline} "
        if key is not None:
            yield f"{json.dumps(str(key))}: "
        yield from _format(item, depth - 1, newline + " ")
        before = ","
    yield f"{newline}{closing}"


def read_log(path: str | Path) -> Iterator[Any]:
    """The entries of a log that has one JSON value a line, as this project writes them.

    A line that is not JSON is passed over, and so is a last one without its end: a process that is
    killed leaves its line cut off anywhere.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, "rb") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if line.endswith(b"\n"):
                    yield entry
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def write_log(path: str | Path, entries: Iterable[Any]) -> None:
    """Write a log anew, a line for each entry; see `write_file`."""
    write_file(path, (json.dumps(entry) + "\n" for entry in entries))


def repair_log(path: str | Path) -> None:
    """Cut off the last line of a log if its writer was killed inside of it; then append to it."""
    path = Path(path)
    if path.exists():
        data = path.read_bytes()
        os.truncate(path, data.rfind(b"\n") + 1)
