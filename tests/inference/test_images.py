"""Every form that an image comes in, and the warp to the network's input."""

import io
import struct
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry
from ggnet_jax.inference.images import is_image, letterbox_image, load_image


def smooth_image(width=90, height=50) -> np.ndarray:
    """Smooth random colors, so that JPEG's loss stays small."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def encoded(array: np.ndarray, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def slow_warp(array: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Bilinear sampling at the inverse of the letterbox, zeros outside, one pixel at a time."""
    height, width = array.shape[:2]
    inverse = geometry.invert(geometry.letterbox(width, height, input_size))
    out = np.zeros((*input_size, 3))
    for v in range(input_size[0]):
        for u in range(input_size[1]):
            x, y = inverse @ (u, v, 1.0)
            left, top = int(np.floor(x)), int(np.floor(y))
            for px, py in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
                if 0 <= px < width and 0 <= py < height:
                    weight = (1 - abs(x - px)) * (1 - abs(y - py))
                    out[v, u] += weight * array[py, px]
    return out


@pytest.mark.parametrize(
    ("size", "input_size"), [((37, 53), (32, 48)), ((20, 9), (64, 64)), ((64, 64), (64, 64))]
)
def test_letterbox_samples_as_the_convention_says(size, input_size):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    warped = letterbox_image(noise, input_size)
    assert warped.shape == (*input_size, 3) and warped.dtype == np.uint8
    np.testing.assert_allclose(warped.astype(float), slow_warp(noise, input_size), atol=1.01)


def test_letterbox_of_the_input_size_changes_nothing():
    noise = np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(letterbox_image(noise, (32, 32)), noise)


def test_letterbox_leaves_black_around_the_image():
    warped = letterbox_image(np.full((20, 40, 3), 255, np.uint8), (64, 64))
    assert not warped[:15].any() and not warped[50:].any()
    assert (warped[20:40, 5:60] == 255).all()


def test_every_form_of_an_image_is_the_same_image(tmp_path):
    array = smooth_image()
    path = tmp_path / "a.png"
    path.write_bytes(encoded(array, "PNG"))
    for source in (array, Image.fromarray(array), str(path), path, path.read_bytes()):
        np.testing.assert_array_equal(load_image(source), array)


def test_exif_rotation_is_applied():
    array = smooth_image()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
    data = encoded(array, "JPEG", exif=exif, quality=98)
    loaded = load_image(data)
    assert loaded.shape == (90, 50, 3)
    difference = np.abs(loaded.astype(int) - np.rot90(array, -1).astype(int))
    assert difference.mean() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_exif_orientation_is_what_pillow_makes_of_it(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth_image(), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(load_image(data), expected)


def test_exif_that_pillow_cannot_write_back_is_no_obstacle():
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0"  # little endian, with two entries: turned, and -5
    exif += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHIi", 0x0100, 9, 1, -5)
    data = encoded(smooth_image(), "JPEG", exif=exif + bytes(4))
    assert load_image(data).shape == (90, 50, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16", "I", "F"])
def test_other_color_modes_become_rgb(mode):
    array = np.repeat(smooth_image()[..., :1], 3, axis=2)
    if mode.startswith("I"):
        values = array[..., 0].astype(np.uint16) * 257
        source = Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
        assert source.mode == mode
    elif mode == "P":
        source = Image.fromarray(array).quantize(128)
    else:
        source = Image.fromarray(array).convert(mode)
    loaded = load_image(source)
    assert loaded.shape == array.shape and loaded.dtype == np.uint8
    if mode != "1":  # black and white, dithered
        assert np.abs(loaded.astype(int) - array.astype(int)).mean() < 4


def test_cmyk_jpeg_is_not_inverted():
    stream = io.BytesIO()
    Image.fromarray(smooth_image()).convert("CMYK").save(stream, "JPEG", quality=95)
    assert np.abs(load_image(stream.getvalue()).astype(int) - smooth_image().astype(int)).mean() < 6


def test_gray_arrays_are_images_too():
    gray = smooth_image()[..., 0]
    np.testing.assert_array_equal(load_image(gray), np.repeat(gray[..., None], 3, axis=2))


def test_what_is_not_an_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.jpg: no such file"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(UserError, match="a folder"):
        load_image(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    with pytest.raises(UserError, match=r"text\.jpg: not an image"):
        load_image(text)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(smooth_image(400, 300), "JPEG")[:2000])
    with pytest.raises(UserError, match=r"broken\.jpg: broken image"):
        load_image(broken)
    with pytest.raises(UserError, match="image of 3 bytes"):
        load_image(b"abc")
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
        load_image(np.zeros((4, 4, 2), np.uint8))
    number: Any = 3
    with pytest.raises(TypeError, match="not int"):
        load_image(number)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_floats_between_0_and_1_are_images(dtype):
    image = smooth_image() & 0xF0 if dtype == "bfloat16" else smooth_image()  # has 8 bits
    given = (image / 255).astype(jnp.dtype(dtype))
    atol = 1 if dtype == "bfloat16" else 0
    np.testing.assert_allclose(load_image(given).astype(int), image, atol=atol)
    # An interpolation leaves values a hair outside.
    white = np.full((4, 4, 3), 1.0005).astype(jnp.dtype(dtype))
    np.testing.assert_array_equal(load_image(white), np.full((4, 4, 3), 255))


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.full((4, 4, 3), 200.0), r"float64 must lie in \[0, 1\].* 200 to 200; divide it by 255"),
        (np.linspace(-1, 1, 48).reshape(4, 4, 3), r"values from -1 to 1$"),
        (np.full((4, 4, 3), np.nan, np.float32), r"not numbers \(NaN\)"),
        (np.full((4, 4, 3), np.inf, np.float32), r"from inf to inf"),
        (np.zeros((4, 4, 3), np.int64), r"uint8 in \[0, 255\] or floats in \[0, 1\], not int64"),
        (np.zeros((4, 4, 3), np.uint16), r"not uint16"),
        (np.zeros((3, 40, 40), np.uint8), r"array\.transpose\(1, 2, 0\)"),
        (np.zeros((0, 40, 3), np.uint8), r"\(0, 40, 3\)"),
        (np.zeros((), np.uint8), r"not \(\)"),
    ],
)
def test_arrays_that_are_no_images_say_why(array, why):
    with pytest.raises(ValueError, match=why):
        load_image(array)


def test_arrays_of_opencv_are_in_bgr():
    image = smooth_image()
    np.testing.assert_array_equal(load_image(image[..., ::-1], channels="bgr"), image)
    opaque = np.dstack([image[..., ::-1], np.full(image.shape[:2], 9, np.uint8)])
    np.testing.assert_array_equal(load_image(opaque, channels="bgr"), image)
    # Files and Pillow images know the order of their own.
    np.testing.assert_array_equal(load_image(Image.fromarray(image), channels="bgr"), image)
    np.testing.assert_array_equal(load_image(encoded(image, "PNG"), channels="bgr"), image)
    with pytest.raises(ValueError, match="channels is 'grb'; it can be 'rgb' or 'bgr'"):
        load_image(image, channels="grb")


def test_arrays_of_other_libraries_are_images():
    image = smooth_image()
    np.testing.assert_array_equal(load_image(jnp.asarray(image)), image)
    assert is_image(jnp.asarray(image)) and not is_image(jnp.asarray(image)[None])


def test_is_image():
    assert is_image("a.jpg") and is_image(b"")
    assert not is_image(["a.jpg"])
    assert not is_image(np.zeros((2, 4, 4, 3), np.uint8))
    mixed = np.empty(2, object)
    mixed[:] = [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]
    assert not is_image(mixed)
