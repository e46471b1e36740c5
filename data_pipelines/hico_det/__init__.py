"""HICO-DET: 38,118 training and 9,658 test images, 117 verbs, 80 objects, 600 classes."""

from data_pipelines.hico_det.hico_det import HicoDet

__all__ = ["HicoDet"]
