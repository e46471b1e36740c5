"""Curves of a training run and bars of an evaluation, as PNG files."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ggnet_jax.errors import UserError

BLUE, ORANGE = "#0072B2", "#E69F00"
TITLES = {"total": "total loss", "loss": "total loss"}


def plot_learning_curves(log: str | Path, output: str | Path) -> Path:
    """Draw every number of a JSON-lines log over the step, one small chart each.

    Args:
        log: a file of JSON objects, each with "step" and numbers by name; a line that is cut
            off (a killed run) is passed over.
        output: the PNG to write.

    Returns:
        The path written.

    Raises:
        UserError: the log is missing or holds nothing to draw.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    try:
        lines = Path(log).read_text().splitlines()
    except OSError as error:
        raise UserError(f"no training log at {log}: {error.strerror}") from error
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        for name, value in entry.items() if isinstance(entry, dict) and "step" in entry else ():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in ("step", "epoch", "time") and np.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    curves = {
        name: curve
        for name, curve in curves.items()
        if len(curve[0]) > 1 or name.startswith("eval")
    }
    if not curves:
        raise UserError(f"{log} holds no curve: train for more than one logged step first")
    names = sorted(curves, key=_place)
    end = max(max(steps) for steps, _ in curves.values())
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        steps, values = (np.asarray(v, np.float64) for v in curves[name])
        order = np.argsort(steps, kind="stable")  # a resumed run may log a step twice
        steps, values = steps[order], values[order]
        busy = len(values) > 30
        marker = "o" if len(values) < 12 else None
        axis.plot(
            steps, values, color=BLUE, alpha=0.25 if busy else 1.0, linewidth=1.2, marker=marker
        )
        if busy:
            axis.plot(steps, _smooth(values), color=BLUE, linewidth=1.8)
        axis.set_title(TITLES.get(name, name.replace("_", " ")), fontsize=11)
        axis.grid(color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, 1.03 * end)
        axis.margins(y=0.08)
    for axis in axes[len(names):]:
        axis.set_visible(False)
    figure.supxlabel("training step", fontsize=11)
    return _save(figure, output)


def plot_class_ap(
    names: Sequence[str],
    ap: Sequence[float],
    output: str | Path,
    *,
    rare: Sequence[bool] | None = None,
    title: str = "",
) -> Path:
    """Draw the AP of every class as a bar, best first, rare classes in a colour of their own.

    Args:
        names: of the classes, "ride bicycle".
        ap: in [0, 1], one a class; NaN (no ground truth) is left out and counted.
        output: the PNG to write.
        rare: which classes are rare, if that is known.
        title: above the chart.

    Returns:
        The path written.
    """
    values = 100 * np.asarray(ap, np.float64)
    if len(names) != len(values) or (rare is not None and len(rare) != len(values)):
        raise ValueError(
            f"{len(names)} names, {len(values)} APs and "
            f"{'no' if rare is None else len(rare)} rare flags must be one each a class"
        )
    flags = np.zeros(len(values), bool) if rare is None else np.asarray(rare, bool)
    kept = [i for i in np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable")
            if np.isfinite(values[i])]
    named = len(kept) <= 60  # more names than that can't be read
    height = max(2.4, 0.27 * len(kept) + 1.3) if named else 5.0
    figure = Figure(figsize=(8.0 if named else 12.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    places = np.arange(len(kept))
    colours = [ORANGE if flags[i] else BLUE for i in kept]
    if named:
        axis.barh(places, values[kept], color=colours, height=0.72)
        axis.set_yticks(places, [names[i] for i in kept], fontsize=10)
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.set_xlabel("AP, percent")
        axis.margins(y=0.01)
        for place, i in zip(places, kept, strict=True):
            axis.text(values[i] + 1 if values[i] < 90 else values[i] - 1, place,
                      f"{values[i]:.1f}", va="center", fontsize=9,
                      ha="left" if values[i] < 90 else "right",
                      color="black" if values[i] < 90 or flags[i] else "white")
    else:
        axis.bar(places, values[kept], color=colours, width=1.0)
        axis.set_ylim(0, 100)
        axis.set_ylabel("AP, percent")
        axis.set_xlabel("classes, best first")
        axis.margins(x=0.005)
    axis.grid(axis="x" if named else "y", color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    groups = [("all classes", BLUE, np.ones_like(flags))]
    if rare is not None:
        groups = [("non-rare", BLUE, ~flags), ("rare", ORANGE, flags)]
    for text, colour, members in groups:
        inside = values[members & np.isfinite(values)]
        mean = f"mean {inside.mean():.2f}" if inside.size else "none"
        axis.bar([0], [0], color=colour, label=f"{text} ({inside.size}): {mean}")
    missing = len(values) - len(kept)
    note = f"\n{missing} without ground truth left out" if missing else ""
    axis.set_title(title + note, fontsize=12, loc="left")
    axis.legend(loc="lower right" if named else "upper right", frameon=True, fontsize=10)
    return _save(figure, output)


def _place(name: str) -> tuple[int, str]:
    """Where a curve stands: the total, the other losses, evaluations, then how training went."""
    if name in TITLES:
        return 0, name
    if name.startswith("eval"):
        return 2, name
    return (3 if name in ("learning_rate", "images_per_second", "gradient_norm") else 1), name


def _smooth(values: np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the curve, shorter at its ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _save(figure: Figure, output: str | Path) -> Path:
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    return output
