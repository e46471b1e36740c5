"""Drawings: interactions, ActPoints, heatmaps, learning curves, mistakes.

Nothing here runs a network or knows a data set; all of it draws what it is handed. The names below
are imported on first use, so that `ggnet_jax.visualize.mistakes` needs Pillow alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggnet_jax.visualize.canvas import save_drawing
    from ggnet_jax.visualize.charts import plot_learning_curves
    from ggnet_jax.visualize.drawing import draw_interactions, group_pairs
    from ggnet_jax.visualize.panels import draw_explanation, draw_summary

__all__ = [
    "draw_explanation",
    "draw_interactions",
    "draw_summary",
    "group_pairs",
    "plot_learning_curves",
    "save_drawing",
]

_MODULES = {
    "canvas": ("save_drawing",),
    "charts": ("plot_learning_curves",),
    "drawing": ("draw_interactions", "group_pairs"),
    "panels": ("draw_explanation", "draw_summary"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
