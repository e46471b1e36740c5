"""Both warps of images, the Detector's and the input pipeline's, against OpenCV's."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from reference_weights import FIXTURES
from warp_pattern import INPUT_SIZES, PHOTOS, THINNED, make_pattern, photo_path

from data_pipelines import augment
from ggnet_jax.inference.images import letterbox_image

BOUND = 0.5  # of 255, mean absolute difference


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(FIXTURES / "parity_warp.npz"))


def with_detector(image, input_size):
    return letterbox_image(image, input_size)


def with_pipeline(image, input_size):
    height, width = image.shape[:2]
    matrix = augment.warp_matrix(tf.constant(width), tf.constant(height), input_size)
    return tf.round(augment.warp_image(tf.constant(image), matrix, input_size)).numpy()


def differences(warp, image, input_size, expected):
    """Mean absolute difference as it is, and with the result half a pixel off; the least of four.

    A warp that is itself off by a fraction of a pixel would come nearer by one of the moves.
    """
    warped = warp(image, input_size).astype(np.float64)

    def against(other):
        return np.abs(((warped + other) / 2)[::THINNED, ::THINNED] - expected).mean()

    moves = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    return against(warped), min(against(np.roll(warped, move, axis=(0, 1))) for move in moves)


@pytest.mark.parametrize("warp", [with_detector, with_pipeline])
@pytest.mark.parametrize("input_size", INPUT_SIZES)
@pytest.mark.parametrize("shape", [(90, 120), (130, 70)])
def test_pattern(recorded, warp, input_size, shape):
    name = "x".join(map(str, input_size))
    expected = recorded["pattern_" + "x".join(map(str, shape)) + f"/{name}"]
    difference, moved = differences(warp, make_pattern(shape), input_size, expected)
    assert difference < BOUND
    assert moved > 3 * difference


@pytest.mark.parametrize("warp", [with_detector, with_pipeline])
@pytest.mark.parametrize("photo", PHOTOS)
def test_photos(recorded, shared_dir, warp, photo):
    with Image.open(photo_path(shared_dir, photo)) as file:
        image = np.asarray(file.convert("RGB"))
    # Decoders of JPEG may differ in the last bit, which is no matter of the warp.
    assert image.sum(dtype=np.int64) == pytest.approx(int(recorded[f"{photo}/sum"]), rel=1e-4)
    for input_size in INPUT_SIZES:
        expected = recorded[f"{photo}/" + "x".join(map(str, input_size))]
        difference, moved = differences(warp, image, input_size, expected)
        assert difference < BOUND, input_size
        assert moved > 3 * difference, input_size


def test_both_warps_agree():
    """Evaluation and the Detector show the network the same image."""
    image = make_pattern((90, 120))
    for input_size in INPUT_SIZES:
        apart = with_detector(image, input_size) - with_pipeline(image, input_size)
        assert np.abs(apart).max() <= 1
        assert (apart != 0).mean() < 0.01
