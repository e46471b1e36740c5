"""What the evaluators' plots share: an SVG document and the texts in it.

SVGs are put together here and in the two plots alone: the evaluators run on NumPy alone, and
importing matplotlib would take longer than the whole evaluation takes.
"""

from collections.abc import Sequence
from html import escape

GRAY = "#DDDDDD"  # of grid lines


def document(width: float, height: float, parts: Sequence[str]) -> str:
    """The elements of a drawing on white as a file's content; lengths in pixels."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", size: int = 12) -> str:
    """A line of text as an element.

    Args:
        x: where its anchor lies, in pixels.
        y: its base line.
        content: not escaped yet.
        anchor: 'start', 'middle' or 'end'.
        size: of the letters in pixels.
    """
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(content)}</text>"
    )
