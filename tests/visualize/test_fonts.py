"""Texts of every script in drawings: the font that has them, and what is said of what none has."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ggnet_jax.errors import UserError
from ggnet_jax.visualize import fonts
from ggnet_jax.visualize.canvas import tag_size

DEJAVU = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.fixture(autouse=True)
def as_new(monkeypatch):
    """No font of the user's, nothing said yet, and no fonts but Pillow's and Matplotlib's."""
    monkeypatch.setattr(fonts._State, "chosen", None)
    monkeypatch.setattr(fonts._State, "said", False)
    monkeypatch.setattr(fonts, "_folders", lambda: [])
    for cached in (fonts._path_for, fonts._system_fonts):
        cached.cache_clear()
    yield
    for cached in (fonts._path_for, fonts._system_fonts):
        cached.cache_clear()


def drawn(text: str) -> np.ndarray:
    image = Image.new("L", (600, 60), 255)
    fonts.write(ImageDraw.Draw(image), (5, 5), text, fill="#000000", size=30)
    return np.asarray(image)


def test_ascii_is_drawn_with_pillows_font_as_ever():
    image = Image.new("L", (600, 60), 255)
    font = ImageFont.load_default(size=30)
    ImageDraw.Draw(image).text((5, 5), "ride bicycle 0.83", fill="#000000", font=font)
    np.testing.assert_array_equal(drawn("ride bicycle 0.83"), np.asarray(image))
    assert fonts.length("ride bicycle 0.83", 30) == font.getlength("ride bicycle 0.83")


@pytest.mark.parametrize("text", ["é", "faire du vélo", "велосипед", "ποδήλατο", "Đ ł ş ğ Ø ß"])
def test_latin_cyrillic_and_greek_are_there_everywhere(text, capsys):
    """Characters differ from each other, which empty boxes do not."""
    fonts.say_missing([text])
    assert capsys.readouterr().err == ""
    assert fonts.path_for(text) == str(DEJAVU / "DejaVuSans.ttf")
    shapes = {drawn(c).tobytes() for c in set(text) if not c.isascii()}
    assert len(shapes) == len({c for c in text if not c.isascii()})


def test_what_no_font_has_is_said_once(capsys):
    fonts.say_missing(["ride", "骑 自行车", "骑 vélo"])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "骑 自 行 车 (4 characters" in said and "--font" in said
    fonts.say_missing(["飞"])
    assert capsys.readouterr().err == ""


def test_fonts_of_the_system_are_found(tmp_path, monkeypatch):
    """A font in a folder of the system is taken where the fonts that ship lack a character."""
    (tmp_path / "deep").mkdir()
    other = tmp_path / "deep" / "Other.ttf"
    other.write_bytes((DEJAVU / "STIXGeneral.ttf").read_bytes())
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    rare = "\u2a0c"  # an integral sign that STIX has and DejaVu may have
    monkeypatch.setattr(fonts, "_folders", lambda: [str(tmp_path), str(tmp_path / "none")])
    monkeypatch.setattr(fonts, "_KNOWN", ("other",))
    real = fonts._missing
    monkeypatch.setattr(
        fonts, "_missing", lambda t, path: [t] if "DejaVu" in str(path) else real(t, path)
    )
    assert fonts.path_for(rare) == str(other)


def test_a_font_can_be_named(tmp_path):
    named = DEJAVU / "DejaVuSerif.ttf"
    before = drawn("ride é")
    fonts.use(named)
    assert fonts.path_for("ride é") == fonts.path_for("ride") == str(named)
    assert (drawn("ride é") != before).any()
    for path, reason in ((tmp_path / "none.ttf", "is no file"), (tmp_path / "x.ttf", "not a font")):
        if "x" in path.name:
            path.write_text("not a font")
        with pytest.raises(UserError, match=reason):
            fonts.use(path)


def test_names_with_odd_characters_are_drawn_on_one_line():
    for text in ("two\nlines", "tab\there", "bad\udcffname", "\x00", "", "e\u0301", "\u2028"):
        assert drawn(text).shape == (60, 600)
        assert tag_size([text], 19)[0] >= 0
