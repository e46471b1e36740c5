"""The TFDS builder of anyone's own data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipelines.entries import Entries
from data_pipelines.files import FilesBuilder, Source
from data_pipelines.merging import unique_entries
from data_pipelines.report import Report
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.vcoco_truth import is_vsrl
from ggnet_jax.vocabularies import Vocabulary, class_list


class HoiJson(FilesBuilder):
    """People and objects in your own images.

    `data.vocabulary` is a JSON file with the class list, {"objects": {"1": "person", ...}, "verbs":
    {"1": "ride", ...}} by `category_id`; which (verb, object) pairs form a class and which of
    them are rare is computed from the annotations. A whole vocabulary (a shipped name, or a file
    with "classes") is taken as it is.
    """

    NAME: ClassVar[str] = "json"  # `data.name`
    UPRIGHT: ClassVar[bool] = True  # people annotate what their viewer shows

    def load_vocabulary(self) -> Vocabulary:
        """The whole vocabulary that was given, or the one computed from the annotations."""
        if self._vocabulary is None:
            raise ValueError("the vocabulary is known once the annotations have been read")
        return self._vocabulary

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._vocabulary: Vocabulary | None = None
        self._computed = False

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        sources = self.files.sources
        if not sources:
            raise UserError(
                f"config.data.name={self.NAME} needs config.data.train_annotations and "
                "config.data.train_images"
            )
        self.check_files(sources)
        self._vocabulary = self._read_vocabulary(sources)
        return super()._split_generators(dl_manager)

    def read_annotations(self) -> dict[str, tuple[Entries, bool]]:
        """See the base class; the vocabulary is known afterwards."""
        sources = self.files.sources or {}
        self.check_files(sources)
        self._vocabulary = self._read_vocabulary(sources)
        return super().read_annotations()

    def read_source(self, source: Source) -> Sequence[Any]:
        """PPDM-format JSON."""
        content = super().read_source(source)
        if is_vsrl(content):
            raise UserError(
                f"{source.annotations} is V-COCO's own file, which config.data.name=v_coco reads"
            )
        return content

    def vocabulary_to_check(self) -> Vocabulary:
        """The vocabulary; classes computed from the annotations say nothing about these."""
        vocabulary = self.load_vocabulary()
        if self._computed:
            return dataclasses.replace(vocabulary, classes=(), rare=None)
        return vocabulary

    def read_names(self, sources: Mapping[str, tuple[Source, ...]]) -> Vocabulary:
        """The vocabulary that was given; without classes where it is a class list."""
        if not self.files.vocabulary:
            raise UserError(
                f"config.data.name=json needs config.data.vocabulary: a JSON file {class_list.FORM}"
            )
        return class_list.vocabulary(self.files.vocabulary)

    def _read_vocabulary(self, sources: Mapping[str, tuple[Source, ...]]) -> Vocabulary:
        self._vocabulary = names = self.read_names(sources)
        if names.classes:
            return names
        self._computed = True

        def entries(*splits: str) -> Entries:
            every = Entries()
            for source in (source for split in splits for source in sources.get(split, ())):
                every.extend(self.read_source(source))
            return unique_entries(every, Report())  # as they are trained on

        return vocabularies.from_annotations(
            entries("train"),
            dict(zip(names.object_ids, names.objects, strict=True)),
            dict(zip(names.verb_ids, names.verbs, strict=True)),
            name=names.name,
            evaluation_entries=entries("test", "val"),
        )
