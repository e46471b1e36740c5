"""Detector: what a user calls on an image."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import jax
import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.inference import box_formats, detection
from ggnet_jax.inference.detection import Found
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.images import (
    ImageLike,
    check_images,
    is_image,
    letterbox_image,
    load_image,
)
from ggnet_jax.inference.interactions import (
    Heatmaps,
    Interaction,
    check_choice,
    to_interactions,
)
from ggnet_jax.inference.network import Network
from ggnet_jax.inference.prefetch import in_background, one_ahead, prefetch
from ggnet_jax.run_dir import checkpoints

if TYPE_CHECKING:
    import supervision

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


class Result(NamedTuple):
    """What `Detector.results` found in one item.

    Attributes:
        item: as it was given.
        width, height: of the image in pixels; 0 if it could not be read.
        interactions: by descending score; empty if the image could not be read.
        image: RGB uint8 [H, W, 3], upright, if it was to be kept.
        error: why the image could not be read; None if it was.
    """

    item: Any
    width: int
    height: int
    interactions: list[Interaction]
    image: np.ndarray | None = None
    error: str | None = None


class _Input(NamedTuple):
    """An image [H, W, 3] warped to the network's input, uint8, and its own size in pixels."""

    pixels: np.ndarray
    width: int
    height: int
    image: np.ndarray | None = None


