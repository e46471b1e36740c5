"""The TFDS builder `figures_hoi`."""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines.figures_hoi import scenes
from data_pipelines.hoi_builder import HoiBuilder
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary


@dataclasses.dataclass(eq=False)
class FiguresHoiConfig(tfds.core.BuilderConfig):
    """How many pictures of which size; the name, and so the folder, says all of it.

    Attributes:
      name: made from the others.
      size: side of the pictures in pixels.
      num_train: pictures in the split 'train'.
      num_test: pictures in the split 'test'.
      seed: another one gives other pictures.
    """

    name: str = ""
    size: int = 128
    num_train: int = 1000
    num_test: int = 300
    seed: int = 0

    def __post_init__(self):
        for field, least in (("size", 32), ("num_train", 1), ("num_test", 1), ("seed", 0)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(
                    f"figures_hoi: {field}={value!r} is not a whole number of {least} or more"
                )
        self.name = f"{self.size}px_train{self.num_train}_test{self.num_test}_seed{self.seed}"


class FiguresHoi(HoiBuilder):
    """Rendered figures that ride, push, repair, hold, fly, kick and so on: 20 classes, 4 rare."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        config: FiguresHoiConfig | str | None = None,
        size: int | None = None,
        num_train: int | None = None,
        num_test: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        """Take a config, or any of its fields.

        Raises:
          UserError: a field makes no sense.
        """
        given = {"size": size, "num_train": num_train, "num_test": num_test, "seed": seed}
        given = {key: value for key, value in given.items() if value is not None}
        if isinstance(config, str) and config:
            raise UserError(
                f"figures_hoi has no config {config!r}; pass size=, num_train=, num_test=, seed="
            )
        if config and given:
            raise UserError(f"figures_hoi: give a config or {', '.join(given)}, not both")
        super().__init__(config=config or FiguresHoiConfig(**given), **kwargs)

    @classmethod
    def from_config(cls, data: Any) -> "FiguresHoi":
        """The builder for `config.data`; what `data.figures` leaves out is the default."""
        given = dict(data.get("figures", {}))
        return cls(config=FiguresHoiConfig(**given), data_dir=data.data_dir or None)

    def load_vocabulary(self) -> Vocabulary:
        """The shipped vocabulary of this set."""
        return scenes.vocabulary()

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        config = self.builder_config
        numbers = {"train": config.num_train, "test": config.num_test}
        return {split: self._render(split, number) for split, number in numbers.items()}

    def _render(self, split: str, number: int):
        config = self.builder_config

        def picture(entry: dict[str, Any]) -> bytes:
            scene = scenes.compose(config.seed, split, entry["img_id"])
            return scenes.encode(scenes.render(scene, config.size))

        entries = [
            scenes.entry(scenes.compose(config.seed, split, index), split, index, config.size)
            for index in range(number)
        ]
        return self._generate_examples(split, entries, picture)
