"""Curves of a training run, as PNG files."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ggnet_jax.errors import UserError
from ggnet_jax.io import read_log, write_file
from ggnet_jax.visualize import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE = "#0072B2"
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
    curves = _read_curves(log)
    if not curves:
        raise UserError(f"{log} holds no curve: train for more than one logged step first")
    names = sorted(curves, key=_rank)
    end = max(max(steps) for steps, _ in curves.values())
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    # Most of matplotlib, which drawings of interactions do without: predicting starts sooner.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * columns, 2.7 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        _plot(axis, *curves[name])
        title = TITLES.get(name, name.replace("_", " "))
        font = fonts.path_for(title)
        axis.set_title(title, font=Path(font) if font else None, fontsize=11)
        axis.set_xlim(0, 1.03 * end)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    figure.supxlabel("training step", fontsize=11)
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    write_file(output, buffer.getvalue())
    return output


def _read_curves(log: str | Path) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of everything in a log that makes a curve, by name."""
    if not Path(log).is_file():
        raise UserError(f"no training log at {log}")
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for entry in read_log(log):
        for name, value in entry.items() if isinstance(entry, dict) and "step" in entry else ():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and name not in ("step", "epoch", "time") and np.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    return {
        name: curve
        for name, curve in curves.items()
        if len(curve[0]) > 1 or name.startswith("eval")
    }


def _rank(name: str) -> tuple[int, str]:
    """Order of the curves: the total, other losses, evaluations, then how training went."""
    if name in TITLES:
        return 0, name
    if name.startswith("eval"):
        return 2, name
    return (3 if name in ("learning_rate", "images_per_second", "gradient_norm") else 1), name


def _plot(axis: "Axes", steps: ArrayLike, values: ArrayLike) -> None:
    """One curve; a long one pale, under its running mean."""
    steps, values = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    order = np.argsort(steps, kind="stable")  # a resumed run may log a step twice
    steps, values = steps[order], values[order]
    busy = len(values) > 30
    marker = "o" if len(values) < 12 else None
    axis.plot(steps, values, color=BLUE, alpha=0.25 if busy else 1.0, linewidth=1.2, marker=marker)
    if busy:
        axis.plot(steps, _smooth(values), color=BLUE, linewidth=1.8)
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(y=0.08)


def _smooth(values: np.ndarray) -> np.ndarray:
    """A running mean over about a twentieth of the curve, shorter at its ends."""
    reach = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)
