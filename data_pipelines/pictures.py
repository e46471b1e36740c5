"""One picture file -> bytes that TensorFlow is known to decode to RGB, and their size.

A plain RGB or grey JPEG or PNG passes through byte for byte, after one full decode by the very op
that the input pipeline uses. Everything else is converted, or given up, as
`annotations.TREATMENTS` says.
"""

import dataclasses
import io

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from data_pipelines.annotations import Report

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright, 5 to 8 exchange width and height
_JPEG = ("JPEG", "MPO")  # MPO: a camera's JPEG with more pictures behind the first


@dataclasses.dataclass(frozen=True)
class Picture:
    """An encoded picture (JPEG or PNG) and its size in pixels as TensorFlow decodes it."""

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
) -> Picture | None:
    """Make a picture file fit for training; None (and a finding) where nothing can be read.

    Args:
      data: the file's bytes.
      name: what the findings call it.
      report: takes the findings.
      annotated: (width, height) as the annotation gives it. It decides whether an EXIF rotation
        is applied, and a picture of the same shape is resized to it.
      upright: what to do with an EXIF rotation where `annotated` does not tell.
    """
    try:
        image = Image.open(io.BytesIO(data))
        orientation = image.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        report.add("picture_unreadable", name)
        return None
    turn = orientation in range(2, 9) and _turn(image.size, orientation, annotated, upright)
    if orientation in range(2, 9):
        report.add("picture_rotated" if turn else "picture_not_turned", name)
    size = image.size[::-1] if turn and orientation >= 5 else image.size
    resize = annotated is not None and annotated != size and _same_shape(size, annotated)
    if annotated is not None and annotated != size:
        kind = "picture_resized" if resize else "size_mismatch"
        report.add(kind, f"{name}: {size[0]} x {size[1]}, annotated {annotated}")

    jpeg = image.format in _JPEG
    plain = (jpeg or image.format == "PNG") and image.mode in ("RGB", "L")
    if plain and not turn and not resize:
        whole = _decodes(data, jpeg)
        if whole and image.mode == "L":
            report.add("picture_grey", name)
        if whole:
            return Picture(data, *size)
    rgb = _to_rgb(image, data, name, report)
    if rgb is None:
        return None
    if turn:
        rgb.getexif()[_ORIENTATION] = orientation
        rgb = ImageOps.exif_transpose(rgb)
    if resize:
        rgb = rgb.resize(annotated, Image.Resampling.BICUBIC)
    return Picture(_encode(rgb, jpeg), *rgb.size)


def _turn(
    stored: tuple[int, int], orientation: int, annotated: tuple[int, int] | None, upright: bool
) -> bool:
    """Whether to apply the EXIF orientation: the annotated size knows best, then the source."""
    turned = stored[::-1] if orientation >= 5 else stored
    if annotated is None or stored == turned or annotated not in (stored, turned):
        return upright
    return annotated == turned


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, but for the rounding of the shorter side."""
    ratio = max(size) / max(other)
    return all(abs(a - b * ratio) <= max(1.0, ratio) for a, b in zip(size, other, strict=True))


def _decodes(data: bytes, jpeg: bool) -> bool:
    try:
        (tf.io.decode_jpeg if jpeg else tf.io.decode_png)(data, channels=3)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def _to_rgb(image: Image.Image, data: bytes, name: str, report: Report) -> Image.Image | None:
    """The pixels as an RGB picture without EXIF; what a broken JPEG still has, or None."""
    mode = image.mode
    try:
        image.load()
    except (OSError, ValueError, SyntaxError):
        try:
            pixels = tf.io.decode_jpeg(data, channels=3, try_recover_truncated=True).numpy()
        except tf.errors.InvalidArgumentError:
            report.add("picture_unreadable", name)
            return None
        report.add("picture_truncated", name)
        return Image.fromarray(pixels)
    if mode == "CMYK":
        report.add("picture_cmyk", name)
    elif mode == "L":
        report.add("picture_grey", name)
    elif mode != "RGB" or image.format not in (*_JPEG, "PNG"):
        report.add("picture_converted", name)
    if mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip, not scale
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    rgb = image.convert("RGB")
    return Image.fromarray(np.asarray(rgb))  # leaves EXIF and other baggage behind


def _encode(image: Image.Image, jpeg: bool) -> bytes:
    buffer = io.BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=95)
    else:
        image.save(buffer, "PNG")
    return buffer.getvalue()
