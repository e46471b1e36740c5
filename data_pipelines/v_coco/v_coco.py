"""The TFDS builder of V-COCO."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_pipelines.files import FilesBuilder, FilesConfig, Source


class VCoco(FilesBuilder):
    """V-COCO (Gupta and Malik 2015): people's actions in COCO pictures, and what they act on.

    The config `ppdm` reads `annotations/{trainval,test}_vcoco.json` from `v_coco` in TFDS's manual
    folder; the pictures are COCO's of 2014 (`train2014`, `val2014`) or of 2017, whose names
    end in the same twelve digits.
    """

    WHERE_FROM: ClassVar[str] = (
        "cocodataset.org (pictures and instances) and github.com/s-gupta/v-coco (VSRL) or "
        "github.com/YueLiao/PPDM (JSON)"
    )
    BUILDER_CONFIGS: ClassVar[list[FilesConfig]] = [
        FilesConfig(name="ppdm", layout="ppdm", description="The field's JSON annotation."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Put v_coco/ here. Get its files from {WHERE_FROM}."

    def picture_names(self, name: str) -> tuple[str, ...]:
        """COCO's name of 2014, then that of 2017."""
        return (name, name.rpartition("_")[2])

    def standard_sources(self, folder: Path) -> Mapping[str, tuple[Source, ...]]:
        """The field's JSON files; training and validation pictures are both of train2014."""
        root = folder / "v_coco"
        return {
            split: (
                Source(
                    str(root / "annotations" / f"{name}_vcoco.json"),
                    (str(root / "images" / f"{pictures}2014"),),
                ),
            )
            for split, name, pictures in (("train", "trainval", "train"), ("test", "test", "val"))
        }
