"""The TFDS builder of anyone's own data."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipelines.entries import Entries
from data_pipelines.files import FilesBuilder, Source
from data_pipelines.hoi_json import class_list
from data_pipelines.merging import unique_entries
from data_pipelines.report import Report
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.vcoco_truth import is_vsrl
from ggnet_jax.vocabularies import Vocabulary


class HoiJson(FilesBuilder):
    """People and objects in your own images.

    `data.vocabulary` is a JSON file with the class list, {"objects": {"1": "person", ...}, "verbs":
    {"1": "ride", ...}} by `category_id`; which (verb, object) pairs form a class and which of
    them are rare is computed from the annotations. A whole vocabulary (a shipped name, or a file
    with "classes") is taken as it is.
    """

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
            raise UserError("data.name=json needs data.train_annotations and data.train_images")
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
                f"{source.annotations} is V-COCO's own file, which data.name=v_coco reads"
            )
        return content

    def vocabulary_to_check(self) -> Vocabulary:
        """The vocabulary; classes computed from the annotations say nothing about these."""
        vocabulary = self.load_vocabulary()
        if self._computed:
            return dataclasses.replace(vocabulary, classes=(), rare=None)
        return vocabulary

    def _read_vocabulary(self, sources: Mapping[str, tuple[Source, ...]]) -> Vocabulary:
        given = self.files.vocabulary
        if not given:
            raise UserError(f"data.name=json needs data.vocabulary: a JSON file {class_list.FORM}")
        path = Path(given)
        if given in vocabularies.names() or not path.is_file():
            return vocabularies.load(given)
        fields = class_list.read(path)
        if "classes" in fields:
            return vocabularies.load(given)
        self._computed = True

        def entries(split: str) -> Entries:
            every = Entries()
            for source in sources.get(split, ()):
                every.extend(self.read_source(source))
            return unique_entries(every, Report())  # as they are trained on

        train, test = entries("train"), entries("test")
        try:
            return vocabularies.from_annotations(
                train, fields["objects"], fields["verbs"], name=path.stem, evaluation_entries=test
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
