"""Image files: found in folders, read, and remembered, so that a change can be noticed later.

What is remembered of a file is its size and the time of its last change, which 40,000 files can be
asked for in a fraction of a second.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.inference.image_files import open_file, read_file

_Stamp = tuple[int, int]  # size in bytes, time of the last change in nanoseconds
_NEVER = (-1, -1)  # could not be read


def _plain(name: str) -> str:
    """A name without folders and ending, in one case and one form of Unicode."""
    stem = os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0]
    return unicodedata.normalize("NFC", stem).casefold()


class OutsideError(PermissionError):
    """A file name leads out of the image folder."""


class ImageFolders:
    """The folders that are searched for the images of an annotation file.

    Attributes:
        folders: their paths, searched in this order.
    """

    def __init__(
        self,
        folders: Sequence[str],
        names: Callable[[str], Sequence[str]] = lambda name: (name,),
        *,
        allow_outside: bool = False,
    ):
        """Search folders for images.

        Args:
            folders: searched in this order.
            names: gives what the file of an image may be called, best first.
            allow_outside: also take files that an absolute path or `..` in a name leads to.
                (A symbolic link in a folder was put there by the folder's owner and is followed.)
        """
        self.folders = tuple(folders)
        self._names = names
        self._roots = None if allow_outside else [os.path.realpath(f) for f in folders]
        self._stamps: dict[str, _Stamp] = {}

    def read(self, name: str) -> bytes:
        """The bytes of an image; threads may call it.

        Raises:
            FileNotFoundError: there is no such file.
            OutsideError: the file is outside of the folders.
            OSError: it cannot be read, or is not a regular file.
            ValueError: no file can have that name, or it is larger than any image.
        """
        self._stamps[name] = _NEVER
        path = self._find(name)
        status = os.stat(path)  # before it is read: a change since then will be noticed
        data = read_file(path)
        self._stamps[name] = status.st_size, status.st_mtime_ns
        return data

    def check_any(self, names: Iterable[str], where: str, hint: str) -> None:
        """Raise a UserError unless at least one image can be opened.

        Args:
            names: of the images.
            where: they are named.
            hint: where people get them, or ''.
        """
        number, first, outside = 0, "-", 0
        for name in names:
            try:
                open_file(self._find(name)).close()
                return
            except OutsideError:
                outside += 1
            except (OSError, ValueError):
                pass
            first = first if number else name
            number += 1
        shown = first if first.isprintable() and len(first) <= 200 else repr(first[:200])
        message = f"none of the {number} images of {where}, the first is {shown}, is in "
        message += f"{', '.join(self.folders)}. {hint}"
        if (similar := self._similar(first)) and not outside:
            message += (
                f"{similar!r} is there: folder, letters, case and ending of a name must be those "
                "of the file"
            )
        if outside:
            message += (
                f"{outside} lie outside of it, by an absolute path or '..' in their names; "
                "config.data.allow_outside_images=True takes them"
            )
        raise UserError(message.rstrip())

    def _similar(self, name: str) -> str | None:
        """A file in the folders whose name only looks different from an image's."""
        wanted = _plain(name)
        for folder in self.folders:
            with suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    if file.name != name and _plain(file.name) == wanted:
                        return file.name
        return None

    def record(self) -> dict[str, Any]:
        """What `changes` needs to know of the images that were read, ready for JSON."""
        names = sorted(self._stamps)
        return {
            "names": names,
            "sizes": [self._stamps[name][0] for name in names],
            "times": [self._stamps[name][1] for name in names],
        }

    def changes(self, record: Mapping[str, Any]) -> list[str]:
        """What is different from a record, a line for each image.

        Nothing is where all the images that were read are gone: what was made of them stands on its
        own then.
        """
        found, there = [], False
        for name, *before in zip(record["names"], record["sizes"], record["times"], strict=True):
            if tuple(before) == _NEVER:
                with suppress(OSError, ValueError):
                    open_file(self._find(name)).close()
                    found.append(f"{name} can be read now")
                    there = True
                continue
            now = self._stamp(name)
            there = there or now is not None
            if now is None:
                found.append(f"{name} is gone")
            elif now != tuple(before):
                found.append(f"{name} changed")
        return found if there else []

    def _candidates(self, name: str) -> Iterable[str]:
        return (os.path.join(f, n) for f in self.folders for n in self._names(name))

    def _stamp(self, name: str) -> _Stamp | None:
        """Of the first plain file that the image may be."""
        for path in self._candidates(name):
            try:
                status = os.stat(path)
            except (OSError, ValueError):
                continue
            if stat.S_ISREG(status.st_mode):
                return status.st_size, status.st_mtime_ns
        return None

    def _find(self, name: str) -> str:
        """The first candidate that is a regular file inside the folders; raises as `read`."""
        refused: Exception | None = None
        for path in self._candidates(name):
            try:
                if not stat.S_ISREG(os.stat(path).st_mode):
                    raise OSError("not a regular file")
                if not self._is_inside(name, path):
                    raise OutsideError(f"{path} is outside of the image folder")
                return path
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                refused = refused or error
        if refused is None:
            refused = FileNotFoundError(2, "No such file", next(iter(self._candidates(name))))
        raise refused

    def _is_inside(self, name: str, path: str) -> bool:
        if self._roots is None or not (os.path.isabs(name) or ".." in name.split("/")):
            return True
        place = os.path.realpath(path)
        return any(os.path.commonpath((root, place)) == root for root in self._roots)
