"""The font for a text: Pillow's own for ASCII, another that has the text's characters for the rest.

Pillow's font has nothing beyond ASCII. DejaVu Sans, which comes with Matplotlib, has Latin,
Cyrillic, Greek, Arabic and more; for other scripts the fonts of the system are searched.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

from ggnet_jax.errors import UserError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
# Tried first of the system's, for they have most characters; the order is that of preference.
_KNOWN = (
    "notosanscjk", "notosans", "sourcehansans", "wqy", "droidsans", "pingfang", "hiragino",
    "applegothic", "arialunicode", "msyh", "meiryo", "yugoth", "malgun", "simsun", "nanum",
    "unifont",
)  # fmt: skip
_STYLES = re.compile("bold|italic|oblique|black|thin|light|serif|mono|condensed|medium")
_UNSEEN = ("Zs", "Cf", "Cc")  # kinds of characters that need no glyph


class _State:
    """What a process was told and has said."""

    chosen: str | None = None
    said = False


def use(path: str | os.PathLike) -> None:
    """Draw everything that a font file has characters for with it, from now on.

    Raises:
        UserError: it is not a font.
    """
    name = os.fspath(path)
    if not os.path.isfile(name):
        raise UserError(f"the font {name} is no file; give the path of a .ttf, .otf or .ttc file")
    if not _opens(name):
        raise UserError(f"{name} is not a font that can be drawn with; give a .ttf or .otf file")
    _State.chosen = name
    _path_for.cache_clear()


def font(text: str, size: float) -> Font:
    """The font for a text at a height in pixels."""
    if _State.chosen is None and text.isascii():
        return _load(None, size)
    return _load(_path_for(text), size)


def length(text: str, size: float) -> float:
    """How many pixels wide a text is."""
    text = _on_one_line(text)
    return font(text, size).getlength(text)


def write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, *, fill: str, size: float
) -> None:
    """Draw a text with its upper left corner at a place; all fonts stand on one line."""
    text = _on_one_line(text)
    face = font(text, size)
    draw.text((at[0], at[1] + _ascent(_load(None, size)) - _ascent(face)), text, fill, face)


def path_for(text: str) -> str | None:
    """The file of the font for a text; None for Pillow's own."""
    return None if _State.chosen is None and text.isascii() else _path_for(_on_one_line(text))


def say_missing(texts: Iterable[str]) -> None:
    """Say on stderr, in one line and once a process, which characters no font has."""
    absent: dict[str, None] = {}
    for text in texts:
        if not text.isascii():
            path = _path_for(_on_one_line(text))
            absent.update(dict.fromkeys(_missing(_on_one_line(text), path)))
    if absent and not _State.said:
        _State.said = True
        shown = " ".join(list(absent)[:20]) + (" ..." if len(absent) > 20 else "")
        print(
            f"no font here has {shown} ({len(absent)} characters, boxes in the drawings); "
            "name a font file that has them with --font",
            file=sys.stderr,
        )


@cache
def _path_for(text: str) -> str | None:
    """The first font that has all characters, else that which lacks the fewest."""
    best, fewest = None, len(text) + 1
    for path in _candidates():
        number = len(_missing(text, path))
        if number < fewest:
            best, fewest = path, number
        if not number:
            break
    return best


def _candidates() -> Iterator[str | None]:
    if _State.chosen is not None:
        yield _State.chosen
    yield None
    yield str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    yield from _system_fonts()


def _missing(text: str, path: str | None) -> list[str]:
    """The characters of a text that a font has no glyph for, each once."""
    every = dict.fromkeys(c for c in text if unicodedata.category(c) not in _UNSEEN)
    if path is None:
        return [c for c in every if not c.isascii()]
    there = _characters(path)
    return [c for c in every if ord(c) >= len(there) or not there[ord(c)]]


@cache
def _characters(path: str) -> np.ndarray:
    """[n] bool: whether a font has a glyph for each code; empty if it cannot be drawn with.

    The font is not kept: a system has more of them than a process may have open files.
    """
    try:
        codes = list(FT2Font(path).get_charmap()) if _opens(path) else []
    except (OSError, RuntimeError, ValueError):
        codes = []
    there = np.zeros(max(codes, default=-1) + 1, bool)
    there[codes] = True
    return there


def _opens(path: str) -> bool:
    """Whether Pillow draws with a font: of bitmaps, as colored emoji are, there is one size."""
    try:
        ImageFont.truetype(path, 23).getlength("x")
    except (OSError, ValueError):
        return False
    return True


@cache
def _load(path: str | None, size: float) -> Font:
    return ImageFont.load_default(size=size) if path is None else ImageFont.truetype(path, size)


def _ascent(face: Font) -> int:
    return face.getmetrics()[0] if isinstance(face, ImageFont.FreeTypeFont) else 0


@cache
def _system_fonts() -> tuple[str, ...]:
    """The font files of the system, those first that are likely to have much."""
    found = {
        os.path.join(folder, name)
        for top in _folders()
        for folder, _, names in os.walk(top)
        for name in names
        if name.lower().endswith(_ENDINGS)
    }

    def order(path: str) -> tuple[int, bool, str]:
        name = re.sub("[^a-z]", "", os.path.basename(path).lower())
        known = next((k for k, prefix in enumerate(_KNOWN) if name.startswith(prefix)), len(_KNOWN))
        return known, bool(_STYLES.search(name)), path

    return tuple(sorted(found, key=order))


def _folders() -> list[str]:
    """Where Linux, macOS and Windows keep fonts."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = ["~/.fonts", f"{data}/fonts", *(f"{one}/fonts" for one in shared.split(":") if one)]
    folders += ["~/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"]
    folders += [
        os.path.join(os.environ[name], *rest)
        for name, rest in (
            ("WINDIR", ["Fonts"]),
            ("LOCALAPPDATA", ["Microsoft", "Windows", "Fonts"]),
        )
        if name in os.environ
    ]
    return [os.path.expanduser(folder) for folder in folders]


def _on_one_line(text: str) -> str:
    """A text without what ends lines or cannot be encoded."""
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    return text.encode("utf-8", "replace").decode("utf-8")
