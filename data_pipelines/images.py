"""One image file -> bytes that TensorFlow is known to decode to RGB, and their size.

A plain RGB or gray JPEG or PNG is kept byte for byte, once the op that the input pipeline uses has
decoded it. Everything else is converted or dropped, as `report.KINDS` says.
"""

import dataclasses
from io import BytesIO

import tensorflow as tf
from PIL import Image

from data_pipelines.report import Report
from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files
from ggnet_jax.inference.images import rgb_pixels, turn

MAX_PIXELS = 50_000_000
"""Width times height of the largest image that is kept: training holds one in float32."""

_JPEG = ("JPEG", "MPO")  # MPO: a camera's JPEG with more images behind the first
_LARGEST_RESIZE = 32  # times as wide; an annotated size beyond that is a mistake


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """A JPEG or PNG and its size in pixels as TensorFlow decodes it."""

    data: bytes
    width: int
    height: int


def prepare(
    data: bytes,
    *,
    name: str,
    report: Report,
    annotated: tuple[int, int] | None = None,
    upright: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> EncodedImage | None:
    """Make an image file fit for training; None (and a finding) where nothing can be read.

    Args:
        data: the file's bytes.
        name: what the findings call it.
        report: takes the findings.
        annotated: (width, height) as the annotation gives it. It decides whether an EXIF rotation
            is applied, and an image of the same shape is resized to it.
        upright: what to do with an EXIF rotation where `annotated` does not tell.
        max_pixels: width times height of the largest image that is kept.
    """
    try:
        with image_files.decoding(name, max_pixels):
            image = image_files.open_image(BytesIO(data), name, max_pixels)
            orientation = image_files.exif_orientation(image)
    except UserError as error:
        report.add("image_unreadable", str(error))
        return None
    with image_files.in_turn(image):
        return _prepare(
            image, data, orientation, name, report, annotated, upright=upright, limit=max_pixels
        )


def _prepare(
    image: Image.Image,
    data: bytes,
    orientation: int,
    name: str,
    report: Report,
    annotated: tuple[int, int] | None,
    *,
    upright: bool,
    limit: int,
) -> EncodedImage | None:
    """`prepare` of an image whose header is read."""
    turned = orientation != 1 and _is_annotated_turned(image.size, orientation, annotated, upright)
    if orientation != 1:
        report.add("image_rotated" if turned else "image_not_turned", name)
    size = _turned_size(image.size, orientation) if turned else image.size
    resized = None
    if annotated is not None and annotated != size:
        fits = _is_same_shape(size, annotated) and annotated[0] * annotated[1] <= limit
        resized = annotated if fits else None
        kind = "image_resized" if resized else "size_mismatch"
        report.add(kind, f"{name}: {size[0]} x {size[1]}, annotated {annotated}")

    jpeg = image.format in _JPEG
    plain = (jpeg or image.format == "PNG") and image.mode in ("RGB", "L")
    if plain and not turned and not resized and _decoded_size(data, jpeg) == size:
        if image.mode == "L":
            report.add("image_gray", name)
        return EncodedImage(data, *size)
    rgb = _decode(image, data, name, report, orientation if turned else 1)
    if rgb is None:
        return None
    if resized:
        rgb = rgb.resize(resized, Image.Resampling.BICUBIC)
    return EncodedImage(_encode(rgb, jpeg), *rgb.size)


def _turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    width, height = size
    return (height, width) if orientation >= 5 else (width, height)


def _is_annotated_turned(
    stored: tuple[int, int], orientation: int, annotated: tuple[int, int] | None, upright: bool
) -> bool:
    """Whether to apply the EXIF orientation: the annotated size knows best, then the source."""
    turned = _turned_size(stored, orientation)
    if annotated is None or stored == turned or annotated not in (stored, turned):
        return upright
    return annotated == turned


def _is_same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, but for the rounding of the shorter side."""
    if min(other) < 1:
        return False
    ratio = max(size) / max(other)
    if not 1 / _LARGEST_RESIZE <= ratio <= _LARGEST_RESIZE:
        return False
    return all(abs(a - b * ratio) <= max(1.0, ratio) for a, b in zip(size, other, strict=True))


def _decoded_size(data: bytes, jpeg: bool) -> tuple[int, int] | None:
    """(width, height) as TensorFlow decodes a JPEG or PNG; None if it does not."""
    try:
        shape = (tf.io.decode_jpeg if jpeg else tf.io.decode_png)(data, channels=3).shape
    except (tf.errors.OpError, ValueError, MemoryError):
        return None
    return shape[1], shape[0]


def _decode(
    image: Image.Image, data: bytes, name: str, report: Report, orientation: int
) -> Image.Image | None:
    """The pixels, turned, as an RGB image without EXIF; what a broken JPEG still has, or None."""
    mode = image.mode
    try:
        with image_files.decoding(name):
            image_files.load(image)
            pixels = rgb_pixels(image)
    except UserError as error:
        try:
            pixels = tf.io.decode_jpeg(data, channels=3, try_recover_truncated=True).numpy()
        except tf.errors.OpError:
            report.add("image_unreadable", str(error))
            return None
        report.add("image_truncated", name)
        return Image.fromarray(turn(pixels, orientation))
    if mode == "CMYK":
        report.add("image_cmyk", name)
    elif mode == "L":
        report.add("image_gray", name)
    elif mode != "RGB" or image.format not in (*_JPEG, "PNG"):
        report.add("image_converted", name)
    return Image.fromarray(turn(pixels, orientation))


def _encode(image: Image.Image, jpeg: bool) -> bytes:
    buffer = BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=95)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
