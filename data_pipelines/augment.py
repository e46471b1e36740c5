"""Flip, scale, crop and color of training images, as TensorFlow ops; as CenterNet augments.

An image goes through one affine warp, image pixels -> input pixels,

    x_in = (x - center_x) * k + W_in / 2,    k = min(W_in / width, H_in / height) / scale

(y alike), with no half-pixel term, bilinear and black outside: `geometry.letterbox`, zoomed and
moved. `scale` is the extent of the source, so 0.7 zooms in. A flip mirrors the image,
x -> width - x - 1, and the center with it, which together is the same warp mirrored at W_in / 2:
x_in = (center_x - x) * k + W_in / 2.

Everything random is drawn at once from a stateless key by `draw`; what follows is a pure function
of the drawn numbers.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from ggnet_jax.inference import geometry

SCALES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
BORDER = 128  # of the region the crop's center is drawn from, halved where a side is too short
JITTER = 0.4  # brightness, contrast and saturation change by a factor of 1 +- this
LIGHTING = 0.1  # standard deviation along each principal component of color
GRAY = (0.299, 0.587, 0.114)  # R, G, B
EIGENVALUES = (0.2141788, 0.01817699, 0.00341571)
EIGENVECTORS = (  # rows R, G, B; a column for each eigenvalue
    (-0.56089297, 0.71832671, 0.41158938),
    (-0.5832747, 0.00994535, -0.81221408),
    (-0.58752847, -0.69563484, 0.41340352),
)


class Draw(NamedTuple):
    """The random numbers of one image.

    Attributes:
        flip: bool scalar.
        scale: float32 scalar, extent of the source relative to the whole image.
        center: [2] float32, (x, y) of the crop in unflipped image pixels.
        factors: [3] float32 of brightness, contrast and saturation.
        moments: [3] float32; the three are applied in ascending order of moment.
        lighting: [3] float32, one for each principal component.
    """

    flip: tf.Tensor
    scale: tf.Tensor
    center: tf.Tensor
    factors: tf.Tensor
    moments: tf.Tensor
    lighting: tf.Tensor


def example_key(seed: int, epoch: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """[2] int64 key of one example in one epoch, whatever was read before it."""
    fold_in: Any = tf.random.fold_in  # typed for Python's numbers
    key = tf.constant([seed, 0], tf.int64)
    for data in (epoch, position):
        key = fold_in(key, tf.cast(data, tf.int64), alg="philox")
    return key


def draw(
    key: tf.Tensor,
    width: tf.Tensor,
    height: tf.Tensor,
    *,
    flip: bool = True,
    scale: bool = True,
    crop: bool = True,
) -> Draw:
    """Draw one image's augmentation.

    What is switched off keeps its neutral value, and the others draw the same numbers as they
    would beside it.

    Args:
        key: [2] integers, from `example_key`.
        width: integer scalar, of the image.
        height: the same.
        flip: with probability 0.5.
        scale: one of SCALES.
        crop: center x uniform over the whole numbers in [b, width - b), y alike, b = BORDER halved
            until width > 2 b; otherwise the middle of the image.
    """
    uniform = tf.random.stateless_uniform([10], key, alg="philox")
    normal = tf.random.stateless_normal([3], key + 1, stddev=LIGHTING, alg="philox")
    size = tf.cast(tf.stack([width, height]), tf.float32)
    middle = size / 2.0
    if crop:
        borders = tf.constant([BORDER >> n for n in range(BORDER.bit_length() + 1)], tf.float32)
        fits = size[:, None] > 2.0 * borders
        border = tf.reduce_max(tf.where(fits, borders, 0.0), axis=1)
        middle = border + tf.floor(uniform[2:4] * (size - 2.0 * border))
    one = tf.constant(1.0)
    return Draw(
        flip=uniform[0] < 0.5 if flip else tf.constant(False),
        scale=tf.gather(SCALES, tf.cast(uniform[1] * len(SCALES), tf.int32)) if scale else one,
        center=middle,
        factors=1.0 + JITTER * (2.0 * uniform[4:7] - 1.0),
        moments=uniform[7:10],
        lighting=normal,
    )


def warp_matrix(
    width: tf.Tensor,
    height: tf.Tensor,
    input_size: tuple[int, int],
    drawn: Draw | None = None,
) -> tf.Tensor:
    """[2, 3] float32 affine map from image pixels to input pixels.

    Args:
        width: integer scalar, of the image.
        height: the same.
        input_size: (height, width) of the network's input.
        drawn: the augmentation; None shows the whole image, as evaluation does.
    """
    letterbox: Any = geometry.letterbox  # typed for Python's numbers
    sides = tf.unstack(tf.cast(tf.stack([width, height]), tf.float32))
    matrix = letterbox(*sides, input_size, xp=tf.experimental.numpy)
    if drawn is None:
        return matrix
    zoom = matrix[0, 0] / drawn.scale
    along = tf.stack([tf.where(drawn.flip, -zoom, zoom), zoom])
    middle = tf.constant([input_size[1] / 2, input_size[0] / 2], tf.float32)
    return tf.concat([tf.linalg.diag(along), (middle - along * drawn.center)[:, None]], axis=1)


def warp_image(image: tf.Tensor, matrix: tf.Tensor, input_size: tuple[int, int]) -> tf.Tensor:
    """[h, w, 3] of any number type -> [H, W, 3] float32 in the same range, black outside.

    `matrix` is `warp_matrix`'s; input pixel (i, j) takes the image at its inverse.
    """
    along = tf.linalg.diag_part(matrix[:, :2])
    back = tf.stack([1.0 / along[0], 0.0, -matrix[0, 2] / along[0]])
    down = tf.stack([0.0, 1.0 / along[1], -matrix[1, 2] / along[1]])
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],
        transforms=tf.concat([back, down, [0.0, 0.0]], axis=0)[None],
        output_shape=tf.constant(input_size, tf.int32),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    return tf.ensure_shape(warped, (*input_size, 3))


def warp_boxes(boxes: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """[n, 4] float32 boxes under the map, not clipped; a mirrored box has its sides exchanged."""
    corners = tf.reshape(boxes, [-1, 2, 2])
    moved = corners * tf.linalg.diag_part(matrix[:, :2]) + matrix[:, 2]
    return tf.concat([tf.reduce_min(moved, axis=1), tf.reduce_max(moved, axis=1)], axis=1)


def color(image: tf.Tensor, drawn: Draw) -> tf.Tensor:
    """[H, W, 3] float32 RGB in [0, 255] -> about [0, 1], jittered, not clipped.

    As CenterNet: brightness scales, contrast blends with the mean gray, saturation with the
    pixel's gray, both grays those of the image before any of the three; then PCA lighting. All
    of it is linear in the pixel, so that one 3 x 3 matrix and one shift do it: of the blend that
    an operation adds, only the operations after it take a part.
    """
    brightness, contrast, saturation = tf.unstack(drawn.factors)

    def later(moment: tf.Tensor) -> tf.Tensor:
        return tf.reduce_prod(tf.where(drawn.moments > moment, drawn.factors, 1.0))

    gray = tf.constant(GRAY)
    mean_gray = tf.reduce_sum(tf.reduce_mean(image, axis=[0, 1]) * gray) / 255.0
    keep = brightness * contrast * saturation
    of_gray = (1.0 - saturation) * later(drawn.moments[2])
    of_mean = (1.0 - contrast) * later(drawn.moments[1]) * mean_gray
    light = tf.linalg.matvec(tf.constant(EIGENVECTORS), EIGENVALUES * drawn.lighting)
    mix = (keep * tf.eye(3) + of_gray * tf.tile(gray[:, None], [1, 3])) / 255.0
    flat = tf.reshape(image, [-1, 3]) @ mix + (of_mean + light)
    return tf.reshape(flat, tf.shape(image))
