"""The best peaks of heatmaps, against one sort of everything."""

import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.ops import find_peaks


def test_peaks_of_a_plateau_and_their_order():
    heatmap = np.zeros((1, 4, 4, 2), np.float32)
    heatmap[0, 1, 1, 0], heatmap[0, 1, 2, 0], heatmap[0, 3, 3, 1] = 5, 3, 4
    score, at, channel = find_peaks(jnp.asarray(heatmap), 3)
    assert score[0, :2].tolist() == [5, 4]  # the 3 beside the 5 is no peak
    assert at[0, :2].tolist() == [5, 15] and channel[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(2, 9, 11, 5), (2, 3, 4, 7), (1, 6, 6, 1)])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_peaks_are_the_best_of_all_channels(shape, levels):
    """Against one stable sort of everything; few levels make many equal values."""
    heatmap = np.random.default_rng(levels).integers(0, levels, shape).astype(np.float32)
    padded = np.pad(heatmap, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    around = [padded[:, y : y + shape[1], x : x + shape[2]] for y in range(3) for x in range(3)]
    flat = np.where(heatmap == np.max(around, axis=0), heatmap, -np.inf).reshape(shape[0], -1)
    score, cell, channel = find_peaks(jnp.asarray(heatmap), 40)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :40]
    np.testing.assert_array_equal(cell * shape[-1] + channel, order)
    np.testing.assert_array_equal(score, np.take_along_axis(flat, order, axis=1))
