"""Slow NumPy restatements of the warp and the color jitter, written from paper.md's formulas."""

import numpy as np

BGR_EIGENVECTORS = np.array(
    [
        [-0.58752847, -0.69563484, 0.41340352],
        [-0.5832747, 0.00994535, -0.81221408],
        [-0.56089297, 0.71832671, 0.41158938],
    ]
)
EIGENVALUES = np.array([0.2141788, 0.01817699, 0.00341571])


def released_matrix(width, height, size, flip=False, scale=1.0, center=None):
    """The 2 x 3 map, with the flip as a step of its own: pixels and center are mirrored first."""
    zoom = min(size[1] / width, size[0] / height) / scale
    center = (width / 2, height / 2) if center is None else center
    mirror = np.eye(3)
    if flip:
        mirror = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])
        center = (width - center[0] - 1, center[1])
    shift = (size[1] / 2 - zoom * center[0], size[0] / 2 - zoom * center[1])
    warp = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]], [0, 0, 1]])
    return (warp @ mirror)[:2]


def slow_warp(image, matrix, size):
    """Bilinear sampling in a loop: every input pixel looks up its place in the image."""
    result = np.zeros((*size, 3))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    for j in range(size[0]):
        for i in range(size[1]):
            x, y, _ = inverse @ (i, j, 1)
            for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                    if 0 <= column < image.shape[1] and 0 <= row < image.shape[0]:
                        weight = (1 - abs(x - column)) * (1 - abs(y - row))
                        result[j, i] += weight * image[row, column]
    return result


def slow_color(image, factors, moments, lighting):
    """CenterNet's order of things: three blends one after the other, then lighting."""
    image = image.astype(np.float64) / 255
    gray = image @ np.array([0.299, 0.587, 0.114])
    mean = gray.mean()
    brightness, contrast, saturation = np.asarray(factors, np.float64)
    for which in np.argsort(moments):
        if which == 0:
            image = image * brightness
        elif which == 1:
            image = image * contrast + mean * (1 - contrast)
        else:
            image = image * saturation + gray[..., None] * (1 - saturation)
    return image + (BGR_EIGENVECTORS @ (EIGENVALUES * np.asarray(lighting)))[::-1]
