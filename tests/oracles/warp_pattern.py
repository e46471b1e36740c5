"""What the warp is tested on: real photos where there are any, and a pattern made by formula."""

from pathlib import Path

import numpy as np

INPUT_SIZES = ((512, 512), (256, 256), (384, 640))  # height, width
THINNED = 8  # of the recorded images every eighth row and column is kept
PHOTOS = ("bicycle_shop", "kitchen_cook", "tennis_umbrella", "umbrella", "000000012448")


def photo_path(shared: Path, name: str) -> Path:
    folder = "vcoco_mini/images" if name.isdecimal() else "photos"
    return shared / "data" / folder / f"{name}.jpg"


def make_pattern(shape: tuple[int, int]) -> np.ndarray:
    """RGB uint8 [*shape, 3] of waves fine and coarse, never black, not symmetrical."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    waves = [x / 3 + y / 11, y / 4 - x / 17, (x * y) / 400]
    return np.stack([140 + 100 * np.sin(w) for w in waves], axis=-1).astype(np.uint8)
