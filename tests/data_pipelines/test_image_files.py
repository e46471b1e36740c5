"""Every kind of broken or odd image file, made with Pillow, and what becomes of it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_pipelines import images
from data_pipelines.report import Report
from ggnet_jax.inference.images import load_image

WIDTH, HEIGHT = 40, 24


def smooth(mode="RGB"):
    """An image whose four corners differ, smooth enough for JPEG to keep."""
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    pixels = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_exif(orientation, kind="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(smooth(), kind, exif=exif, quality=95)


def prepare(data, **options):
    """(what `prepare` returns, its pixels as TensorFlow decodes them, what was found)."""
    report = Report()
    image = images.prepare(data, name="a.jpg", report=report, **options)
    if image is None:
        return None, None, dict(report.counts)
    pixels = tf.io.decode_image(image.data, channels=3).numpy().astype(int)
    assert pixels.shape == (image.height, image.width, 3)
    return image, pixels, dict(report.counts)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_plain_image_passes_byte_for_byte(kind):
    data = encoded(smooth(), kind)
    image, _, found = prepare(data, annotated=(WIDTH, HEIGHT))
    assert image == images.EncodedImage(data, WIDTH, HEIGHT)
    assert not found


def test_gray_passes_and_is_counted():
    data = encoded(smooth("L"))
    image, pixels, found = prepare(data)
    assert image.data == data and found == {"image_gray": 1}
    assert np.ptp(pixels, axis=-1).max() == 0


@pytest.mark.parametrize(
    ("mode", "kind", "expected", "atol"),
    [
        ("CMYK", "JPEG", "image_cmyk", 12),
        ("P", "PNG", "image_converted", 1),
        ("RGBA", "PNG", "image_converted", 1),
        ("RGB", "BMP", "image_converted", 1),
        ("P", "GIF", "image_converted", 1),
    ],
)
def test_other_modes_and_formats_become_rgb(mode, kind, expected, atol):
    _, pixels, found = prepare(encoded(smooth(mode), kind, quality=95))
    assert found == {expected: 1}
    original = np.asarray(smooth(mode).convert("RGB")).astype(int)
    np.testing.assert_allclose(pixels, original, atol=atol)


def test_sixteen_bits_are_scaled_not_clipped():
    gray = np.tile(np.linspace(0, 65535, WIDTH).astype(np.uint16), (HEIGHT, 1))
    data = encoded(Image.fromarray(gray), "PNG")
    _, pixels, found = prepare(data)
    assert found == {"image_converted": 1}
    np.testing.assert_array_equal(pixels[..., 0], np.rint(gray / 257))
    np.testing.assert_array_equal(pixels, load_image(data))  # training sees what detection sees


@pytest.mark.parametrize(
    "data", [b"", b"no image", encoded(smooth())[:40], encoded(smooth(), "PNG")[:80]]
)
def test_what_cannot_be_read_is_given_up(data):
    image, _, found = prepare(data)
    assert image is None and found == {"image_unreadable": 1}


def test_a_truncated_jpeg_keeps_what_is_there():
    large = smooth().resize((400, 240))
    data = encoded(large, quality=95)
    image, pixels, found = prepare(data[: len(data) // 2])
    assert found == {"image_truncated": 1}
    assert (image.width, image.height) == (400, 240)
    np.testing.assert_allclose(pixels[:40], np.asarray(large)[:40], atol=12)


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
    data = with_exif(6)  # to be shown turned by a quarter clockwise
    image, pixels, found = prepare(data, annotated=annotated, upright=upright)
    assert found == {"image_rotated" if turned else "image_not_turned": 1}
    stored = np.asarray(smooth()).astype(int)
    expected = np.rot90(stored, -1) if turned else stored
    np.testing.assert_allclose(pixels, expected, atol=24)  # JPEG twice
    assert Image.open(io.BytesIO(image.data)).getexif().get(0x0112, 1) == 1 or not turned


def test_an_upside_down_image_is_turned_where_the_source_says_so():
    _, pixels, found = prepare(with_exif(3), annotated=(WIDTH, HEIGHT), upright=True)
    assert found == {"image_rotated": 1}
    np.testing.assert_allclose(pixels, np.asarray(smooth())[::-1, ::-1], atol=24)


def test_a_tiff_is_turned_once():
    """Pillow does it while decoding, so that there is nothing left to decide."""
    _, pixels, found = prepare(with_exif(6, "TIFF"), annotated=(HEIGHT, WIDTH), upright=True)
    assert found == {"image_converted": 1}
    np.testing.assert_array_equal(pixels, np.rot90(np.asarray(smooth()), -1))


@pytest.mark.parametrize(
    ("annotated", "size", "expected"),
    [
        ((2 * WIDTH + 1, 2 * HEIGHT), (2 * WIDTH + 1, 2 * HEIGHT), "image_resized"),
        ((WIDTH, 2 * HEIGHT), (WIDTH, HEIGHT), "size_mismatch"),
    ],
)
def test_an_image_is_resized_to_an_annotation_of_the_same_shape(annotated, size, expected):
    data = encoded(smooth())
    image, _, found = prepare(data, annotated=annotated)
    assert (image.width, image.height) == size
    assert found == {expected: 1}
    assert (image.data == data) == (expected == "size_mismatch")


def test_a_mad_annotated_size_is_a_mismatch_and_fills_no_memory(monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", lambda *a: pytest.fail("resized"))
    data = encoded(smooth())
    for times in (2000, 33):
        image, _, found = prepare(data, annotated=(times * WIDTH, times * HEIGHT))
        assert found == {"size_mismatch": 1} and image.data == data
    image, _, found = prepare(data, annotated=(1, 1))
    assert found == {"size_mismatch": 1} and image.data == data


def test_an_image_is_not_enlarged_beyond_the_limit():
    data = encoded(smooth())
    annotated = (2 * WIDTH, 2 * HEIGHT)
    limit = annotated[0] * annotated[1]
    assert prepare(data, annotated=annotated, max_pixels=limit)[2] == {"image_resized": 1}
    assert prepare(data, annotated=annotated, max_pixels=limit - 1)[2] == {"size_mismatch": 1}


def test_an_image_above_the_limit_is_left_out_and_the_report_says_why():
    report = Report()
    assert images.prepare(encoded(smooth()), name="a.jpg", report=report, max_pixels=900) is None
    (reason,) = report.examples["image_unreadable"]
    assert "a.jpg: too large" in reason and "900" in reason


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "ICO"])
def test_formats_that_are_not_meant_are_not_opened(kind):
    image, _, found = prepare(encoded(smooth(), kind))
    assert image is None and found == {"image_unreadable": 1}


def test_floats_from_0_to_1_are_not_black():
    ramp = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    data = encoded(Image.fromarray(ramp), "TIFF")
    _, pixels, _ = prepare(data)
    np.testing.assert_allclose(pixels[..., 0], np.rint(255 * ramp), atol=1)
    np.testing.assert_array_equal(pixels, load_image(data))


def test_a_file_that_the_two_decoders_see_differently_is_written_anew(monkeypatch):
    """What is stored is what TensorFlow decodes, in the size that the example says."""
    data = encoded(smooth(), quality=95)
    monkeypatch.setattr(images, "_decoded_size", lambda *a: (WIDTH, HEIGHT + 1))
    image, pixels, _ = prepare(data)
    assert image.data != data and pixels.shape == (HEIGHT, WIDTH, 3)
