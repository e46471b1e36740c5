"""The embedded data set: figures and everyday objects, rendered with Pillow, no network needed."""

from data_pipelines.figures_hoi.builder import FiguresHoi, FiguresHoiConfig

__all__ = ["FiguresHoi", "FiguresHoiConfig"]
