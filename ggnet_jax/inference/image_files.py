"""The one reader of image files, for training, evaluation and detection alike.

What a stranger's file can do to the reader is bounded here: only the formats of `FORMATS` are tried
(Pillow's others start Ghostscript, or fetch parts from elsewhere), only regular files are opened, a
size is checked before there are pixels, and whatever a decoder raises becomes one `UserError`.
"""

import contextlib
import functools
import importlib
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ggnet_jax.errors import UserError
from ggnet_jax.file_kinds import kind_of

MAX_PIXELS = 100_000_000
"""Width times height of the largest image that is read unless the caller says otherwise."""

# HEIF: only where pillow-heif is installed.
FORMATS = (
    "JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "JPEG2000", "GIF", "BMP", "DIB", "TIFF", "PPM",
)  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ITEM = re.compile(rb"(infe.{8}|infe.{10})Exif", re.DOTALL)  # AVIF's entry of what EXIF is
_BYTES_PER_PIXEL = 8  # no file that is read has more: four channels of 16 bits, not compressed
_LARGE = 1 << 24  # pixels; a camera's 16 megapixels are not
_SPARE_BYTES = 1 << 26  # for what isn't pixels: profiles, thumbnails, further images

# Pillow's limit of pixels and Python's filters of warnings belong to the whole process.
_LOCK = threading.RLock()
_TURN = threading.Lock()


def open_file(path: str | os.PathLike) -> BinaryIO:
    """A regular file, opened to read.

    Raises:
        UserError: a pipe, a socket or a device, which could be read without end.
        OSError: there is no such file, it cannot be read, or it is a folder.
    """
    flags = os.O_RDONLY
    for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):  # a pipe must not block
        flags |= getattr(os, flag, 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # what was opened, not what has its name now
        return file
    file.close()
    raise UserError(f"{os.fspath(path)}: a pipe or a device, not an image")


def read_file(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> bytes:
    """The content of a file that may hold an image of up to so many pixels.

    Raises:
        UserError: not a regular file, or larger than any such image.
        OSError: there is no such file, or it cannot be read.
    """
    with open_file(path) as file:
        _check_length(file, os.fspath(path), max_pixels)
        return file.read()


@contextlib.contextmanager
def decoding(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Around opening and decoding: whatever is raised becomes a `UserError` that names the image.

    Decoders of the many formats fail on broken files in more ways than they document.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: a folder, not an image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"\d+", str(error))
        what = f"{int(number[0]):,} pixels" if number else "more pixels than Pillow reads"
        raise UserError(_too_large(name, what, max_pixels)) from error
    except Exception as error:
        what = "broken image" if _is_of_content(error) else "cannot be read"
        raise UserError(f"{name}: {what} ({_reason(error)})") from error


def open_image(file: BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image: its header is read, its pixels are not yet. Call it within `decoding`.

    Args:
        file: opened to read.
        name: what messages call it.
        max_pixels: width times height of the largest image that is opened.

    Raises:
        UserError: too large.
        Exception: anything that Pillow raises.
    """
    _check_length(file, name, max_pixels)
    try:
        with _header_limits(max_pixels):
            image = _open(file)
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: {_what_instead(file)}") from error
    if isinstance(image, TiffImageFile):
        image.load_end = functools.partial(_turn_tiff, image)
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(_too_large(name, f"{width * height:,} pixels", max_pixels))
    return image


def load(image: Image.Image) -> None:
    """Decode an image that `open_image` opened."""
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        # Pillow would warn, or refuse what the caller allows. Few are so large; one at a time.
        with _header_limits(image.width * image.height):
            image.load()
    else:
        image.load()


def in_turn(image: Image.Image) -> contextlib.AbstractContextManager:
    """Around decoding: threads that read large images do so one after the other, for memory."""
    large = image.width * image.height > _LARGE
    return _TURN if large else contextlib.nullcontext()


def exif_orientation(image: Image.Image) -> int:
    """How a Pillow image is to be turned, 1 (not at all) to 8 as EXIF counts.

    EXIF data that cannot be read turns nothing.
    """
    # Pillow turns a TIFF while it decodes it.
    return 1 if image.format == "TIFF" else _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        with _header_limits(MAX_PIXELS):
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(orientation) if orientation in range(1, 9) else 1
    except Exception:
        return 1


def _turn_tiff(image: Image.Image) -> None:
    """What Pillow does when it has decoded a TIFF, without reading all EXIF data for it."""
    method = _TURNS.get(_orientation(image))
    if method is not None:
        image.im = image.im.transpose(method)
        image._size = image.im.size


@functools.cache
def endings() -> frozenset[str]:
    """The endings, in lower case, of the files that can be read."""
    readable = set(_formats())
    known = Image.registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in readable)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads."""
    Image.init()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _header_limits(max_pixels: int) -> Iterator[None]:
    """No warnings, and Pillow's own limit set so that it refuses above `max_pixels`.

    Pillow warns above its limit and refuses above twice that. Some of its plugins (WebP) check it
    before they take the memory, which a check of ours would come too late for.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max(1, -(-max_pixels // 2))
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _open(file: BinaryIO) -> Image.Image:
    """Open by Pillow, trying the formats that we read and it has."""
    formats = _formats()
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError:
        raise
    except Exception:
        file.seek(0)
        if file.read(12)[4:8] != b"ftyp" or "AVIF" not in formats:
            raise
        # To open AVIF, Pillow writes its EXIF data anew where the container's own turn differs, and
        # fails for some that cameras write. Nobody needs the data: the container's turn counts.
        file.seek(0)
        return Image.open(BytesIO(_EXIF_ITEM.sub(rb"\1none", file.read())), formats=["AVIF"])


def _check_length(file: BinaryIO, name: str, max_pixels: int) -> None:
    file.seek(0, os.SEEK_END)
    length = file.tell()
    file.seek(0)
    if length > _BYTES_PER_PIXEL * max_pixels + _SPARE_BYTES:
        raise UserError(
            f"{name}: {length:,} bytes, more than an image of {max_pixels:,} pixels can have"
        )


def _too_large(name: str, what: str, max_pixels: int) -> str:
    return (
        f"{name}: too large ({what}; max_pixels is {max_pixels:,}, set it higher to read the image)"
    )


def _is_of_content(error: Exception) -> bool:
    """Whether an exception is about what a file holds, rather than about getting at it."""
    return not (isinstance(error, MemoryError) or getattr(error, "errno", None))


def _reason(error: BaseException) -> str:
    """What an exception says, on one line, with its kind where that says more than the words."""
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if said and isinstance(error, OSError | ValueError | SyntaxError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _what_instead(file: BinaryIO) -> str:
    """What a file is that is no image to Pillow."""
    file.seek(0)
    start = file.read(300)
    kind = kind_of(start) if start else "an empty file"
    if kind and not kind.endswith("image"):
        return f"not an image but {kind}"
    if (
        start[4:8] == b"ftyp"
        and start[8:11] in (b"hei", b"hev", b"mif")
        and "HEIF" not in _formats()
    ):
        return "not an image that can be read without the package pillow-heif (HEIF)"
    names = ", ".join(name for name in _formats() if name not in ("MPO", "DIB"))
    return f"not an image of a format that is read ({names}), or broken"
