"""The shapes that the networks have, and made arrays for them."""

import math
from typing import NamedTuple

import numpy as np

ARRAYS = ("x", "offset", "mask", "weight", "bias")


class Case(NamedTuple):
    """One deformable convolution that keeps the size.

    Attributes:
      batch, side, channels: x is [batch, side, side, channels].
      taps: K, a square number.
      features: output channels.
    """

    batch: int
    side: int
    channels: int
    taps: int
    features: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.side} x {self.side} x {self.channels}, K = {self.taps}"

    @property
    def points(self) -> int:
        """Sampling points of a call."""
        return self.batch * self.side**2 * self.taps

    def flops(self, backward: bool) -> float:
        """Multiplications and additions: one product forward, three with backward."""
        products = 2.0 * self.points * self.channels * self.features
        corners = 8.0 * self.points * self.channels  # four products and sums a sample
        return (3 if backward else 1) * (products + corners)

    def bytes(self, backward: bool, itemsize: int) -> float:
        """What has to move at least: every array once, with backward its gradient too."""
        cells = self.batch * self.side**2
        weights = self.taps * self.channels * self.features
        values = cells * (self.channels + self.features) + weights
        return (3 if backward else 1) * (values * itemsize + 4.0 * 3 * self.points)


CASES = {
    "ggnet": Case(1, 128, 256, 25, 256),
    "ggnet_8": Case(8, 128, 256, 25, 256),
    "dla_64": Case(1, 128, 64, 9, 64),
    "dla_128": Case(1, 64, 128, 9, 128),
    "dla_256": Case(1, 32, 256, 9, 256),
    "dla_512": Case(1, 16, 512, 9, 512),
    "demo": Case(16, 32, 32, 9, 32),
    "tiny": Case(1, 8, 4, 9, 4),  # to see that everything works
}


def made_arrays(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """x, offset, mask, weight and bias as `deform_conv2d` takes them, float32.

    Offsets are of one cell's standard deviation: neighbouring pixels look at neighbouring places,
    as trained ActPoints do.
    """
    rng = np.random.default_rng(seed)
    side = math.isqrt(case.taps)
    place = (case.batch, case.side, case.side)
    arrays = {
        "x": rng.standard_normal((*place, case.channels), np.float32),
        "offset": rng.standard_normal((*place, case.taps, 2), np.float32),
        "mask": rng.random((*place, case.taps), np.float32),
        "weight": rng.standard_normal((side, side, case.channels, case.features), np.float32),
        "bias": rng.standard_normal(case.features, np.float32),
    }
    arrays["weight"] /= np.float32(math.sqrt(case.taps * case.channels))
    return arrays
