"""HICO-DET: 38,118 training and 9,658 test pictures, 117 verbs, 80 objects, 600 classes."""

from data_pipelines.hico_det.hico_det import HicoDet

__all__ = ["HicoDet"]
