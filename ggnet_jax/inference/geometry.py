"""The affine map between an image and the network's input, as 2x3 matrices. NumPy only.

Frames: image pixels and input pixels, both 0-based with pixel (0, 0) lying at the coordinate
(0, 0). There is no half-pixel term, as in the released code. Points are (x, y).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def letterbox(
    width: float, height: float, input_size: tuple[int, int], *, xp: Any = np
) -> np.ndarray:
    """Image pixels -> input pixels, keeping the aspect ratio and the center.

    A square input scales by `size / max(width, height)` as released; one that is not square by
    the smaller of the two ratios, so that the whole image is always inside.

    Args:
        width, height: the image's size in pixels.
        input_size: (H, W) of the network's input.
        xp: what computes the matrix: NumPy, or `tf.experimental.numpy` in a tf.data graph, where
            width and height are scalar tensors.

    Returns:
        A matrix [2, 3], `input = matrix @ (x, y, 1)`: NumPy's in float64, TensorFlow's in the
        precision of width and height.
    """
    input_height, input_width = input_size
    scale = xp.minimum(input_width / width, input_height / height)
    return xp.array(
        [
            [scale, 0.0, input_width / 2 - scale * width / 2],
            [0.0, scale, input_height / 2 - scale * height / 2],
        ]
    )


def invert(matrix: np.ndarray) -> np.ndarray:
    """The [2, 3] matrix of the opposite direction."""
    return np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))[:2]


def apply(matrix: np.ndarray, points: ArrayLike) -> np.ndarray:
    """Map points [..., 2] (x, y) by a [2, 3] matrix."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]


def clip_boxes(boxes: ArrayLike, width: float, height: float) -> np.ndarray:
    """Boxes [..., 4] (x1, y1, x2, y2) made to fit the image as the released detector does.

    x1 and y1 are clipped to the image, width and height to [10, width] and [10, height]; the
    far corner follows from them and may therefore lie outside.
    """
    boxes = np.asarray(boxes, np.float64)
    limit = np.array([width, height], np.float64)
    size = np.clip(boxes[..., 2:] - boxes[..., :2], 10.0, np.maximum(limit, 10.0))
    corner = np.clip(boxes[..., :2], 0.0, limit)
    return np.concatenate([corner, corner + size], axis=-1)


def fit_boxes(boxes: ArrayLike, width: float, height: float) -> np.ndarray:
    """Boxes [..., 4] (x1, y1, x2, y2) moved and cut so that they lie in the image.

    What is left is ten pixels wide and high, as the released detector has it, or the whole image
    where that is smaller.
    """
    boxes = np.asarray(boxes, np.float64)
    limit = np.array([width, height], np.float64)
    least = np.minimum(limit, 10.0)
    first = np.clip(boxes[..., :2], 0.0, limit - least)
    last = np.clip(boxes[..., 2:], first + least, limit)
    return np.concatenate([first, last], axis=-1)
