"""AP by class as an SVG: opens in any browser, names a bar under the mouse, needs no library."""

import unicodedata
from html import escape

import numpy as np

from ggnet_jax.evaluation import svg
from ggnet_jax.evaluation.results import Scores, readable

OTHER, RARE = "#0072B2", "#E69F00"  # blue and orange stay apart for color-blind eyes
_NAMED = 60  # more names than that can't be read
_LEFT, _TOP, _BOTTOM = 60, 78, 46


def draw(scores: Scores, title: str) -> str:
    """Every class's AP as a bar, best first; rare classes, where known, in their own color.

    Classes without an AP are left out and counted. Up to 60 classes are lines with their name and
    figure; more are columns, whose names show under the mouse.

    Args:
        scores: one setting of a result.
        title: above the plot.

    Returns:
        The SVG's text.
    """
    order = np.argsort(-np.nan_to_num(scores.ap, nan=-1.0), kind="stable")
    shown = order[: len(order) - scores.invalid]
    rare = scores.groups.get("rare", np.zeros(len(order), bool))
    body, width, height = (_lines if len(shown) <= _NAMED else _columns)(scores, shown, rare)
    kind = "class" if scores.invalid == 1 else "classes"
    missing = f" · {scores.invalid} {kind} without AP left out" if scores.invalid else ""
    legend, at = [], _LEFT
    for name, mean in scores.means.items():
        value = "none" if np.isnan(mean) else f"{100 * mean:.2f}"
        size = int(scores.groups[name].sum())
        text = f"{readable(name)}{'' if str(size) in name else f' ({size})'}: mAP {value}"
        color = {"rare": RARE, "non_rare": OTHER}.get(name)
        if color:
            legend.append(f'<rect x="{at}" y="46" width="11" height="11" fill="{color}"/>')
            at += 17
        legend.append(svg.text(at, 56, text))
        at += 40 + 7 * len(text)
    heading = svg.text(_LEFT, 28, title + missing, size=15)
    return svg.document(width, height, [heading, *legend, *body])


def _columns(scores: Scores, shown: np.ndarray, rare: np.ndarray) -> tuple[list[str], int, int]:
    """Many classes: columns without names."""
    plot_width, plot_height = max(600, 2 * len(shown)), 320
    width, height = _LEFT + plot_width + 20, _TOP + plot_height + _BOTTOM
    step = plot_width / len(shown)
    parts = []
    for percent in range(0, 101, 20):
        y = _TOP + plot_height * (1 - percent / 100)
        parts.append(f'<path d="M{_LEFT} {y:g}h{plot_width}" stroke="{svg.GRAY}"/>')
        parts.append(svg.text(_LEFT - 8, y + 4, str(percent), anchor="end"))
    for place, index in enumerate(shown):
        size = plot_height * scores.ap[index]
        parts.append(
            f'<rect x="{_LEFT + place * step:.2f}" y="{_TOP + plot_height - size:.2f}" '
            f'width="{step:.2f}" height="{size:.2f}" fill="{RARE if rare[index] else OTHER}">'
            f"<title>{_story(scores, index)}</title></rect>"
        )
    middle = _TOP + plot_height / 2
    parts.append(
        f'<text x="20" y="{middle:g}" text-anchor="middle" transform="rotate(-90 20 {middle:g})">'
        "AP, percent</text>"
    )
    parts.append(
        svg.text(_LEFT + plot_width / 2, height - 16, "classes, best first", anchor="middle")
    )
    return parts, width, height


def _lines(scores: Scores, shown: np.ndarray, rare: np.ndarray) -> tuple[list[str], int, int]:
    """Few classes: a line each, with its name and figure."""
    longest = max((_letters(scores.labels[index]) for index in shown), default=0)
    left, plot_width, step = _LEFT + 7 * longest, 520, 21
    plot_height = step * max(1, len(shown))
    width, height = max(left + plot_width + 70, 760), _TOP + plot_height + _BOTTOM
    parts = []
    for percent in range(0, 101, 20):
        x = left + plot_width * percent / 100
        parts.append(f'<path d="M{x:g} {_TOP}v{plot_height}" stroke="{svg.GRAY}"/>')
        parts.append(svg.text(x, _TOP + plot_height + 16, str(percent), anchor="middle"))
    for place, index in enumerate(shown):
        y, size = _TOP + place * step, plot_width * float(scores.ap[index])
        parts.append(svg.text(left - 8, y + 15, scores.labels[index], anchor="end"))
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{size:.2f}" height="{step - 6}" '
            f'fill="{RARE if rare[index] else OTHER}">'
            f"<title>{_story(scores, index)}</title></rect>"
        )
        parts.append(svg.text(left + size + 6, y + 15, f"{100 * scores.ap[index]:.1f}"))
    parts.append(svg.text(left + plot_width / 2, height - 8, "AP, percent", anchor="middle"))
    return parts, width, height


def _letters(text: str) -> int:
    """How many Latin letters wide a text is; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _story(scores: Scores, index: int) -> str:
    return escape(
        f"{scores.labels[index]}: AP {100 * scores.ap[index]:.2f}, "
        f"{scores.true_positives[index]} of {scores.ground_truth[index]} found, "
        f"{scores.predictions[index]} predictions"
    )
