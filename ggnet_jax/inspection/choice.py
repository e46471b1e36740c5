"""Which images of a split to look at."""

import numpy as np

from ggnet_jax.inspection.columns import Columns


def varied_images(columns: Columns, number: int) -> list[int]:
    """Positions, ascending: an image of each verb, rarest first, then evenly spaced ones.

    Args:
        columns: of the split.
        number: of images, at most.
    """
    image, verb = columns.relation_image, columns.relations[:, 2]
    verbs, counts = np.unique(verb, return_counts=True)
    chosen: dict[int, None] = {}
    seen: set[int] = set()
    for one in verbs[np.argsort(counts, kind="stable")].tolist():
        if len(chosen) >= number:
            break
        if one not in seen:
            first = int(image[verb == one].min())
            chosen[first] = None
            seen.update(verb[image == first].tolist())
    total = len(columns.file_names)
    for position in np.linspace(0, total - 1, min(number, total)).round().astype(int).tolist():
        if len(chosen) < number:
            chosen[position] = None
    return sorted(chosen)
