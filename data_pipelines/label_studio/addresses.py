"""Where the image of a task lies: Label Studio's address of it -> a file in the user's folder.

An address is a file that was uploaded ("/data/upload/1/ab12cd34-photo.jpg": eight digits are put
before the name), one of a local storage ("/data/local-files/?d=photos/photo.jpg"), of a web server
or a bucket ("https://...", "s3://..."). The longest end of its path that is a file in the folder
counts; after that, for uploads, the name without the digits; last, any file in the folder or below
it that is called so, or was before Label Studio replaced the spaces in its name and dropped other
characters (as Django's `get_valid_filename` does).
"""

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_SCHEMES = ("http", "https", "s3", "gs", "azure-blob", "azure_spi", "file", "")


def is_embedded(address: str) -> bool:
    """Whether the address is the image itself, as text."""
    return address.startswith("data:")


def names(address: str) -> tuple[str, ...]:
    """What the image's file may be called relative to the folder, best first."""
    parts = _parts(address)
    if parts[:2] == ["data", "upload"]:
        parts = parts[1:]
    found = ["/".join(parts[first:]) for first in range(len(parts))]
    if parts and "upload" in parts[:-1]:
        found += without_prefix(parts[-1])
    return tuple(dict.fromkeys(found))


def without_prefix(name: str) -> list[str]:
    """The name of an uploaded file before it was uploaded; nothing if it is no such name."""
    folder, slash, last = name.rpartition("/")
    return [folder + slash + _UPLOAD.sub("", last, count=1)] if _UPLOAD.match(last) else []


def _parts(address: str) -> list[str]:
    """The folders and the name of an address, without what leads upwards."""
    text = address.strip()
    if re.match(r"[A-Za-z]:[\\/]", text):  # a path on Windows
        text = text[2:]
    split, path = None, text
    if "://" in text or text.startswith("/data/"):
        with contextlib.suppress(ValueError):  # brackets in the host's place: a name like others
            split = urlsplit(text)
    if split is not None and split.scheme in _SCHEMES:
        path = unquote(split.path)
        if "local-files" in split.path and (given := parse_qs(split.query).get("d")):
            path = given[-1]
    path = path.replace("\\", "/")
    return [part for part in path.split("/") if part not in ("", ".", "..")]


class Finder:
    """Finds the files of addresses in folders.

    Attributes:
        folders: searched in this order.
    """

    def __init__(self, folders: Sequence[str]):
        self.folders = tuple(folders)
        self._below: dict[str, list[str]] | None = None  # stored name -> paths

    def find(self, address: str) -> str | None:
        """The path of the image's file relative to its folder, None if there is none."""
        tried = names(address)
        for name in tried:
            for folder in self.folders:
                if _is_file(os.path.join(folder, name)):
                    return name
        for name in (PurePosixPath(name).name for name in tried):
            found = self._files_below().get(_stored_name(name), [])
            if len(found) == 1:  # of several nobody knows which is meant
                return found[0]
        return None

    def _files_below(self) -> dict[str, list[str]]:
        if self._below is None:
            self._below = {}
            for folder in self.folders:
                for path, _, files in os.walk(folder):
                    for file in files:
                        relative = os.path.relpath(os.path.join(path, file), folder)
                        self._below.setdefault(_stored_name(file), []).append(relative)
        return self._below


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # no file can have that name
        return False


def _stored_name(name: str) -> str:
    """What Label Studio calls a file with this name."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))