class Detector:
    """A trained network, ready for images.

        detector = ggnet_jax.Detector.load("/tmp/ggnet_demo")
        for interaction in detector.detect("photo.jpg"):
            print(interaction.label)

    The network is compiled on first use, once for single images and once for lists. All methods
    may be called by several threads at once.
    """

    def __init__(
        self,
        trained: detection.Trained,
        *,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        network: Callable[..., Found] | None = None,
    ):
        """Wrap a network that is already in memory; `Detector.load` reads one from disk.

        Args:
            trained: model, variables, vocabulary and configuration.
            batch_size: images that a list is worked through by at a time.
            max_pixels: width times height of the largest file that is read.
            network: what calls it, as a `Network` does; made of `trained` if None.

        Raises:
            ValueError: batch_size or max_pixels is less than 1.
        """
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"batch_size is a number of images, at least 1, not {batch_size!r}")
        if not isinstance(max_pixels, int | float | np.number) or not max_pixels >= 1:
            raise ValueError(f"max_pixels is width times height, at least 1, not {max_pixels!r}")
        self.vocabulary = trained.vocabulary
        self.step = trained.step
        self.input_size: tuple[int, int] = tuple(trained.config.data.image_size)
        self._top_k = trained.config.eval.top_k
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._network = network or Network(trained)

    @classmethod
    def load(
        cls,
        workdir: str | os.PathLike,
        step: checkpoints.Step = None,
        *,
        batch_size: int = 8,
        max_pixels: int = MAX_PIXELS,
        dtype: str | None = None,
        explained: int | None = None,
    ) -> "Detector":
        """Read a run's network from its workdir, or an exported one.

        Args:
            workdir: the folder that training wrote, or `--mode=export`; of the second all can be
                done that needs no heatmaps.
            step: of the checkpoint; None for the newest, "best" for the one that was chosen on the
                validation split.
            batch_size: images that a list is worked through by at a time.
            max_pixels: width times height of the largest file that is read.
            dtype: in which to convolve, 'float32' or 'bfloat16'; None for that of training.
            explained: compile while the weights are read, for `explain` with this `top_k` or, if
                it is 0, for `detect` with single images; None to compile on first use.

        Raises:
            UserError: the folder holds no run or no such checkpoint, or there is no such dtype.
        """
        from ggnet_jax.inference.export import read  # which few need

        folder = Path(workdir)
        if read.is_export(folder):
            if dtype is not None:
                raise UserError(f"{folder} is an exported network; its dtype is in the file")
            exported, calls = read.load(folder, step)
            return cls(exported, batch_size=batch_size, max_pixels=max_pixels, network=calls)
        unread = detection.load_shapes(folder, step, dtype)
        network = Network(unread)
        with ThreadPoolExecutor(1) as reader:
            reading = reader.submit(
                checkpoints.load_variables, folder, unread.step, onto=unread.variables
            )
            if explained is not None:
                network.compile(1, min(explained, unread.config.eval.top_k))
            network.put(reading.result()[0])
        return cls(unread, batch_size=batch_size, max_pixels=max_pixels, network=network)

    @overload
    def detect(
        self,
        images: ImageLike,
        *,
        threshold: float = ...,
        top_k: int | None = ...,
        channels: str = ...,
    ) -> list[Interaction]: ...

    @overload
    def detect(
        self,
        images: Iterable[ImageLike],
        *,
        threshold: float = ...,
        top_k: int | None = ...,
        channels: str = ...,
    ) -> list[list[Interaction]]: ...

    def detect(
        self,
        images: Any,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int | None = None,
        channels: str = "rgb",
    ) -> list[Interaction] | list[list[Interaction]]:
        """Find the interactions of one image, or of each of a list.

        Args:
            images: a path, the bytes of an image file, a Pillow image or an array [H, W, 3], uint8
                or floats in [0, 1]; or a list of these, of whatever sizes. EXIF rotation is
                applied first.
            threshold: interactions that score less are left out.
            top_k: at most so many an image.
            channels: the order of an array's, "rgb" or "bgr" (OpenCV's).

        Returns:
            The interactions by descending score, in pixels of the image as shown (after the EXIF
            rotation); for a list of images, a list of such lists.

        Raises:
            UserError: an image can't be read; names it.
            TypeError, ValueError: something that is no image, a threshold that is no score, or an
                unknown order of channels; in a list, `images[3]` says which.
        """
        check_choice(threshold, top_k)
        if is_image(images):
            given = self._warp(self._read(images, channels))
            found = jax.device_get(self._network(given.pixels[None]))
            return self._interactions(found, 0, given, threshold, top_k)
        check_images(images)
        return list(self.stream(images, threshold=threshold, top_k=top_k, channels=channels))

    def stream(
        self,
        frames: Iterable[ImageLike],
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int | None = None,
        channels: str = "rgb",
    ) -> Iterator[list[Interaction]]:
        """Find the interactions of each image of an iterator without end, in order.

            for interactions in detector.stream(frames):
                ...

        Images are taken from `frames` by a thread, and read while the network works on those
        before; a few batches are in memory at a time.

        Args:
            frames: images as `detect` takes them.
            threshold: as `detect`.
            top_k: as `detect`.
            channels: as `detect`.

        Yields:
            The interactions of each image, as `detect` gives them.

        Raises:
            UserError, TypeError, ValueError: as `detect`, after the results of the images before.
                What `frames` itself raises is raised alike.
        """
        results = self.results(frames, threshold=threshold, top_k=top_k, channels=channels)
        try:
            for result in results:
                if result.error is not None:
                    raise UserError(result.error)
                yield result.interactions
        finally:
            results.close()

    def results(
        self,
        items: Iterable[Any],
        *,
        image_of: Callable[[Any], ImageLike] | None = None,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int | None = None,
        channels: str = "rgb",
        keep_images: bool = False,
        whole_batches: bool = False,
    ) -> Generator[Result, None, None]:
        """`stream` that gives each item back with what was found in it, or why it wasn't read.

        Args:
            items: images, or anything that has one.
            image_of: the image of an item; called by several threads. None for the item itself.
            threshold: as `detect`.
            top_k: as `detect`.
            channels: as `detect`.
            keep_images: give the images back too, which takes their memory.
            whole_batches: let the network see `batch_size` images also where one is left, so that
                the same image gets the same numbers wherever it stands.

        Yields:
            For each item, in order, its `Result`.

        Raises:
            TypeError, ValueError: an item is no image.
        """
        check_choice(threshold, top_k)

        def read(item: Any) -> _Input:
            image = self._read(item if image_of is None else image_of(item), channels)
            given = self._warp(image)
            return given._replace(image=image) if keep_images else given

        found = self._results(items, read, threshold, top_k, whole_batches)
        return in_background(found, depth=self._batch_size)

    def _results(
        self,
        items: Iterable[Any],
        read: Callable[[Any], _Input],
        threshold: float,
        top_k: int | None,
        whole_batches: bool,
    ) -> Iterator[Result]:
        """Results of items; the device is given a batch before the host waits for the last one."""
        failure: list[Exception] = []

        def until_failure() -> Iterator[Any]:
            try:
                yield from items
            except Exception as error:  # the results of the items before come first
                failure.append(error)

        def reading(numbered: tuple[int, Any]) -> tuple[Any, _Input | str]:
            number, item = numbered
            try:
                return item, read(item)
            except (UserError, MemoryError) as error:
                return item, str(error) or "out of memory"
            except (TypeError, ValueError) as error:
                if type(error) not in (TypeError, ValueError):  # whose messages are not ours
                    raise
                raise type(error)(f"images[{number}]: {error}") from error

        taken = in_background(until_failure(), depth=self._batch_size)
        inputs = prefetch(
            reading,
            enumerate(taken),
            depth=2 * self._batch_size,
            threads=min(8, os.cpu_count() or 1),
        )
        with contextlib.closing(taken), contextlib.closing(inputs):
            for batch, found in one_ahead(self._dispatched(inputs, whole_batches)):
                found = jax.device_get(found)
                row = 0
                for item, given in batch:
                    if isinstance(given, str):
                        yield Result(item, 0, 0, [], error=given)
                        continue
                    one = self._interactions(found, row, given, threshold, top_k)
                    yield Result(item, given.width, given.height, one, given.image)
                    row += 1
        if failure:
            raise failure[0]

    def _dispatched(
        self, inputs: Iterator[Future[tuple[Any, _Input | str]]], whole_batches: bool
    ) -> Iterator[tuple[list[tuple[Any, _Input | str]], Found | None]]:
        """Batches, and detection on those of their items that were read, started."""
        while batch := [future.result() for future in islice(inputs, self._batch_size)]:
            pixels = [given.pixels for _, given in batch if isinstance(given, _Input)]
            size = 1 if len(pixels) == 1 and not whole_batches else self._batch_size
            images = np.zeros((size, *self.input_size, 3), np.uint8)  # the rest is black
            images[: len(pixels)] = pixels if pixels else 0
            yield batch, self._network(images) if pixels else None

    def explain(
        self,
        image: ImageLike,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int = EXPLAINED,
        channels: str = "rgb",
    ) -> Explanation:
        """Find an image's interactions with the heatmaps of their verbs, for drawings.

        Args:
            image: as `detect`.
            threshold: interactions that score less are left out.
            top_k: heatmaps are computed for so many interactions.
            channels: as `detect`.

        Returns:
            All interactions as `detect` gives them, `Heatmaps` for the first `top_k`, and the
            image, read but once.

        Raises:
            UserError, TypeError, ValueError: as `detect`.
        """
        check_choice(threshold, top_k)
        loaded = self._read(image, channels)
        given = self._warp(loaded)
        top_k = min(top_k, self._top_k)
        found = jax.device_get(self._network(given.pixels[None], heatmaps=top_k))
        interactions = self._interactions(found, 0, given, threshold, None)
        # Slots come by descending score, and those that hold nothing come last.
        maps = found.heatmaps[0, : len(interactions)] if top_k else ()
        return Explanation(loaded, interactions, [Heatmaps(m, self.input_size) for m in maps])

    def to_supervision(self, interactions: Sequence[Interaction]) -> "supervision.Detections":
        """The people and objects of an image for the package supervision.

        See `box_formats.to_supervision`; needs `pip install supervision`.
        """
        return box_formats.to_supervision(interactions, self.vocabulary)

    def to_coco_results(
        self, interactions: Sequence[Interaction], image_id: int | str
    ) -> list[dict[str, Any]]:
        """The people and objects of an image as entries of COCO's results format.

        See `box_formats.to_coco_results`.
        """
        return box_formats.to_coco_results(interactions, self.vocabulary, image_id=image_id)

    def _read(self, image: ImageLike, channels: str) -> np.ndarray:
        return load_image(image, max_pixels=self._max_pixels, channels=channels)

    def _warp(self, image: np.ndarray) -> _Input:
        height, width = image.shape[:2]
        return _Input(letterbox_image(image, self.input_size), width, height)

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
