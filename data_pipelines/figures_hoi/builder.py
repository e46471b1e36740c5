"""The TFDS builder `figures_hoi`."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.entries import Entries
from data_pipelines.figures_hoi import classes, scenes
from data_pipelines.hoi_builder import Entry, HoiBuilder
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

# Composing a scene takes as long as drawing it, so a split's first ones are kept from the entry to
# the image: 100 MB of them.
_KEPT_SCENES = 2000


@dataclasses.dataclass(eq=False)
class FiguresHoiConfig(tfds.core.BuilderConfig):
    """How many images of which size; the name, and so the folder, says all of it.

    Attributes:
        name: made from the others.
        size: side of the images in pixels.
        num_train: images in the split 'train'.
        num_test: images in the split 'test'.
        seed: another one gives other images.
        classes: those that are annotated; None for all.
    """

    name: str = ""
    size: int = 128
    num_train: int = 1000
    num_test: int = 300
    seed: int = 0
    classes: Vocabulary | None = None

    def __post_init__(self):
        for field, least in (("size", 32), ("num_train", 1), ("num_test", 1), ("seed", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(
                    f"figures_hoi: {field}={value!r} is not a whole number of {least} or more"
                )
        self.name = f"{self.size}px_train{self.num_train}_test{self.num_test}_seed{self.seed}"
        if self.classes is not None:
            self.name += f"_{classes.short_name(self.classes)}"


class FiguresHoi(HoiBuilder):
    """Rendered figures that ride, push, repair, hold, fly, kick and so on: 20 classes, 4 rare."""

    def __init__(self, *, config: FiguresHoiConfig | None = None, **kwargs: Any):
        """Take TFDS's arguments; the default config is the demo's data set."""
        self._config = config or FiguresHoiConfig()
        super().__init__(config=self._config, **kwargs)

    @classmethod
    def from_config(cls, data: Any) -> "FiguresHoi":
        """The builder for `config.data`; what `data.figures` leaves out is the default."""
        given = dict(data.get("figures", {}))
        config = FiguresHoiConfig(**given, classes=classes.load(data.get("vocabulary", "")))
        return cls(config=config, data_dir=data.data_dir or None)

    def load_vocabulary(self) -> Vocabulary:
        """The shipped vocabulary of this set, or the part of it that was asked for."""
        return self._config.classes or scenes.vocabulary()

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        numbers = {"train": self._config.num_train, "test": self._config.num_test}
        return {split: self._render(split, number) for split, number in numbers.items()}

    def _render(self, split: str, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        seed, size = self._config.seed, self._config.size
        composed: dict[int, scenes.Scene] = {}  # from the entry to the image

        def image(entry: Entry) -> bytes:
            index = entry["img_id"]
            scene = composed.pop(index, None) or scenes.compose(seed, split, index)
            return scenes.encode(scenes.render(scene, size))

        def entry(index: int) -> Entry:
            scene = scenes.compose(seed, split, index)
            if index < _KEPT_SCENES:
                composed[index] = scene
            whole = scenes.entry(scene, split, index, size)
            chosen = self._config.classes
            return whole if chosen is None else classes.restricted(whole, chosen)

        if (chosen := self._config.classes) is not None:
            self.notes[split] = [
                f"annotated: {chosen.num_classes} of {scenes.vocabulary().num_classes} classes, "
                "by config.data.vocabulary"
            ]
        entries = Entries(entry(index) for index in range(number))
        return self._generate_examples(split, entries, image)
