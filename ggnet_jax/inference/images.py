"""Images in any form -> RGB arrays -> the network's input. NumPy and Pillow only."""

import os
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ggnet_jax.inference import geometry, image_files
from ggnet_jax.inference.image_files import MAX_PIXELS

_STRIP = 1 << 22  # pixels that are converted at a time
_CACHED = 1 << 16  # numbers of an image that are warped at a time

ImageLike = str | os.PathLike | bytes | Image.Image | np.ndarray

CHANNELS = ("rgb", "bgr")
"""Orders of an array's channels; OpenCV's is the second."""


def is_image(value: Any) -> bool:
    """Whether a value is one image, rather than a list of them."""
    if _is_array(value):
        return value.ndim != 4 and value.dtype != object
    return isinstance(value, str | os.PathLike | bytes | bytearray | Image.Image)


def check_images(value: Any) -> None:
    """Raise a TypeError unless a value may be a list of images: a file that is open may not."""
    if isinstance(value, Mapping | memoryview) or hasattr(value, "read"):
        raise _no_image(value)
    if not (isinstance(value, Iterable) or _is_array(value)):
        raise _no_image(value)


def load_image(
    source: ImageLike, *, max_pixels: int = MAX_PIXELS, channels: str = "rgb"
) -> np.ndarray:
    """Read an image in any form as RGB uint8 [H, W, 3], upright.

    Gray, palette, CMYK, 16-bit and float images are converted; transparency is dropped.

    Args:
        source: a path, the bytes of a file, a Pillow image, or an array [H, W, 3], [H, W, 1] or
            [H, W], or [H, W, 4] whose last channel is dropped: uint8, or floats in [0, 1], which
            are rounded to 256 levels.
        max_pixels: width times height of the largest file that is decoded.
        channels: the order of an array's, "rgb" or "bgr"; files and Pillow images know theirs.

    Raises:
        UserError: the file is missing, not an image, too large or broken; the message names it.
        TypeError: nothing that an image comes as.
        ValueError: an array that is not an image, or an unknown order.
    """
    if channels not in CHANNELS:
        raise ValueError(f"channels is {channels!r}; it can be {' or '.join(map(repr, CHANNELS))}")
    if _is_array(source):
        return _from_array(np.asarray(source), channels)
    if isinstance(source, Image.Image):
        with image_files.decoding("Pillow image"):
            return turn(rgb_pixels(source), image_files.exif_orientation(source))
    if isinstance(source, bytes | bytearray):
        name = f"image of {len(source)} bytes"
    elif isinstance(source, str | os.PathLike):
        name = os.fspath(source) or "an empty path"
    else:
        raise _no_image(source)
    with image_files.decoding(name, max_pixels), _opened(source) as file:
        image = image_files.open_image(file, name, max_pixels)
        orientation = image_files.exif_orientation(image)
        with image_files.in_turn(image):
            image_files.load(image)
            pixels = rgb_pixels(image)
            del image  # frees its pixels before turning takes memory
            return turn(pixels, orientation)


def _no_image(value: Any) -> TypeError:
    if value is None:
        mend = " (cv2.imread returns it for a file that it cannot read)"
    else:
        mend = "; give what its read() returns" if hasattr(value, "read") else ""
    kind = "None" if value is None else type(value).__name__
    return TypeError(f"an image is a path, bytes, a Pillow image or an array, not {kind}{mend}")


