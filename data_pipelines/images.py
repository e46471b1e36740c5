"""One image file -> bytes that TensorFlow is known to decode to RGB, and their size.

A plain RGB or gray JPEG or PNG is kept byte for byte, once the op that the input pipeline uses has
decoded it. Everything else is converted or dropped, as `report.KINDS` says.
"""

import dataclasses
import io

import numpy as np
import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from data_pipelines.report import Report
from ggnet_jax.inference.images import exif_orientation, to_rgb, turn

_JPEG = ("JPEG", "MPO")  # MPO: a camera's JPEG with more images behind the first


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
) -> EncodedImage | None:
    """Make an image file fit for training; None (and a finding) where nothing can be read.

    Args:
        data: the file's bytes.
        name: what the findings call it.
        report: takes the findings.
        annotated: (width, height) as the annotation gives it. It decides whether an EXIF rotation
            is applied, and an image of the same shape is resized to it.
        upright: what to do with an EXIF rotation where `annotated` does not tell.
    """
    try:
        image = Image.open(io.BytesIO(data))
        orientation = exif_orientation(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        report.add("image_unreadable", name)
        return None
    turned = orientation != 1 and _is_annotated_turned(image.size, orientation, annotated, upright)
    if orientation != 1:
        report.add("image_rotated" if turned else "image_not_turned", name)
    size = _turned_size(image.size, orientation) if turned else image.size
    resized = None
    if annotated is not None and annotated != size:
        resized = annotated if _is_same_shape(size, annotated) else None
        kind = "image_resized" if resized else "size_mismatch"
        report.add(kind, f"{name}: {size[0]} x {size[1]}, annotated {annotated}")

    jpeg = image.format in _JPEG
    plain = (jpeg or image.format == "PNG") and image.mode in ("RGB", "L")
    if plain and not turned and not resized and _decodes(data, jpeg):
        if image.mode == "L":
            report.add("image_gray", name)
        return EncodedImage(data, *size)
    rgb = _decode(image, data, name, report)
    if rgb is None:
        return None
    if turned:
        rgb = turn(rgb, orientation)
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
    ratio = max(size) / max(other)
    return all(abs(a - b * ratio) <= max(1.0, ratio) for a, b in zip(size, other, strict=True))


def _decodes(data: bytes, jpeg: bool) -> bool:
    try:
        (tf.io.decode_jpeg if jpeg else tf.io.decode_png)(data, channels=3)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _decode(image: Image.Image, data: bytes, name: str, report: Report) -> Image.Image | None:
    """The pixels as an RGB image without EXIF; what a broken JPEG still has, or None."""
    mode = image.mode
    try:
        image.load()
    except (OSError, ValueError, SyntaxError):
        try:
            pixels = tf.io.decode_jpeg(data, channels=3, try_recover_truncated=True).numpy()
        except tf.errors.InvalidArgumentError:
            report.add("image_unreadable", name)
            return None
        report.add("image_truncated", name)
        return Image.fromarray(pixels)
    if mode == "CMYK":
        report.add("image_cmyk", name)
    elif mode == "L":
        report.add("image_gray", name)
    elif mode != "RGB" or image.format not in (*_JPEG, "PNG"):
        report.add("image_converted", name)
    return Image.fromarray(np.asarray(to_rgb(image)))  # leaves EXIF and other baggage behind


def _encode(image: Image.Image, jpeg: bool) -> bytes:
    buffer = io.BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=95)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
