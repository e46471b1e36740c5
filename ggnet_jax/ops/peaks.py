"""Peaks of heatmaps: detection as points without non-maximum suppression of boxes."""

import jax
import jax.numpy as jnp
from jax import lax


def find_peaks(heatmap: jax.Array, count: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The highest local maxima of every map, over all channels.

    A cell is a peak if it equals the maximum of its 3 x 3 neighborhood (a max-pooling test, as
    CenterNet does it). Cells of one plateau are all peaks.

    Args:
        heatmap: scores or logits [B, h, w, C].
        count: how many peaks to return; where there are fewer, cells of value -inf fill up.

    Returns:
        score [B, n], cell int32 [B, n] (flat index y * w + x) and channel int32 [B, n], by
        descending score, n = min(count, h * w * C).
    """
    batch, height, width, channels = heatmap.shape
    neighborhood = lax.reduce_window(heatmap, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    peaks = jnp.where(heatmap == neighborhood, heatmap, -jnp.inf)
    peaks = peaks.reshape(batch, height * width, channels)
    count = min(count, height * width * channels)
    # The best n values lie in the n cells whose best value is highest, so that two short lists are
    # sorted instead of one with all channels. In order of place, equal values keep theirs.
    _, cells = lax.top_k(peaks.max(axis=-1), min(count, height * width))
    cells = jnp.sort(cells, axis=-1)
    peaks = jnp.take_along_axis(peaks, cells[..., None], axis=1)
    score, index = lax.top_k(peaks.reshape(batch, -1), count)
    cell = jnp.take_along_axis(cells, index // channels, axis=1)
    return score, cell, index % channels