def _opened(source: str | os.PathLike | bytes | bytearray) -> BinaryIO:
    if isinstance(source, bytes | bytearray):
        return BytesIO(source)
    return image_files.open_file(source)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, C] as EXIF's orientation says to show them; from 5 on they become [W, H, C].

    Only pixels are touched: Pillow's own `exif_transpose` also writes the EXIF data anew, which
    fails for some that cameras write.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def rgb_pixels(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image as RGB uint8 [H, W, 3]; transparency is dropped.

    Gray of more than 8 bits, which Pillow's `convert` would clip at 255, is scaled. The image is
    converted strip by strip, which takes no memory but its own and the result's.
    """
    image.load()
    divisor = _gray_divisor(image)
    if image.width * image.height <= _STRIP and divisor is None:
        return _convert(image, divisor)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        pixels[top : top + strip.height] = _convert(strip, divisor)
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """An image in strips of whole rows, each with its first row."""
    rows = max(1, _STRIP // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _convert(strip: Image.Image, divisor: float | None) -> np.ndarray:
    """A part of an image as uint8 [H, W, 3], or [H, W, 1] if it has a divisor."""
    if divisor is not None:
        values = np.nan_to_num(np.asarray(strip, np.float64)).clip(0, 256 * divisor)
        return np.clip(np.round(values / divisor), 0, 255).astype(np.uint8)[..., None]
    if "transparency" in strip.info:  # Pillow would warn, or fail over what it cannot carry over
        strip = strip.copy()
        del strip.info["transparency"]
    if strip.mode == "La":  # gray times its opacity; Pillow has no way from there to RGB
        strip = strip.convert("LA")
    return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _gray_divisor(image: Image.Image) -> float | None:
    """What the values of a gray image of more than 8 bits are divided by to be in [0, 255].

    None for other images. Integers are of 16 bits; those of 32 bits, and floats, whose range no
    format tells, by their largest: floats may be meant in [0, 1], and either for 8, 16 or 32 bits.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return 257.0
    if image.mode not in ("I", "F"):
        return None
    largest = max(_largest(np.asarray(strip)) for _, strip in _strips(image))
    if image.mode == "F" and largest <= 2:  # of 255 it would be black, of 1 it may lie a bit above
        return 1 / 255
    if largest <= 255:
        return 1.0
    return 257.0 if largest <= 65535 else largest / 255


def _largest(values: np.ndarray) -> float:
    return float(np.max(values, initial=0, where=np.isfinite(values)))


def _is_array(value: Any) -> bool:
    """Whether a value is an array: NumPy's, JAX's or another library's that NumPy can read."""
    return hasattr(value, "__array__") and hasattr(value, "ndim") and hasattr(value, "dtype")


def _from_array(array: np.ndarray, channels: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        first = array.ndim == 3 and array.shape[0] in (1, 3)
        mend = "; put its channels last, array.transpose(1, 2, 0)" if first else ""
        raise ValueError(f"an image array must be [H, W, 3], not {array.shape}{mend}")
    array = array[..., :3]  # without transparency
    if array.dtype != np.uint8:
        array = _levels(array)
    if channels == "bgr":
        array = array[..., ::-1]
    return np.broadcast_to(array, (*array.shape[:2], 3))


def _levels(array: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as uint8; what rounding left a little outside is let pass."""
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"an image array must be uint8 in [0, 255] or floats in [0, 1], not {array.dtype}"
        )
    levels = np.rint(array.astype(np.float32) * 255)
    if not ((levels >= 0) & (levels <= 255)).all():  # nor is NaN
        lowest, highest = float(levels.min()) / 255, float(levels.max()) / 255
        if np.isnan(lowest):
            what = "this one has values that are not numbers (NaN)"
        else:
            what = f"this one has values from {lowest:.4g} to {highest:.4g}"
        large = 1 < highest <= 255 and lowest >= 0
        mend = "; divide it by 255" if large else ""
        raise ValueError(f"an image array of {array.dtype} must lie in [0, 1], {what}{mend}")
    return levels.astype(np.uint8)


def letterbox_image(image: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Warp RGB uint8 [h, w, 3] to the network's input [H, W, 3], black around it.

    Bilinear; input pixel (x, y) samples the image exactly at the inverse of
    `geometry.letterbox`, and the image fades to black within a pixel of its border, both as
    `cv2.warpAffine` does, which the released code uses.
    """
    height, width = image.shape[:2]
    inverse = geometry.invert(geometry.letterbox(width, height, input_size))
    # The map has no rotation, so that rows and columns can be sampled one after the other.
    # Pillow's own warp truncates where OpenCV rounds, which makes images darker.
    rows = _neighbors(inverse[1, 1] * np.arange(input_size[0]) + inverse[1, 2], height)
    columns = _neighbors(inverse[0, 0] * np.arange(input_size[1]) + inverse[0, 2], width)
    down, across = _inside(rows), _inside(columns)
    (left, left_weight), (right, right_weight) = (
        (_channels(index[across]), np.repeat(weight[across], 3)) for index, weight in columns
    )
    read = np.concatenate([left, right])
    few = len(read) < 3 * width  # then the others are left out before anything is computed
    warped = np.zeros((*input_size, 3), np.uint8)
    # Few rows at a time, whose numbers stay in a processor's cache.
    step = max(1, _CACHED // max(1, min(len(read), 3 * width)))
    for top in range(down.start, down.stop, step):
        part = slice(top, min(top + step, down.stop))
        sampled: Any = 0
        for index, weight in rows:
            lines = image[index[part]].reshape(part.stop - part.start, -1)
            lines = np.take(lines, read, axis=1, mode="clip") if few else lines
            sampled = sampled + weight[part, None] * lines
        if few:
            first, second = sampled[:, : len(left)], sampled[:, len(left) :]
        else:
            first, second = (np.take(sampled, i, axis=1, mode="clip") for i in (left, right))
        values = left_weight * first + right_weight * second
        warped[part, across] = np.rint(values, out=values).reshape(len(values), -1, 3)
    return warped


def _inside(neighbors: list[tuple[np.ndarray, np.ndarray]]) -> slice:
    """From the first to the last position that has a neighbor in the image."""
    used = np.flatnonzero(sum(weight for _, weight in neighbors))
    return slice(used[0], used[-1] + 1) if used.size else slice(0, 0)


def _channels(pixels: np.ndarray) -> np.ndarray:
    """Where the three channels of pixels [n] of a row lie in that row, [3 n]."""
    return (3 * pixels[:, None] + np.arange(3)).ravel()


def _neighbors(position: np.ndarray, length: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two elements beside each fractional position of an axis, and their linear weights.

    Args:
        position: [n], from 0 to length - 1 inside of the axis.
        length: of the axis.

    Returns:
        Twice an index [n] and a float32 weight [n], 0 for what lies outside.
    """
    lower = np.floor(position)
    found = []
    for index, weight in ((lower, lower + 1 - position), (lower + 1, position - lower)):
        weight = np.where((index >= 0) & (index < length), weight, 0).astype(np.float32)
        found.append((np.clip(index, 0, length - 1).astype(np.intp), weight))
    return found
