"""What a session remembers of a photo, against predict's own lines and Detector's own answers."""

import dataclasses
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tiny import make_run

from ggnet_jax import Detector
from ggnet_jax.cli.predict import predict
from ggnet_jax.errors import UserError
from ggnet_jax.inference.geometry import apply
from ggnet_jax.serve import markup
from ggnet_jax.serve.photos import EXPLAINABLE, LARGEST_SIDE, clean_name, look_at, reduce
from ggnet_jax.visualize import draw_explanation
from ggnet_jax.visualize.panels import explain_interaction

LIMIT = 10_000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def detector(run):
    return Detector.load(run, max_pixels=LIMIT)


def noise(width=60, height=40, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photo(detector):
    return look_at(detector, png(noise()), "a.png", max_pixels=LIMIT)


def test_json_is_predicts_line(run, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png(noise()))
    scores = [one.score for one in photo.found]
    for threshold in (0.0, scores[len(scores) // 2], 1.0):
        predict(run, "a.png", "out", threshold=threshold)
        expected = (tmp_path / "out" / "predictions.jsonl").read_text()
        # Other programs of the same network, with more heatmaps: equal but for rounding.
        assert_close(json.loads(photo.json_line(threshold)), json.loads(expected))
        assert photo.json_line(threshold).count("\n") == 1


def assert_close(ours, theirs):
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_close(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-3)
    else:
        assert ours == theirs


def test_thresholds(photo):
    scores = [one.score for one in photo.found]
    assert len(scores) > 5
    for threshold in (0.0, scores[3], scores[3] + 1e-9, scores[-1], 1.0):
        expected = [one for one in photo.found if one.score >= threshold]
        assert photo.count(threshold) == len(expected)
        assert [one.score for one in photo.shown(threshold)] == [one.score for one in expected]
        rows = photo.explained(threshold)
        assert [one for one, _ in rows] == photo.shown(threshold)
        assert (photo.note(threshold) == "") == bool(expected)
    assert photo.note(1.0).startswith("nothing above 1.00; the best is ")


def test_a_row_is_explained_in_the_color_of_its_pair(photo):
    last = len(photo.found) - 1
    for row in (0, 5, last):
        pair = photo.pair(0.0, row)
        assert pair.best is photo.view.interactions[row]
        assert pair.color == photo.explained(0.0)[row][1]
    for row in (-1, last + 1, 10**9):
        assert photo.pair(0.0, row) is None


def test_rows_are_those_with_heatmaps(photo):
    view = photo.view._replace(interactions=photo.view.interactions * 3)
    many = dataclasses.replace(photo, found=view.interactions, view=view)
    rows = many.explained(0.0)
    assert len(many.found) > len(rows) == EXPLAINABLE
    text = markup.table(rows, many.count(0.0), 2)
    assert text.count('<input type="radio"') == EXPLAINABLE
    assert text.count(" checked") == 1 and 'value="2" checked' in text
    assert f"and {len(many.found) - EXPLAINABLE} more" in text


def test_panels_are_those_of_the_explanation(photo):
    """Cut out of the figure that `draw_explanation` tiles them into, they are the same."""
    one, heatmaps = photo.view.interactions[0], photo.view.heatmaps[0]
    pair = photo.pair(0.0, 0)
    sheet = np.asarray(draw_explanation(photo.view.image, [one], [heatmaps], width=1280))
    room = (1280 - 12 * 5) // 4
    panels = explain_interaction(photo.view.image, pair, heatmaps, bounds=(room, round(room * 1.3)))
    assert len(panels) == len(one.act_points) + 2 + len(heatmaps.maps)
    assert sum(bool(panel.colors) for panel in panels) == len(panels) - 2
    first = np.asarray(panels[0].image)
    height, width = first.shape[:2]
    assert np.array_equal(sheet[34 : 34 + height, 12 : 12 + width], first)


def test_a_large_photo_is_kept_smaller(detector):
    found = detector.explain(png(noise(100, 70)), threshold=0.0, top_k=3)
    view = reduce(found, 50)
    assert view.image.shape == (35, 50, 3)
    assert view.heatmaps is found.heatmaps
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]])  # pixels are squares around their points
    for one, other in zip(found.interactions, view.interactions, strict=True):
        for name in ("human_box", "object_box", "interaction_point", "object_target"):
            points = np.reshape(getattr(one, name), (-1, 2))
            np.testing.assert_allclose(
                np.reshape(getattr(other, name), (-1, 2)), apply(half, points), atol=1e-9
            )
        for (position, weight), (moved, same) in zip(one.act_points, other.act_points, strict=True):
            np.testing.assert_allclose(moved, apply(half, position), atol=1e-4)
            assert np.array_equal(weight, same)
        assert (other.score, other.label) == (one.score, one.label)
    assert reduce(found, LARGEST_SIDE) is found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"%PDF-1.7 ...", "not an image but"),
        (b"\xff\xd8\xff\xe0 cut off", "a.png: "),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "a HEIF photo, .* as JPEG|broken"),
        (png(noise(200, 200)), "40,000 pixels; up to 10,000 are taken"),
    ],
)
def test_what_is_no_photo_is_one_line(detector, content, says):
    with pytest.raises(UserError, match=says) as error:
        look_at(detector, content, "folder/a.png", max_pixels=LIMIT)
    message = str(error.value)
    assert message.startswith("a.png: ") and "\n" not in message
    assert " bytes:" not in message and "max_pixels" not in message


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\fotos\\Ich und Du.JPG", "Ich und Du.JPG"),
        ("", "photo"),
        ("...", "photo"),
        (".hidden.png", "hidden.png"),
        ("a\nb\x00c\u202egpj.exe", "abcgpj.exe"),
        ("x" * 500 + ".jpeg", "x" * 115 + ".jpeg"),
        ("фото 写真.png", "фото 写真.png"),
    ],
)
def test_names_are_not_trusted(given, clean):
    assert clean_name(given) == clean


def test_markup_escapes(photo):
    evil = '<img src=x onerror="alert(1)">'
    for text in (
        markup.header(evil),
        markup.status(evil),
        markup.examples([(evil, Image.new("RGB", (4, 4)))]),
        markup.found(evil, (1, 1), 0, 0.1, evil),
    ):
        assert "<img src=x" not in text and 'onerror="' not in text


def test_an_empty_table_says_what_to_do():
    assert "lower the threshold" in markup.table([], 0, 0)
