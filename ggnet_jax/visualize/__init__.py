"""Drawings: interactions, ActPoints, heatmaps, learning curves.

Nothing here runs a network or knows a data set; all of it draws what it is handed.
"""

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
