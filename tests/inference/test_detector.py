"""The Detector: every form that a picture comes in, the warp, and what comes back."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny_run import VOCABULARY, make_run

import ggnet_jax
from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry
from ggnet_jax.inference.detector import Detector
from ggnet_jax.inference.images import is_image, letterbox_image, load_image


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), steps=(3, 7))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, batch_size=2)


def picture(width=90, height=50, seed=0) -> np.ndarray:
    """Smooth random colours, so that JPEG's loss stays small."""
    rng = np.random.default_rng(seed)
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
                    share = (1 - abs(x - px)) * (1 - abs(y - py))
                    out[v, u] += share * array[py, px]
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


def test_letterbox_leaves_black_around_the_picture():
    warped = letterbox_image(np.full((20, 40, 3), 255, np.uint8), (64, 64))
    assert not warped[:15].any() and not warped[50:].any()
    assert (warped[20:40, 5:60] == 255).all()


def test_every_form_of_a_picture_is_the_same_picture(tmp_path):
    array = picture()
    path = tmp_path / "a.png"
    path.write_bytes(encoded(array, "PNG"))
    for source in (array, Image.fromarray(array), str(path), path, path.read_bytes()):
        np.testing.assert_array_equal(load_image(source), array)


def test_exif_rotation_is_honoured():
    array = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
    data = encoded(array, "JPEG", exif=exif, quality=98)
    loaded = load_image(data)
    assert loaded.shape == (90, 50, 3)
    difference = np.abs(loaded.astype(int) - np.rot90(array, -1).astype(int))
    assert difference.mean() < 4


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16", "I", "F"])
def test_other_colour_modes_become_rgb(mode):
    array = np.repeat(picture()[..., :1], 3, axis=2)
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
    Image.fromarray(picture()).convert("CMYK").save(stream, "JPEG", quality=95)
    assert np.abs(load_image(stream.getvalue()).astype(int) - picture().astype(int)).mean() < 6


def test_grey_arrays_are_pictures_too():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(load_image(grey), np.repeat(grey[..., None], 3, axis=2))


def test_what_is_no_picture_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing\.jpg: no such file"):
        load_image(tmp_path / "missing.jpg")
    with pytest.raises(UserError, match="a folder"):
        load_image(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    with pytest.raises(UserError, match=r"text\.jpg: not a picture"):
        load_image(text)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(encoded(picture(400, 300), "JPEG")[:2000])
    with pytest.raises(UserError, match=r"broken\.jpg: broken picture"):
        load_image(broken)
    with pytest.raises(UserError, match="picture of 3 bytes"):
        load_image(b"abc")
    with pytest.raises(ValueError, match="must be uint8"):
        load_image(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
        load_image(np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(TypeError, match="not int"):
        load_image(3)


def test_detect_gives_interactions_by_falling_score(detector):
    found = detector.detect(picture(), threshold=0.0)
    assert found
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        pair = VOCABULARY.verbs.index(one.verb), VOCABULARY.objects.index(one.object)
        assert pair in VOCABULARY.classes
        assert one.score == pytest.approx(
            one.verb_score * one.human_score * one.object_score, rel=1e-4
        )
        assert len(one.act_points) == 2
        assert all(p.shape == (9, 2) and w.shape == (9,) for p, w in one.act_points)
        x1, y1, x2, y2 = one.human_box
        assert 0 <= x1 < x2 and 0 <= y1 < y2 and x2 - x1 <= 90 and y2 - y1 <= 50
    middle = scores[len(scores) // 2]
    above = detector.detect(picture(), threshold=middle)
    assert [one.score for one in above] == [score for score in scores if score >= middle]
    assert len(detector.detect(picture(), threshold=0.0, top_k=1)) == 1


def test_a_list_gives_what_single_calls_give(detector):
    pictures = [picture(90, 50, 0), picture(50, 90, 1), picture(64, 64, 2)]  # batches of 2 and 1
    together = detector.detect(pictures, threshold=0.0)
    assert len(together) == 3
    for array, found in zip(pictures, together, strict=True):
        alone = detector.detect(array, threshold=0.0)
        np.testing.assert_allclose(
            [one.score for one in found], [one.score for one in alone], rtol=1e-3
        )
    assert detector.detect([], threshold=0.0) == []
    stack = np.stack([pictures[0], pictures[0]])
    assert len(detector.detect(stack)) == 2


def test_a_long_list_keeps_its_order_and_its_errors(detector, tmp_path):
    """Pictures are read ahead by threads: it must not show."""
    sizes = [(90, 50), (50, 90), (64, 64), (33, 71), (20, 20), (100, 30), (41, 40), (80, 81)]
    pictures = [picture(*size, number) for number, size in enumerate(sizes)]
    together = detector.detect(iter(pictures), threshold=0.0)
    for array, found in zip(pictures, together, strict=True):
        [alone, _] = detector.detect([array, array], threshold=0.0)
        assert [one.human_box for one in found] == [one.human_box for one in alone]
    broken = tmp_path / "broken.jpg"
    with pytest.raises(UserError, match=r"broken\.jpg: no such file"):
        detector.detect([*pictures, broken, tmp_path / "another.jpg"])


def test_explain_gives_the_same_with_heatmaps(detector):
    found, heatmaps = detector.explain(picture(), threshold=0.0, top_k=3)
    plain = detector.detect(picture(), threshold=0.0)
    assert [one.phrase for one in found] == [one.phrase for one in plain]
    assert 0 < len(heatmaps) <= 3
    for one, heat in zip(found, heatmaps, strict=False):
        assert heat.maps.shape == (3, 16, 24)
        # The last map is what the interaction was found on.
        to_input = geometry.letterbox(90, 50, heat.input_size)
        x, y = (geometry.apply(to_input, one.interaction_point) / 4).round().astype(int)
        assert heat.maps[-1, y, x] == pytest.approx(one.verb_score, rel=1e-4)


def test_checkpoints_are_chosen_by_step(run):
    assert ggnet_jax.Detector.load(run).step == 7
    assert Detector.load(run, step=3).step == 3
    with pytest.raises(UserError, match="no checkpoint of step 5"):
        Detector.load(run, step=5)
    with pytest.raises(ValueError, match="batch_size"):
        Detector.load(run, batch_size=0)


def test_a_folder_without_a_run_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        Detector.load(tmp_path)


def test_is_picture():
    assert is_image("a.jpg") and is_image(b"")
    assert not is_image(["a.jpg"])
    assert not is_image(np.zeros((2, 4, 4, 3), np.uint8))
