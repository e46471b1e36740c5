"""One frame of a video, a folder or a camera."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ggnet_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame and where it is in its video.

    Attributes:
        number: of all frames of the video, from 0, whether they are chosen or not.
        time: seconds since the video's begin.
        read: its pixels, RGB uint8 [H, W, 3], upright.
        file_name: of a frame that is a file.
    """

    number: int
    time: Fraction
    read: Callable[[], np.ndarray]
    file_name: str | None = None


def read(frame: Frame) -> np.ndarray:
    """The pixels of a frame.

    Raises:
        UserError: it is broken.
    """
    return frame.read()


def broken(number: int, time: Fraction, why: str) -> Frame:
    """A frame that could not be decoded; `read` says why."""

    def fail() -> np.ndarray:
        raise UserError(why)

    return Frame(number, time, fail)
