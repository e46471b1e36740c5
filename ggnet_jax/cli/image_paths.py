"""Which images --mode=predict takes, and what their drawings are called."""

import collections
import glob
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files

EXPLAINED = "_explained"
_LONGEST = 200  # bytes of a name, to which endings are added; file systems take 255


def find_images(images: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """The files that a list of files, folders and globs names, without repetition.

    A folder is searched for files with the endings of images; what it has besides is said on
    stderr. A file that is named is tried whatever its ending. One that does not exist stays in the
    list, so that it is reported with the broken ones.

    Raises:
        UserError: nothing is left, or a folder or glob has no image.
    """
    if isinstance(images, os.PathLike):
        images = [images]
    elif isinstance(images, str):
        # A comma may be part of a name: take the string whole where that is a file.
        images = [images] if os.path.lexists(images) else images.split(",")
    found: dict[Path, None] = {}
    for item in images:
        text = os.path.expanduser(os.fspath(item).strip())
        if not text:
            continue
        if os.path.isdir(text):
            some = _in_folder(Path(text))
        elif os.path.lexists(text) or not glob.has_magic(text):
            some = [Path(text)]
        else:
            some = _matching(text)
        if not some:
            raise UserError(f"{text}: no image there ({', '.join(sorted(image_files.endings()))})")
        found.update(dict.fromkeys(some))
    if not found:
        raise UserError("no images given; use --images=FILE, FOLDER or a quoted GLOB")
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    """The images of a folder by name; says what else there is."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
    images, others = [], collections.Counter()
    for entry in entries:
        if entry.is_dir():
            others["folder"] += 1
        elif entry.suffix.lower() in image_files.endings():
            images.append(entry)
        elif not entry.name.startswith("."):
            others[entry.suffix or "without an ending"] += 1
    if images and others:
        listed = ", ".join(f"{number} {what}" for what, number in others.most_common(8))
        listed = re.sub(r"([2-9]|\d\d) folder", r"\1 folders", listed)
        more = ", ..." if len(others) > 8 else ""
        print(
            f"{folder}: {len(images)} images; not taken: {listed}{more} (name a file to try it)",
            file=sys.stderr,
        )
    return images


def _matching(pattern: str) -> list[Path]:
    """The files that match a pattern. `**` does not follow links to folders, which may be loops."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return [Path(p) for p in sorted(glob.glob(pattern)) if os.path.isfile(p)]
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root, inside = Path(*parts[:first]), "/".join(parts[first:])
    if inside.endswith("**"):  # files too, not only folders
        inside += "/*"
    try:
        matches = sorted(root.glob(inside))
    except (OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{pattern}: cannot be searched ({error})") from error
    hidden = any(part.startswith(".") for part in parts[first:])
    return [
        path
        for path in matches
        if path.is_file()
        and (hidden or not any(p.startswith(".") for p in path.relative_to(root).parts))
    ]


def drawing_names(paths: Sequence[Path]) -> list[str]:
    """What each image's drawings are called, without ending; of equal ones the later get a number.

    Equal means equal to any file system: some do not tell upper from lower case.
    """
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = os.fsdecode(os.fsencode(path.stem)[:_LONGEST].decode("utf-8", "ignore").encode())
        stem = path.stem if len(os.fsencode(path.stem)) <= _LONGEST else stem
        stem = stem or "image"
        name, number = stem, 2
        while {_key(name), _key(name + EXPLAINED)} & taken:
            name, number = f"{stem}_{number}", number + 1
        taken |= {_key(name), _key(name + EXPLAINED)}
        names.append(name)
    return names


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def check_output(folder: Path, names: Sequence[str], paths: Sequence[Path]) -> None:
    """Raise a UserError if a drawing would replace one of the images."""
    taken = {os.path.realpath(path) for path in paths}
    for name in names:
        for drawing in (folder / f"{name}.png", folder / f"{name}{EXPLAINED}.png"):
            if os.path.realpath(drawing) in taken:
                raise UserError(f"{drawing} would be drawn over; give another folder as --output")
