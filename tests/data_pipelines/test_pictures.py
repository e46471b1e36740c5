"""Every kind of broken or odd picture file, made with Pillow, and what becomes of it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_pipelines import pictures
from data_pipelines.annotations import Report

WIDTH, HEIGHT = 40, 24


def smooth(mode="RGB"):
    """A picture whose four corners differ, smooth enough for JPEG to keep."""
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    pixels = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated_by_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(smooth(), exif=exif, quality=95)


def prepare(data, **options):
    report = Report()
    picture = pictures.prepare(data, name="a.jpg", report=report, **options)
    if picture is not None:  # the size is always that of what TensorFlow decodes
        shape = tf.io.decode_image(picture.data, channels=3).shape
        assert tuple(shape) == (picture.height, picture.width, 3)
    return picture, dict(report.counts)


def pixels(picture):
    return tf.io.decode_image(picture.data, channels=3).numpy().astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_plain_picture_passes_byte_for_byte(kind):
    data = encoded(smooth(), kind)
    picture, found = prepare(data, annotated=(WIDTH, HEIGHT))
    assert picture == pictures.Picture(data, WIDTH, HEIGHT)
    assert not found


def test_grey_passes_and_is_counted():
    data = encoded(smooth("L"))
    picture, found = prepare(data)
    assert picture.data == data and found == {"picture_grey": 1}
    assert np.ptp(pixels(picture), axis=-1).max() == 0


def test_cmyk_becomes_rgb():
    picture, found = prepare(encoded(smooth("CMYK"), quality=95))
    assert found == {"picture_cmyk": 1}
    np.testing.assert_allclose(pixels(picture), np.asarray(smooth()), atol=12)


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "PNG"), ("RGBA", "PNG"), ("RGB", "BMP"), ("P", "GIF")]
)
def test_other_formats_become_rgb(mode, kind):
    picture, found = prepare(encoded(smooth(mode), kind))
    assert found == {"picture_converted": 1}
    expected = np.asarray(smooth(mode).convert("RGB")).astype(int)
    np.testing.assert_allclose(pixels(picture), expected, atol=1)


def test_sixteen_bits_are_scaled_not_clipped():
    grey = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
    picture, found = prepare(encoded(Image.fromarray(grey), "PNG"))
    assert found == {"picture_converted": 1}
    np.testing.assert_array_equal(pixels(picture)[..., 0], grey >> 8)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", encoded(smooth())[:40], encoded(smooth(), "PNG")[:80]]
)
def test_what_cannot_be_read_is_given_up(data):
    picture, found = prepare(data)
    assert picture is None and found == {"picture_unreadable": 1}


def test_a_truncated_jpeg_keeps_what_is_there():
    large = smooth().resize((400, 240))
    data = encoded(large, quality=95)
    picture, found = prepare(data[: len(data) // 2])
    assert found == {"picture_truncated": 1}
    assert (picture.width, picture.height) == (400, 240)
    np.testing.assert_allclose(pixels(picture)[:40], np.asarray(large)[:40], atol=12)


@pytest.mark.parametrize(
    ("annotated", "upright", "turned"),
    [
        ((HEIGHT, WIDTH), False, True),  # the annotated size says turned, whatever the source
        ((WIDTH, HEIGHT), True, False),
        (None, True, True),  # nothing said: as the source has it
        (None, False, False),
    ],
)
def test_exif_rotation_follows_the_annotations_size_then_the_source(annotated, upright, turned):
    data = rotated_by_exif(6)  # to be shown turned by a quarter clockwise
    picture, found = prepare(data, annotated=annotated, upright=upright)
    assert found == {"picture_rotated" if turned else "picture_not_turned": 1}
    stored = np.asarray(smooth()).astype(int)
    expected = np.rot90(stored, -1) if turned else stored
    np.testing.assert_allclose(pixels(picture), expected, atol=24)  # JPEG twice
    assert Image.open(io.BytesIO(picture.data)).getexif().get(0x0112, 1) == 1 or not turned


def test_an_upside_down_picture_is_turned_where_the_source_says_so():
    picture, found = prepare(rotated_by_exif(3), annotated=(WIDTH, HEIGHT), upright=True)
    assert found == {"picture_rotated": 1}
    np.testing.assert_allclose(pixels(picture), np.asarray(smooth())[::-1, ::-1], atol=24)


def test_a_picture_of_the_same_shape_is_resized_to_its_annotation():
    picture, found = prepare(encoded(smooth()), annotated=(2 * WIDTH + 1, 2 * HEIGHT))
    assert found == {"picture_resized": 1}
    assert (picture.width, picture.height) == (2 * WIDTH + 1, 2 * HEIGHT)


def test_a_picture_of_another_shape_keeps_its_size():
    data = encoded(smooth())
    picture, found = prepare(data, annotated=(WIDTH, 2 * HEIGHT))
    assert picture == pictures.Picture(data, WIDTH, HEIGHT)
    assert found == {"size_mismatch": 1}
