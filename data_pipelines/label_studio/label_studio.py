"""The TFDS builder of exports of Label Studio."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from data_pipelines.entries import Entries
from data_pipelines.files import Source
from data_pipelines.hoi_json import HoiJson
from data_pipelines.label_studio import addresses, convert
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary


class LabelStudio(HoiJson):
    """People and objects in your own images, annotated with Label Studio.

    `data.train_annotations` is an export in the format JSON, `data.train_images` the folder of its
    images. `data.vocabulary` is the class list that the labeling configuration was printed from;
    without it, the labels that occur are the classes.
    """

    NAME: ClassVar[str] = "label_studio"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._exports: dict[Source, convert.Export] = {}
        self._entries: dict[Source, Entries] = {}

    @classmethod
    def one_based(cls, path: str, origin: int, field: str) -> bool:
        """Percent have no first pixel."""
        if super().one_based(path, origin, field):
            raise UserError(f"{field}=1, but the boxes of Label Studio are in percent; leave it -1")
        return False

    def image_names(self, name: str) -> tuple[str, ...]:
        """As the export has it, then without what Label Studio puts before an uploaded file."""
        return (name, *addresses.without_prefix(name))

    def read_names(self, sources: Mapping[str, tuple[Source, ...]]) -> Vocabulary:
        """The vocabulary that was given, or the labels of all splits."""
        if self.files.vocabulary:
            return super().read_names(sources)
        every = [self._export(source) for parts in sources.values() for source in parts]
        return convert.names_of(every)

    def read_source(self, source: Source) -> Sequence[Any]:
        """An export's entries in the ids of the vocabulary."""
        if source not in self._entries:
            export = self._export(source)
            self._entries[source] = convert.entries(
                export, self.load_vocabulary(), source.images, accept_losses=self.accept_losses
            )
            self.notes.setdefault(source.split, []).extend(
                f"{source.annotations}: {line}" for line in export.findings.lines()
            )
        return self._entries[source]

    def _export(self, source: Source) -> convert.Export:
        if source not in self._exports:
            self._exports[source] = convert.Export.read(source.annotations)
        return self._exports[source]
