"""The TFDS builder of HICO-DET."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data_pipelines.files import FilesBuilder, FilesConfig, Source
from ggnet_jax.errors import UserError

# Whether the first pixel is (1, 1): the official MATLAB file counts from 1, the field's test file
# kept that, its training file did not.
ONE_BASED: Mapping[str, bool] = {
    "anno_bbox.mat": True,
    "test_hico.json": True,
    "trainval_hico.json": False,
}


class HicoDet(FilesBuilder):
    """HICO-DET (Chao et al., WACV 2018): people, objects and 117 verbs in pictures from Flickr.

    The config `ppdm` reads the field's `trainval_hico.json` and `test_hico.json` from
    `hico_20160224_det/annotations` in TFDS's manual folder; the pictures are those of the official
    release, `hico_20160224_det/images/{train2015,test2015}`.
    """

    WHERE_FROM: ClassVar[str] = (
        "the HICO-DET page, umich-ywchao-hico.github.io (pictures and anno_bbox.mat), and "
        "github.com/YueLiao/PPDM (trainval_hico.json and test_hico.json)"
    )
    BUILDER_CONFIGS: ClassVar[list[FilesConfig]] = [
        FilesConfig(name="ppdm", layout="ppdm", description="The field's JSON annotation."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Put hico_20160224_det/ here. Get it from {WHERE_FROM}."

    @classmethod
    def one_based(cls, path: str, origin: int, field: str) -> bool:
        """Known by the file's name; any other file must say it."""
        if origin != -1:
            return super().one_based(path, origin, field)
        name = Path(path).name.removesuffix(".gz")
        if name not in ONE_BASED:
            raise UserError(
                f"{path} is none of {', '.join(ONE_BASED)}, so whether its pixels count from 0 or "
                f"from 1 is not known; set {field} to 0 or 1"
            )
        return ONE_BASED[name]

    def standard_sources(self, folder: Path) -> Mapping[str, tuple[Source, ...]]:
        """The official folder with the field's JSON files in `annotations`."""
        root = folder / "hico_20160224_det"
        files = {"train": "trainval_hico.json", "test": "test_hico.json"}
        return {
            split: (
                Source(
                    str(root / "annotations" / name),
                    (str(root / "images" / f"{split}2015"),),
                    ONE_BASED[name],
                ),
            )
            for split, name in files.items()
        }
