"""Detector: what a user calls on a picture."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ggnet_jax import geometry, inference
from ggnet_jax import workdir as run_folder
from ggnet_jax.ahead import ahead
from ggnet_jax.errors import UserError
from ggnet_jax.inference import Found
from ggnet_jax.interactions import Heatmaps, Interaction, to_interactions

Picture = str | os.PathLike | bytes | Image.Image | np.ndarray
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

    def __init__(self, trained: inference.Trained, *, batch_size: int = 8):
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
        self._functions: dict[int, inference.DetectFn] = {}

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
        trained = inference.load(folder, step, device=jax.devices()[0], heatmaps=explained)
        return cls(trained, batch_size=batch_size)

    def detect(
        self,
        images: Picture | Iterable[Picture],
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
        if is_picture(images):
            ready = self._prepare(images)
            found = jax.device_get(self._begin([ready], heatmaps=0))
            return self._interactions(found, 0, ready, threshold, top_k)
        results = []
        for batch, found in self._stream(images):
            for row, ready in enumerate(batch):
                results.append(self._interactions(found, row, ready, threshold, top_k))
        return results

    def explain(
        self, image: Picture, *, threshold: float = DEFAULT_THRESHOLD, top_k: int = EXPLAINED
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

    def _stream(self, images: Iterable[Picture]) -> Iterator[tuple[list[_Ready], Found]]:
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

    def _prepare(self, image: Picture) -> _Ready:
        picture = load_picture(image)
        height, width = picture.shape[:2]
        return _Ready(width, height, letterbox_picture(picture, self.input_size))

    def _begin(self, batch: Sequence[_Ready], heatmaps: int) -> Found:
        """Detections, under way: of batches of one, or of `batch_size` with empty rows."""
        if heatmaps not in self._functions:
            self._functions[heatmaps] = inference.make_detect(
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


def is_picture(value: Any) -> bool:
    """Whether a value is one picture, rather than a list of them."""
    if isinstance(value, np.ndarray):
        return value.ndim != 4
    return isinstance(value, str | os.PathLike | bytes | bytearray | Image.Image)


def load_picture(source: Picture) -> np.ndarray:
    """Read a picture in any form as RGB uint8 [H, W, 3], upright.

    Grey, palette, CMYK and 16-bit pictures are converted; transparency is dropped.

    Raises:
        UserError: the file is missing, or no picture, or broken; the message names it.
        TypeError: not a form that a picture comes in.
        ValueError: an array that is no picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    if isinstance(source, bytes | bytearray):
        name, stream = f"picture of {len(source)} bytes", io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        name, stream = os.fspath(source), source
    else:
        raise TypeError(
            f"a picture is a path, bytes, a Pillow picture or a uint8 array, not "
            f"{type(source).__name__}"
        )
    try:
        with Image.open(stream) as picture:
            return _from_pillow(picture)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{name}: a folder, not a picture") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name}: not a picture that Pillow can read") from error
    # Decoders of the many formats fail in many ways on broken files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: broken picture ({error})") from error


def _from_pillow(picture: Image.Image) -> np.ndarray:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)  # convert() would clip these at 255
        if picture.mode != "F" or values.max(initial=0) > 255:
            values = values / 257.0
        grey = np.clip(np.round(values), 0, 255).astype(np.uint8)
        picture = Image.fromarray(grey)
    return np.asarray(picture.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ValueError(
            f"a picture array must be uint8 in [0, 255], not {array.dtype}; for floats in [0, 1] "
            "use np.round(255 * array).astype(np.uint8)"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise ValueError(f"a picture array must be [H, W, 3] in RGB order, not {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3))


def letterbox_picture(picture: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Warp RGB uint8 [h, w, 3] to the network's input [H, W, 3], black around it.

    Bilinear; input pixel (x, y) samples the picture exactly at the inverse of
    `geometry.letterbox`, and the picture fades to black within a pixel of its border, both as
    `cv2.warpAffine` does, which the released code uses.
    """
    height, width = picture.shape[:2]
    inverse = geometry.invert(geometry.letterbox(width, height, input_size))
    # The map has no rotation, so that rows and columns can be sampled one after the other.
    # Pillow's own warp truncates where OpenCV rounds, which makes pictures darker.
    rows = _sample(picture, inverse[1, 1] * np.arange(input_size[0]) + inverse[1, 2], axis=0)
    warped = _sample(rows, inverse[0, 0] * np.arange(input_size[1]) + inverse[0, 2], axis=1)
    return np.rint(warped).astype(np.uint8)


def _sample(values: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    """Read an axis of length n at fractional positions, linearly, zero outside; float32."""
    length = values.shape[axis]
    lower = np.floor(position)
    sampled = np.float32(0)
    for index, weight in ((lower, lower + 1 - position), (lower + 1, position - lower)):
        weight = np.where((index >= 0) & (index < length), weight, 0).astype(np.float32)
        weight = weight.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        nearest = np.clip(index, 0, length - 1).astype(np.intp)
        sampled = sampled + weight * np.take(values, nearest, axis)
    return sampled
