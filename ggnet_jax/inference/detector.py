"""Detector: what a user calls on an image."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np

from ggnet_jax.inference import detection
from ggnet_jax.inference.detection import Found
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.images import ImageLike, is_image, letterbox_image, load_image
from ggnet_jax.inference.interactions import Heatmaps, Interaction, to_interactions
from ggnet_jax.inference.prefetch import one_ahead, prefetch
from ggnet_jax.run_dir import checkpoints

DEFAULT_THRESHOLD = 0.1  # a score is a product of three probabilities: 0.46 each
EXPLAINED = 10  # interactions of an image that get heatmaps


class Explanation(NamedTuple):
    """What `draw_summary` and `draw_explanation` draw.

    Attributes:
        image: RGB uint8 [H, W, 3], upright.
        interactions: by descending score, in pixels of `image`.
        heatmaps: of the verbs of the first interactions.
    """

    image: np.ndarray
    interactions: list[Interaction]
    heatmaps: list[Heatmaps]


class _Input(NamedTuple):
    """An image [H, W, 3] warped to the network's input, uint8, and its own size in pixels."""

    pixels: np.ndarray
    width: int
    height: int


class Detector:
    """A trained network, ready for images.

        detector = ggnet_jax.Detector.load("/tmp/ggnet_demo")
        for interaction in detector.detect("photo.jpg"):
            print(interaction.label)

    The network is compiled on first use, once for single images and once for lists.
    """

    def __init__(
        self,
        trained: detection.Trained,
        *,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        compiled: Mapping[tuple[int, int], jax.stages.Compiled] | None = None,
    ):
        """Wrap a network that is already in memory; `Detector.load` reads one from disk.

        Args:
            trained: model, variables, vocabulary and configuration.
            batch_size: images that a list is worked through by at a time.
            max_pixels: width times height of the largest file that is read.
            compiled: what `detection.compile_detect` has already made of this network, by batch
                size and number of heatmaps.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.vocabulary = trained.vocabulary
        self.step = trained.step
        self.input_size: tuple[int, int] = tuple(trained.config.data.image_size)
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._trained = trained._replace(variables=jax.device_put(trained.variables))
        self._compiled = dict(compiled or {})

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike,
        step: checkpoints.Step = None,
        *,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        explained: int | None = None,
    ) -> "Detector":
        """Read a run's network from its workdir.

        Args:
            workdir: the folder that training wrote.
            step: of the checkpoint; None for the newest, "best" for the one that was chosen on the
                validation split.
            batch_size: images that a list is worked through by at a time.
            max_pixels: width times height of the largest file that is read.
            explained: compile while the weights are read, for `explain` with this `top_k` or, if
                it is 0, for `detect` with single images; None to compile on first use.

        Raises:
            UserError: the folder holds no run or no such checkpoint.
        """
        folder = Path(workdir)
        unread = detection.load_shapes(folder, step)
        compiled = {}
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(
                checkpoints.load_variables, folder, unread.step, onto=unread.variables
            )
            if explained is not None:
                heatmaps = min(explained, unread.config.eval.top_k)
                compiled[1, heatmaps] = detection.compile_detect(unread, 1, heatmaps=heatmaps)
            variables, _ = reading.result()
        trained = unread._replace(variables=variables)
        return cls(trained, batch_size=batch_size, max_pixels=max_pixels, compiled=compiled)

    @overload
    def detect(
        self, images: ImageLike, *, threshold: float = ..., top_k: int | None = ...
    ) -> list[Interaction]: ...

    @overload
    def detect(
        self, images: Iterable[ImageLike], *, threshold: float = ..., top_k: int | None = ...
    ) -> list[list[Interaction]]: ...

    def detect(
        self, images: Any, *, threshold: float = DEFAULT_THRESHOLD, top_k: int | None = None
    ) -> list[Interaction] | list[list[Interaction]]:
        """Find the interactions of one image, or of each of a list.

        Args:
            images: a path, the bytes of an image file, a Pillow image or an array uint8
                [H, W, 3] in RGB; or a list of these. EXIF rotation is applied first.
            threshold: interactions that score less are left out.
            top_k: at most so many an image.

        Returns:
            The interactions by descending score, in pixels of the image as shown (after the EXIF
            rotation); for a list of images, a list of such lists.

        Raises:
            UserError: an image can't be read; names it.
            TypeError, ValueError: something that is no image.
        """
        if is_image(images):
            given = self._warp(self._read(images))
            found = jax.device_get(self._dispatch([given]))
            return self._interactions(found, 0, given, threshold, top_k)
        return [
            self._interactions(found, row, given, threshold, top_k)
            for batch, found in self._stream(images)
            for row, given in enumerate(batch)
        ]

    def explain(
        self, image: ImageLike, *, threshold: float = DEFAULT_THRESHOLD, top_k: int = EXPLAINED
    ) -> Explanation:
        """Find an image's interactions with the heatmaps of their verbs, for drawings.

        Args:
            image: as `detect`.
            threshold: interactions that score less are left out.
            top_k: heatmaps are computed for so many interactions.

        Returns:
            All interactions as `detect` gives them, `Heatmaps` for the first `top_k`, and the
            image, read but once.
        """
        loaded = self._read(image)
        given = self._warp(loaded)
        top_k = min(top_k, self._trained.config.eval.top_k)
        found = jax.device_get(self._dispatch([given], heatmaps=top_k))
        interactions = self._interactions(found, 0, given, threshold, None)
        # Slots come by descending score, and those that hold nothing come last.
        maps = found.heatmaps[0, : len(interactions)] if top_k else ()
        return Explanation(loaded, interactions, [Heatmaps(m, self.input_size) for m in maps])

    def _stream(self, images: Iterable[ImageLike]) -> Iterator[tuple[list[_Input], Found]]:
        """Batches and what was found in them, as NumPy arrays.

        Threads read and warp the images of the next batch, and the device is given it, before
        the host waits for the last one.
        """
        inputs = prefetch(
            lambda image: self._warp(self._read(image)),
            images,
            depth=2 * self._batch_size,
            threads=min(8, os.cpu_count() or 1),
        )

        def dispatched() -> Iterator[tuple[list[_Input], Found]]:
            while batch := [future.result() for future in islice(inputs, self._batch_size)]:
                yield batch, self._dispatch(batch)

        for batch, found in one_ahead(dispatched()):
            yield batch, jax.device_get(found)

    def _read(self, image: ImageLike) -> np.ndarray:
        return load_image(image, max_pixels=self._max_pixels)

    def _warp(self, image: np.ndarray) -> _Input:
        height, width = image.shape[:2]
        return _Input(letterbox_image(image, self.input_size), width, height)

    def _dispatch(self, batch: Sequence[_Input], heatmaps: int = 0) -> Found:
        """Start detection on a batch of one, or of up to `batch_size`; the rest is black."""
        size = 1 if len(batch) == 1 else self._batch_size
        if (size, heatmaps) not in self._compiled:
            self._compiled[size, heatmaps] = detection.compile_detect(
                self._trained, size, heatmaps=heatmaps
            )
        images = np.zeros((size, *self.input_size, 3), np.uint8)
        for row, given in enumerate(batch):
            images[row] = given.pixels
        return self._compiled[size, heatmaps](self._trained.variables, images)

    def _interactions(
        self, found: Found, row: int, given: _Input, threshold: float, top_k: int | None
    ) -> list[Interaction]:
        return to_interactions(
            found,
            row,
            self.vocabulary,
            width=given.width,
            height=given.height,
            input_size=self.input_size,
            threshold=threshold,
            top_k=top_k,
        )
