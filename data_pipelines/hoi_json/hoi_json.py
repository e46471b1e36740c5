"""The TFDS builder of anyone's own data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_pipelines.files import FilesBuilder, Source
from ggnet_jax import io, vocabularies
from ggnet_jax.errors import UserError
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

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        sources = self.files.sources
        if not sources:
            raise UserError("data.name=json needs data.train_annotations and data.train_images")
        self.check_files(sources)
        self._vocabulary = self._read_vocabulary(sources)
        return super()._split_generators(dl_manager)

    def _read_vocabulary(self, sources: Mapping[str, tuple[Source, ...]]) -> Vocabulary:
        given = self.files.vocabulary
        if not given:
            raise UserError(
                'data.name=json needs data.vocabulary: a JSON file {"objects": {"1": "person"}, '
                '"verbs": {"1": "ride"}}'
            )
        path = Path(given)
        if given in vocabularies.names() or not path.is_file():
            return vocabularies.load(given)
        fields = io.read_json(path)
        if "classes" in fields:
            return vocabularies.load(given)
        for key in ("objects", "verbs"):
            if key not in fields:
                raise UserError(f'{path} has no "{key}"; a class list needs objects and verbs')

        def entries(split: str) -> list[Any]:
            every = [e for source in sources.get(split, ()) for e in self.read_source(source)]
            return [entry for entry in every if isinstance(entry, dict)]

        return vocabularies.from_annotations(
            entries("train"),
            fields["objects"],
            fields["verbs"],
            name=path.stem,
            evaluation_entries=entries("test"),
        )
