"""Images in any form -> RGB arrays -> the network's input. NumPy and Pillow only."""

import io
import os
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry

_TURNS = {  # EXIF's orientation -> what shows the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

ImageLike = str | os.PathLike | bytes | Image.Image | np.ndarray


def is_image(value: Any) -> bool:
    """Whether a value is one image, rather than a list of them."""
    if isinstance(value, np.ndarray):
        return value.ndim != 4
    return isinstance(value, str | os.PathLike | bytes | bytearray | Image.Image)


def load_image(source: ImageLike) -> np.ndarray:
    """Read an image in any form as RGB uint8 [H, W, 3], upright.

    Gray, palette, CMYK and 16-bit images are converted; transparency is dropped.

    Args:
        source: a path, the bytes of a file, a Pillow image, or an array uint8 [H, W, 3] in RGB
            order, [H, W, 1] or [H, W].

    Raises:
        UserError: the file is missing, not an image, or broken; the message names it.
        TypeError: nothing that an image comes as.
        ValueError: an array that is not an image.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    if isinstance(source, bytes | bytearray):
        name, file = f"image of {len(source)} bytes", io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        name, file = os.fspath(source), source
    else:
        raise TypeError(
            f"an image is a path, bytes, a Pillow image or a uint8 array, not "
            f"{type(source).__name__}"
        )
    try:
        with Image.open(file) as image:
            return _from_pillow(image)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: a folder, not an image") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not an image that Pillow can read") from error
    # Decoders of the many formats fail in many ways on broken files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: broken image ({error})") from error


def exif_orientation(image: Image.Image) -> int:
    """How a Pillow image is to be turned, 1 (not at all) to 8 as EXIF counts; see `turn`."""
    if image.format == "TIFF":  # Pillow turns it while it decodes it
        return 1
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in _TURNS else 1


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The image as EXIF's orientation says to show it; from 5 on width and height change places.

    Only pixels are touched: Pillow's own `exif_transpose` also writes the EXIF data anew, which
    fails for some that cameras write.
    """
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a Pillow image to RGB, 8 bits a channel; transparency is dropped.

    Gray of 16 bits, 32 bits or floats, which Pillow's `convert` would clip at 255, is scaled.
    Floats up to 255 are taken for 8 bits, everything else for 16.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, np.float64)
        if image.mode != "F" or values.max(initial=0) > 255:
            values = values / 257.0
        image = Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    return image.convert("RGB")


def _from_pillow(image: Image.Image) -> np.ndarray:
    return np.asarray(turn(to_rgb(image), exif_orientation(image)))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ValueError(
            f"an image array must be uint8 in [0, 255], not {array.dtype}; for floats in [0, 1] "
            "use np.round(255 * array).astype(np.uint8)"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ValueError(f"an image array must be [H, W, 3] in RGB order, not {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3))


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
    rows = _sample(image, inverse[1, 1] * np.arange(input_size[0]) + inverse[1, 2], axis=0)
    warped = _sample(rows, inverse[0, 0] * np.arange(input_size[1]) + inverse[0, 2], axis=1)
    return np.rint(warped).astype(np.uint8)


def _sample(values: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    """Read an axis of length n at fractional positions, linearly, zero outside; float32."""
    length = values.shape[axis]
    lower = np.floor(position)
    sampled = np.float32(0)
    for index, weight in ((lower, lower + 1 - position), (lower + 1, position - lower)):
        weight = np.where((index >= 0) & (index < length), weight, 0).astype(np.float32)
        weight = weight.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        nearest = np.clip(index, 0, length - 1).astype(np.intp)
        sampled = sampled + weight * np.take(values, nearest, axis)
    return sampled
