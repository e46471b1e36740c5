"""Files of strangers: odd EXIF, every mode, disguised formats, pipes, bombs; none ends a run."""

import io
import os
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files, images
from ggnet_jax.inference.images import load_image

WIDTH, HEIGHT = 40, 24


def smooth() -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(*entries: tuple[int, int, int, bytes], end: str = "<", first: int = 8) -> bytes:
    """EXIF data of (tag, type, count, four bytes) written as they are, right or wrong."""
    data = (b"II*\0" if end == "<" else b"MM\0*") + struct.pack(end + "IH", first, len(entries))
    for tag, kind, count, value in entries:
        data += struct.pack(end + "HHI", tag, kind, count) + value
    return b"Exif\0\0" + data + bytes(4)


TURNED = (0x0112, 3, 1, b"\6\0\0\0")
ODD_EXIF = {
    "a negative number where none can be": exif(TURNED, (0x0100, 9, 1, struct.pack("<i", -5))),
    "an unknown type": exif(TURNED, (0x0101, 99, 1, bytes(4))),
    "GPS that points at nothing": exif(TURNED, (0x8825, 4, 1, struct.pack("<I", 2**31))),
    "GPS that is text": exif(TURNED, (0x8825, 2, 4, b"gps\0")),
    "a maker's note of 4 GB": exif(TURNED, (0x927C, 7, 2**32 - 1, bytes(4))),
    "two orientations": exif((0x0112, 3, 2, b"\6\0\1\0")),
    "a rational with a denominator of 0": exif(TURNED, (0x011A, 5, 1, struct.pack("<I", 38)))
    + struct.pack("<II", 1, 0),
}
NOT_TURNED = {
    "orientation 0": exif((0x0112, 3, 1, bytes(4))),
    "orientation 9": exif((0x0112, 3, 1, b"\x09\0\0\0")),
    "orientation in letters": exif((0x0112, 2, 2, b"6\0\0\0")),
    "orientation as bytes": exif((0x0112, 7, 1, b"\6\0\0\0")),
    "a directory beyond the end": exif(TURNED, first=10**6),
    "a header cut off": exif(TURNED)[:9],
    "nothing": b"",
    "noise": b"Exif\0\0" + random.Random(0).randbytes(60),
}


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "MPO"])
@pytest.mark.parametrize("what", [*ODD_EXIF, *NOT_TURNED])
def test_odd_exif_is_no_obstacle_and_says_nothing(what, kind):
    data = encoded(smooth(), kind, exif=(ODD_EXIF | NOT_TURNED)[what], quality=95)
    pixels = load_image(data).astype(int)
    expected = np.asarray(smooth()).astype(int)
    if what in ODD_EXIF:
        expected = np.rot90(expected, -1)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 6


@pytest.mark.skipif(".avif" not in image_files.endings(), reason="this Pillow has no AVIF")
def test_an_avif_whose_exif_cannot_be_written_back_is_read():
    """Pillow writes it while opening, where EXIF and the container disagree on the orientation."""
    maker = (0x010F, 2, 4, b"abc\0")
    data = encoded(smooth(), "AVIF", exif=exif(TURNED, maker)[6:], quality=95)
    entry = struct.pack("<HHI", *maker[:3]) + maker[3]
    assert data.count(entry) == 1
    broken = data.replace(entry, struct.pack("<HHIi", 0x0100, 9, 1, -5))
    with pytest.raises(OSError):
        Image.open(io.BytesIO(broken))
    for each in (data, broken):
        pixels = load_image(each).astype(int)
        assert pixels.shape == (WIDTH, HEIGHT, 3)
        assert np.abs(pixels - np.rot90(np.asarray(smooth()), -1)).mean() < 6


def test_a_tiff_with_odd_tags_is_turned_all_the_same():
    data = bytearray(encoded(smooth(), "TIFF"))
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    entries = bytes(data[first + 2 : first + 2 + 12 * count])
    odd = [TURNED, (0x02BC, 5, 1, struct.pack("<I", 0)), (0x8769, 4, 1, struct.pack("<I", 10**6))]
    for tag, kind, number, value in odd:
        entries += struct.pack("<HHI", tag, kind, number) + value
    data[4:8] = struct.pack("<I", len(data))
    data += struct.pack("<H", count + len(odd)) + entries + bytes(4)
    np.testing.assert_array_equal(load_image(bytes(data)), np.rot90(np.asarray(smooth()), -1))


def test_the_shared_photos_are_read_as_training_reads_them(shared_dir):
    folder = shared_dir / "cases" / "exif"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    shapes = {path.name: load_image(path).shape for path in sorted(folder.iterdir())}
    assert len(shapes) >= 6 and set(shapes.values()) <= {(320, 192, 3), (192, 320, 3)}
    assert shapes["rational_neg_zero.jpg"] == shapes["clean.jpg"] == (320, 192, 3)


