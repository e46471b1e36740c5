"""A diagnosis as SVG: what every kind of mistake costs, and precision over recall."""

from collections.abc import Mapping, Sequence

import numpy as np

from ggnet_jax.evaluation import svg
from ggnet_jax.evaluation.diagnosis import RECALLS

COLORS = ("#1A1A1A", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
AS_IT_IS = "as it is"


def bars(values: Mapping[str, float], color: Mapping[str, str], unit: str) -> str:
    """Horizontal bars with their names and figures.

    Args:
        values: name -> length, at least 0 or a little below.
        color: name -> color of its bar.
        unit: what the lengths mean.
    """
    step, left, width = 24, 190, 430
    longest = max((value for value in values.values() if np.isfinite(value)), default=0.0)
    parts = []
    for place, (name, value) in enumerate(values.items()):
        y = 8 + place * step
        size = width * max(0.0, value) / longest if longest > 0 and np.isfinite(value) else 0.0
        parts.append(svg.text(left - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y + 2}" width="{size:.1f}" height="{step - 7}" '
            f'fill="{color[name]}"/>'
        )
        figure = f"{value:.2f}" if np.isfinite(value) else "none"
        parts.append(svg.text(left + size + 6, y + 14, figure))
    height = 8 + step * len(values) + 26
    parts.append(svg.text(left, height - 8, unit))
    return svg.document(left + width + 70, height, parts)


def curves(lines: Sequence[tuple[str, np.ndarray]], title: str) -> str:
    """Precision over recall.

    Args:
        lines: (name, [101] precision at `RECALLS`), `AS_IT_IS` drawn thickest; NaN is left out.
        title: above the plot.
    """
    left, top, width, height = 50, 34, 430, 300
    parts = [svg.text(left, 20, title, size=14)]
    for percent in range(0, 101, 20):
        x, y = left + width * percent / 100, top + height * (1 - percent / 100)
        parts.append(f'<path d="M{left} {y:g}h{width}M{x:g} {top}v{height}" stroke="{svg.GRAY}"/>')
        parts.append(svg.text(left - 6, y + 4, str(percent), anchor="end"))
        parts.append(svg.text(x, top + height + 16, str(percent), anchor="middle"))
    shown = [(name, line) for name, line in lines if not np.isnan(line).any()]
    for place, (name, line) in reversed(list(enumerate(shown))):
        color = COLORS[place % len(COLORS)]
        thick = 3 if name == AS_IT_IS else 1.6
        points = " ".join(
            f"{left + width * r:.1f},{top + height * (1 - p):.1f}"
            for r, p in zip(RECALLS, line, strict=True)
        )
        dash = "" if place < len(COLORS) else ' stroke-dasharray="5 3"'
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" '
            f'stroke-width="{thick}"{dash}/>'
        )
        y = top + 8 + 20 * place
        parts.append(
            f'<path d="M{left + width + 16} {y}h22" stroke="{color}" stroke-width="{thick}"{dash}/>'
        )
        parts.append(svg.text(left + width + 44, y + 4, name))
    parts.append(svg.text(left + width / 2, top + height + 34, "recall, percent", anchor="middle"))
    middle = top + height / 2
    parts.append(
        f'<text x="12" y="{middle:g}" text-anchor="middle" transform="rotate(-90 12 {middle:g})">'
        "precision, percent</text>"
    )
    longest = max((len(name) for name, _ in shown), default=0)
    deep = max(top + height + 44, top + 24 + 20 * len(shown))
    return svg.document(left + width + 60 + 7 * longest, deep, parts)
