"""The TFDS builder of V-COCO."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from data_pipelines.files import FilesBuilder, FilesConfig, Source
from data_pipelines.v_coco import vsrl
from ggnet_jax.errors import UserError


class VCoco(FilesBuilder):
    """V-COCO (Gupta and Malik 2015): people's actions in COCO images, and what they act on.

    Both configs expect a folder `v_coco` in TFDS's manual folder, with COCO's images of 2014 in
    `images/train2014` and `images/val2014` (or those of 2017 there, whose names end in the same
    twelve digits). `ppdm` reads `annotations/{trainval,test}_vcoco.json`; `official` reads
    V-COCO's `vcoco/vcoco_{trainval,test}.json` and COCO's
    `annotations/instances_{train,val}2014.json`.
    """

    WHERE_FROM: ClassVar[str] = (
        "cocodataset.org (images and instances_*.json) and github.com/s-gupta/v-coco "
        "(vcoco_*.json) or github.com/YueLiao/PPDM (*_vcoco.json)"
    )
    BUILDER_CONFIGS: ClassVar[list[FilesConfig]] = [
        FilesConfig(name="ppdm", description="PPDM-format JSON."),
        FilesConfig(name="official", description="VSRL and COCO instances."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Put v_coco/ here. Get its files from {WHERE_FROM}."

    def image_names(self, name: str) -> tuple[str, ...]:
        """COCO's name of 2014, then that of 2017."""
        return (name, name.rpartition("_")[2])

    def files_of(self, source: Source) -> tuple[str, ...]:
        """Those of the base, and the list of image ids."""
        return (*super().files_of(source), *map(str, vsrl.ids_files(source.annotations)))

    def read_source(self, source: Source) -> Sequence[Any]:
        """PPDM-format JSON, or VSRL's with COCO's instances."""
        content = super().read_source(source)
        if not vsrl.is_vsrl(content):
            return content
        if not source.instances:
            raise UserError(
                f"{source.annotations} is V-COCO's own file, which has no boxes; set "
                "config.data.train_instances and config.data.eval_instances to COCO's "
                "instances_*.json"
            )
        instances = vsrl.read_instances(source.instances)
        ids = vsrl.read_ids(source.annotations)
        notes = self.notes.setdefault(source.split, [])
        try:
            return vsrl.read(content, instances, self.load_vocabulary(), ids, notes)
        except UserError as error:
            raise UserError(f"{source.annotations}: {error}") from None

    def standard_sources(self, folder: Path) -> Mapping[str, tuple[Source, ...]]:
        """Training and validation images are COCO's train2014, test images val2014."""
        root = folder / "v_coco"
        official = self.files.name == "official"
        sources = {}
        for split, name, coco in (("train", "trainval", "train"), ("test", "test", "val")):
            file = f"vcoco/vcoco_{name}.json" if official else f"annotations/{name}_vcoco.json"
            boxes = (str(root / "annotations" / f"instances_{coco}2014.json"),)
            sources[split] = (
                Source(
                    annotations=str(root / file),
                    images=(str(root / "images" / f"{coco}2014"),),
                    split=split,
                    instances=boxes if official else (),
                ),
            )
        return sources