@pytest.mark.parametrize("strip", [1 << 22, 100])
@pytest.mark.parametrize("kind", ["La", "RGBa", "PA", "HSV", "LAB", "YCbCr", "RGBX", "P", "1"])
def test_every_mode_of_pillow_becomes_rgb_in_strips_as_in_one(kind, strip, monkeypatch):
    by_way_of = {"La": "LA", "RGBa": "RGBA", "PA": "P"}
    image = smooth().convert(by_way_of[kind]) if kind in by_way_of else smooth()
    image = image.convert(kind)
    monkeypatch.setattr(images, "_STRIP", strip)
    back = image.convert("LA").convert("RGB") if kind == "La" else image.convert("RGB")
    np.testing.assert_array_equal(load_image(image), np.asarray(back))


def test_transparency_of_any_form_is_dropped_without_a_word():
    for transparency in (bytes(range(256)), 3):
        palette = smooth().convert("P")
        opaque = np.asarray(palette.convert("RGB"))
        palette.info["transparency"] = transparency
        np.testing.assert_array_equal(load_image(palette), opaque)
        np.testing.assert_array_equal(load_image(encoded(palette, "PNG")), opaque)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 1e6])
def test_floats_are_scaled_by_their_range(top):
    ramp = np.tile(np.linspace(0, 1, WIDTH, dtype=np.float32), (HEIGHT, 1))
    expected = np.round(ramp * 255)
    values = ramp * np.float32(top)
    values[0, :2] = np.nan, -np.inf
    loaded = load_image(encoded(Image.fromarray(values), "TIFF"))
    np.testing.assert_allclose(loaded[1:, :, 0], expected[1:], atol=1)
    np.testing.assert_array_equal(loaded[0, :2], 0)


@pytest.mark.parametrize("top", [255, 65535, 2**31 - 1])
def test_integers_of_32_bits_are_scaled_by_their_range(top):
    ramp = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
    loaded = load_image(Image.fromarray((ramp * top).astype(np.int32)))
    np.testing.assert_allclose(loaded[..., 0], ramp * 255, atol=1)


def test_only_the_formats_that_are_meant_are_opened(tmp_path, monkeypatch):
    """PostScript would start Ghostscript; whatever is called .jpg is told by its content."""
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("nothing to decode"))
    for name, data in {
        "eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
        "wmf.jpg": b"\xd7\xcd\xc6\x9a\0\0" + bytes(40),
        "psd.jpg": b"8BPS\0\1" + bytes(40),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(UserError, match=f"{name}: not an image of a format that is read"):
            load_image(path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(60), "a zip archive"),
    ],
)
def test_what_is_called_an_image_is_named_for_what_it_is(data, kind):
    with pytest.raises(UserError, match=f"not an image but {kind}"):
        load_image(data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_pipes_devices_and_loops_of_links_end_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    for name, reason in (("pipe", "a pipe"), ("device", "a device"), ("loop", "cannot be read")):
        with pytest.raises(UserError, match=rf"{name}\.jpg: .*{reason}"):
            load_image(tmp_path / f"{name}.jpg")
        with pytest.raises((UserError, OSError)):
            image_files.read_file(tmp_path / f"{name}.jpg")


def png_of(width: int, height: int) -> bytes:
    """The header of a PNG and next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_limit_of_pixels_is_ours_and_comes_before_decoding(monkeypatch):
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for width, height in ((10_001, 10_000), (20_000, 10_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(UserError, match=rf"too large \({width * height:,} pixels; max_pixels"):
            load_image(png_of(width, height))
    assert Image.MAX_IMAGE_PIXELS == before


def test_the_limit_of_pixels_can_be_set():
    data = encoded(smooth(), "PNG")
    assert load_image(data, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(UserError, match="max_pixels is 959"):
        load_image(data, max_pixels=WIDTH * HEIGHT - 1)


def test_an_image_beyond_pillows_own_limit_is_read_without_its_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "TIFF", "GIF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert load_image(encoded(smooth(), kind, **options)).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    "error", [MemoryError(), struct.error("x"), zlib.error("x"), KeyError(5), AttributeError("x"),
              OverflowError("x"), IndexError(), RecursionError(), AssertionError(), EOFError()],
)  # fmt: skip
def test_whatever_a_decoder_raises_is_one_line(error, monkeypatch):
    def fail(self):
        raise error

    data = encoded(smooth(), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UserError) as caught:
        load_image(data)
    assert "\n" not in str(caught.value) and "image of" in str(caught.value)


def test_damage_anywhere_is_one_line_or_an_image():
    rng = random.Random(1)
    kinds = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]
    files = {kind: encoded(smooth(), kind) for kind in kinds}
    read = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in kinds * 60:
            data = bytearray(files[kind])
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            try:
                pixels = load_image(
                    bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
                )
                read += pixels.dtype == np.uint8
            except UserError as error:
                assert "\n" not in str(error)
    assert read > 50  # damage to pixels alone is seldom noticed
