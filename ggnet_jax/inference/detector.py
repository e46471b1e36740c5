"""Detector: what a user calls on a picture."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ggnet_jax.inference import detection
from ggnet_jax.inference.detection import Found
from ggnet_jax.inference.images import ImageLike, is_image, letterbox_image, load_image
from ggnet_jax.inference.interactions import Heatmaps, Interaction, to_interactions
from ggnet_jax.inference.prefetch import ahead
from ggnet_jax.run_dir import folder as run_folder

DEFAULT_THRESHOLD = 0.1  # a score is a product of three probabilities: 0.46 each
EXPLAINED = 10  # interactions of a picture that get heatmaps


class _Ready(NamedTuple):
    """A picture warped to the network's input, uint8 [H, W, 3], and its own size in pixels."""

    width: int
    height: int
    image: np.ndarray


class Detector:
    """A trained network, ready for pictures.

        detector = ggnet_jax.Detector.load("/tmp/ggnet_demo")
        for interaction in detector.detect("photo.jpg"):
            print(interaction.label)

    The network is compiled on first use, once for single pictures and once for lists.
    """

    def __init__(self, trained: detection.Trained, *, batch_size: int = 8):
        """Wrap a network that is already in memory; `Detector.load` reads one from disk.

        Args:
            trained: model, variables, vocabulary and configuration.
            batch_size: pictures that a list is worked through by at a time.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.vocabulary = trained.vocabulary
        self.step = trained.step
        self.input_size: tuple[int, int] = tuple(trained.config.data.image_size)
        self._batch_size = batch_size
        self._variables = jax.device_put(trained.variables)
        self._model = trained.model
        self._top_k = trained.config.eval.top_k
        self._functions: dict[int, detection.DetectFn] = {}

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike,
        step: int | None = None,
        *,
        batch_size: int = 8,
        explained: int | None = None,
    ) -> "Detector":
        """Read a run's network from its workdir.

        Args:
            workdir: the folder that training wrote.
            step: of the checkpoint; None for the newest.
            batch_size: pictures that a list is worked through by at a time.
            explained: compile while the weights are read, for `explain` with this `top_k` or, if
                it is 0, for `detect` with single pictures; None to compile on first use.

        Raises:
            UserError: the folder holds no run or no such checkpoint.
        """
        folder = Path(workdir)
        run_folder.require_run(folder)
        trained = detection.load(folder, step, device=jax.devices()[0], heatmaps=explained)
        return cls(trained, batch_size=batch_size)

    def detect(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int | None = None,
    ) -> list[Interaction] | list[list[Interaction]]:
        """Find the interactions of one picture, or of each of a list.

        Args:
            images: a path, the bytes of a picture file, a Pillow picture or an array uint8
                [H, W, 3] in RGB; or a list of these. EXIF rotation is applied first.
            threshold: interactions that score less are left out.
            top_k: at most so many a picture.

        Returns:
            The interactions by falling score, in pixels of the picture as shown (after the EXIF
            rotation); for a list of pictures, a list of such lists.

        Raises:
            UserError: a picture can't be read; names it.
            TypeError, ValueError: something that is no picture.
        """
        if is_image(images):
            ready = self._prepare(images)
            found = jax.device_get(self._begin([ready], heatmaps=0))
            return self._interactions(found, 0, ready, threshold, top_k)
        results = []
        for batch, found in self._stream(images):
            for row, ready in enumerate(batch):
                results.append(self._interactions(found, row, ready, threshold, top_k))
        return results

    def explain(
        self, image: ImageLike, *, threshold: float = DEFAULT_THRESHOLD, top_k: int = EXPLAINED
    ) -> tuple[list[Interaction], list[Heatmaps]]:
        """Find a picture's interactions with the heatmaps of their verbs, for figures.

        Args:
            image: as `detect`.
            threshold: interactions that score less are left out.
            top_k: heatmaps are computed for so many interactions.

        Returns:
            All interactions as `detect` gives them, and `Heatmaps` for the first `top_k`.
        """
        ready = self._prepare(image)
        top_k = min(top_k, self._top_k)
        found = jax.device_get(self._begin([ready], heatmaps=top_k))
        interactions = self._interactions(found, 0, ready, threshold, None)
        # Slots come by falling score, and those that hold nothing come last.
        maps = [Heatmaps(m, self.input_size) for m in found.heatmaps[0, : len(interactions)]]
        return interactions, maps

    def _stream(self, images: Iterable[ImageLike]) -> Iterator[tuple[list[_Ready], Found]]:
        """Batches and what was found in them.

        Threads read and warp the pictures of the next batch, and the device is given it, before
        the host waits for the last one.
        """
        futures = ahead(
            self._prepare, images, depth=2 * self._batch_size, threads=min(8, os.cpu_count() or 1)
        )
        begun: tuple[list[_Ready], Found] | None = None
        while batch := [future.result() for future in islice(futures, self._batch_size)]:
            last, begun = begun, (batch, self._begin(batch, heatmaps=0))
            if last is not None:
                yield last[0], jax.device_get(last[1])
        if begun is not None:
            yield begun[0], jax.device_get(begun[1])

    def _prepare(self, image: ImageLike) -> _Ready:
        picture = load_image(image)
        height, width = picture.shape[:2]
        return _Ready(width, height, letterbox_image(picture, self.input_size))

    def _begin(self, batch: Sequence[_Ready], heatmaps: int) -> Found:
        """Detections, under way: of batches of one, or of `batch_size` with empty rows."""
        if heatmaps not in self._functions:
            self._functions[heatmaps] = detection.make_detect(
                self._model,
                top_k=self._top_k,
                valid_pairs=self.vocabulary.valid_pairs,
                heatmaps=heatmaps,
            )
        size = 1 if len(batch) == 1 else self._batch_size
        images = np.zeros((size, *self.input_size, 3), np.uint8)
        for row, ready in enumerate(batch):
            images[row] = ready.image
        return self._functions[heatmaps](self._variables, images)

    def _interactions(
        self, found: Found, row: int, ready: _Ready, threshold: float, top_k: int | None
    ) -> list[Interaction]:
        return to_interactions(
            found,
            row,
            self.vocabulary,
            width=ready.width,
            height=ready.height,
            input_size=self.input_size,
            threshold=threshold,
            top_k=top_k,
        )
