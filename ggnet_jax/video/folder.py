"""A folder of frames as a video."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from ggnet_jax.errors import UserError
from ggnet_jax.inference import image_files
from ggnet_jax.inference.images import load_image
from ggnet_jax.video.frames import Frame


class FrameFolder:
    """The image files of a folder, frame by frame; attributes as those of `reading.Video`.

    They follow by name, numbers in names by their value: `9.png` comes before `10.png`.
    """

    def __init__(self, folder: Path, frame_rate: Fraction, max_pixels: int):
        """List a folder.

        Raises:
            UserError: it cannot be read, or holds no image.
        """
        self.name, self.path = str(folder), None
        self.frame_rate, self.time_base = frame_rate, 1 / frame_rate
        self.pixel_shape, self.start = Fraction(1), Fraction(0)
        self.ended_early: str | None = None
        self._max_pixels = max_pixels
        try:
            entries = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
        except OSError as error:
            raise UserError(f"cannot read the folder {folder}: {error.strerror}") from error
        frames = [
            path
            for path in entries
            if path.suffix.lower() in image_files.endings() and not path.name.startswith(".")
        ]
        self._files = sorted(frames, key=lambda path: natural_key(path.name))
        self.total: int | None = len(self._files)
        if not frames:
            endings = ", ".join(sorted(image_files.endings()))
            raise UserError(f"{folder}: no image there ({endings})")

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Every so many of its frames, in order."""
        for number, path in enumerate(self._files):
            if number % every == 0:
                read = partial(load_image, path, max_pixels=self._max_pixels)
                yield Frame(number, number / self.frame_rate, read, path.name)

    def close(self) -> None:
        """Nothing is open."""


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts the numbers in names by their value."""
    parts = re.split(r"(\d+)", name)
    key: list[tuple[int, int | str]] = [
        (0, int(part)) if part.isdecimal() else (1, part) for part in parts if part
    ]
    return [*key, (1, name)]
