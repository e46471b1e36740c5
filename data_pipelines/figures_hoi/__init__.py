"""The rendered data set: people and everyday objects, drawn with Pillow, no network needed."""

from data_pipelines.figures_hoi.builder import FiguresHoi, FiguresHoiConfig

__all__ = ["FiguresHoi", "FiguresHoiConfig"]
