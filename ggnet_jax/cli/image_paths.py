"""Which images and videos --mode=predict takes, and what their drawings are called."""

import collections
import glob
import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files

VIDEO_ENDINGS = frozenset(
    {
        ".3g2", ".3gp", ".asf", ".avi", ".divx", ".flv", ".h264", ".h265", ".hevc", ".m2ts",
        ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob",
        ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""The endings, in lower case, of the files that are taken for videos."""
# How files of the usual containers begin: MP4 but not its images, Matroska, AVI, FLV, Ogg, MPEG.
_CONTAINER = re.compile(
    rb"....ftyp(?!avi|hei|hev|mif|msf|jxl)|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|OggS"
    rb"|\0\0\x01[\xba\xb3]|G.{187}G",
    re.DOTALL,
)
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+://")
EXPLAINED = "_explained"
_LONGEST = 200  # bytes of a name, to which endings are added; file systems take 255


def find_images(images: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """The files that a list of files, folders and globs names, without repetition.

    A folder is searched for files with the endings of images; what it has besides is said on
    stderr. A file that is named is tried whatever its ending. One that does not exist stays in the
    list, so that it is reported with the broken ones.

    Raises:
        UserError: nothing is left, a folder or glob has no image, or an address is given.
    """
    found: dict[Path, None] = {}
    for text in _items(images):
        found.update(dict.fromkeys(_find(text, image_files.endings())))
    if not found:
        raise UserError("no images given; use --images=FILE, FOLDER or a quoted GLOB")
    return list(found)


@dataclass(frozen=True)
class VideoSource:
    """A video that was named: a file, a folder of frames (which has `frames`) or a camera."""

    name: str
    path: Path | None = None
    frames: bool = False
    camera: int | None = None


def find_sources(
    images: str | os.PathLike | Iterable[str | os.PathLike], *, frames: bool = False
) -> tuple[list[Path], list[VideoSource]]:
    """`find_images` that tells videos apart, and `camera:0`.

    Endings tell, and how a file begins whose ending says nothing. A folder is searched for images,
    and for videos if it has none.

    Args:
        images: files, folders, globs and cameras.
        frames: folders hold the frames of a video.

    Returns:
        Images and videos, without repetition.

    Raises:
        UserError: nothing is left, a folder or glob has nothing, or an address is given.
    """
    found: dict[Path, None] = {}
    videos: dict[VideoSource, None] = {}
    for text in _items(images):
        if re.fullmatch(r"camera:\d{1,6}", text) and not os.path.lexists(text):
            videos[VideoSource(text, camera=int(text.partition(":")[2]))] = None
        elif text.startswith("camera:") and not os.path.lexists(text):
            raise UserError(f"{text}: cameras are called by numbers, camera:0 is the first")
        elif frames and os.path.isdir(text):
            videos[VideoSource(text, Path(text), frames=True)] = None
        else:
            for path in _find(text, image_files.endings(), VIDEO_ENDINGS):
                if _is_video(path):
                    videos[VideoSource(str(path), path)] = None
                else:
                    found[path] = None
    if not found and not videos:
        raise UserError("no images given; use --images=FILE, FOLDER or a quoted GLOB")
    if frames and not any(video.frames for video in videos):
        raise UserError("--fps says how fast the frames in a folder follow; --images has no folder")
    return list(found), list(videos)


def _is_video(path: Path) -> bool:
    ending = path.suffix.lower()
    if ending in VIDEO_ENDINGS or ending in image_files.endings():
        return ending in VIDEO_ENDINGS
    try:
        with image_files.open_file(path) as file:
            return _CONTAINER.match(file.read(200)) is not None
    except (OSError, ValueError, UserError):  # whoever reads it says so
        return False


def _items(images: str | os.PathLike | Iterable[str | os.PathLike]) -> Iterator[str]:
    """What was named, one by one."""
    if isinstance(images, os.PathLike):
        images = [images]
    elif isinstance(images, str):
        # A comma may be part of a name: take the string whole where that is a file.
        images = [images] if os.path.lexists(images) else images.split(",")
    for item in images:
        text = os.path.expanduser(os.fspath(item).strip())
        if text:
            yield text


def _find(text: str, *endings: Collection[str]) -> list[Path]:
    """The files that a path or a glob names; of a folder those with the first endings it has."""
    if os.path.isdir(text):
        some = next(filter(None, (_in_folder(Path(text), some) for some in endings)), [])
    elif _ADDRESS.match(text) and not os.path.lexists(text):
        raise UserError(f"{text} is an address; name a file on this machine")
    elif os.path.lexists(text) or not glob.has_magic(text):
        some = [Path(text)]
    else:
        some = _matching(text)
    if not some:
        what = "image or video" if VIDEO_ENDINGS in endings else "image"
        listed = ", ".join(sorted(image_files.endings()))
        raise UserError(f"{text}: no {what} there (endings of images: {listed})")
    return some


def _in_folder(folder: Path, endings: Collection[str]) -> list[Path]:
    """The files of a folder with an ending, by name; says what else there is."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
    images, others = [], collections.Counter()
    for entry in entries:
        if entry.name.startswith("."):  # as `._photo.jpg`, which macOS puts beside a photo
            continue
        if entry.is_dir():
            others["folder"] += 1
        elif entry.suffix.lower() in endings:
            images.append(entry)
        else:
            others[entry.suffix or "without an ending"] += 1
    if images and others:
        listed = ", ".join(f"{number} {what}" for what, number in others.most_common(8))
        listed = re.sub(r"([2-9]|\d\d) folder", r"\1 folders", listed)
        more = ", ..." if len(others) > 8 else ""
        what = "videos" if endings is VIDEO_ENDINGS else "images"
        print(
            f"{folder}: {len(images)} {what}; not taken: {listed}{more} (name a file to try it)",
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
