"""Anyone's own images: annotations in PPDM's JSON format, a class list and an image folder."""

from data_pipelines.hoi_json.hoi_json import HoiJson

__all__ = ["HoiJson"]
