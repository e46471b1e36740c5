"""The TFDS builder of HICO-DET."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from data_pipelines.files import FilesBuilder, FilesConfig, Source
from data_pipelines.hico_det import official
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.vcoco_truth import is_vsrl

# Whether the first pixel is (1, 1): the official MATLAB file counts from 1, PPDM's test file kept
# that, its training file did not.
ONE_BASED: Mapping[str, bool] = {
    "anno_bbox.mat": True,
    "test_hico.json": True,
    "trainval_hico.json": False,
    "instances_train2015.json": True,  # pocket's, with the boxes of anno_bbox.mat
    "instances_test2015.json": True,
}


class HicoDet(FilesBuilder):
    """HICO-DET (Chao et al., WACV 2018): people, objects and 117 verbs in images from Flickr.

    Both configs expect the official release, `hico_20160224_det` with `images/train2015` and
    `images/test2015`, in TFDS's manual folder. `ppdm` reads the PPDM-format
    `annotations/trainval_hico.json` and `annotations/test_hico.json` in it, `official` the
    release's own `anno_bbox.mat`.
    """

    WHERE_FROM: ClassVar[str] = (
        "the HICO-DET page, umich-ywchao-hico.github.io (images and anno_bbox.mat), and "
        "github.com/YueLiao/PPDM (trainval_hico.json and test_hico.json)"
    )
    BUILDER_CONFIGS: ClassVar[list[FilesConfig]] = [
        FilesConfig(name="ppdm", description="PPDM-format JSON."),
        FilesConfig(name="official", description="anno_bbox.mat."),
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
                f"{path} is none of {', '.join(ONE_BASED)}, so it is not known whether its boxes "
                f"count pixels from 0 or from 1; set {field} to 0 or 1"
            )
        return ONE_BASED[name]

    def read_source(self, source: Source) -> Sequence[Any]:
        """PPDM-format JSON, or the official MATLAB file."""
        if Path(source.annotations).suffix == ".mat":
            return official.read(source.annotations, source.split, self.load_vocabulary())
        content = super().read_source(source)
        if is_vsrl(content):
            raise UserError(
                f"{source.annotations} is V-COCO's own file, which config.data.name=v_coco reads"
            )
        return content

    def standard_sources(self, folder: Path) -> Mapping[str, tuple[Source, ...]]:
        """The official folder, with PPDM-format JSON files in `annotations` or without."""
        root = folder / "hico_20160224_det"
        files = {"train": "annotations/trainval_hico.json", "test": "annotations/test_hico.json"}
        if self.files.name == "official":
            files = dict.fromkeys(files, "anno_bbox.mat")
        return {
            split: (
                Source(
                    annotations=str(root / name),
                    images=(str(root / "images" / f"{split}2015"),),
                    split=split,
                    one_based=ONE_BASED[Path(name).name],
                ),
            )
            for split, name in files.items()
        }
