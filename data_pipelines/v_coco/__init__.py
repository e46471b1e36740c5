"""V-COCO: 5,400 training and validation and 4,946 test images, 25 verb-roles with an object."""

from data_pipelines.v_coco.v_coco import VCoco

__all__ = ["VCoco"]
