"""Anyone's own pictures: annotation in PPDM's JSON format, a class list and a picture folder."""

from data_pipelines.hoi_json.hoi_json import HoiJson

__all__ = ["HoiJson"]
