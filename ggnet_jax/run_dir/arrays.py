"""What the arrays of a checkpoint must be: finite, and after a save the ones that were saved."""

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.checksums import DamagedError


def check_finite(place: Path, leaves: Mapping[str, np.ndarray]) -> None:
    """Raise a UserError that names the first array with NaN or infinity, and its checkpoint."""
    for name, leaf in leaves.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        with np.errstate(all="ignore"):
            # One pass without a temporary array: a sum of float32 numbers does not leave float64.
            fine = np.isfinite(np.sum(np.asarray(leaf), dtype=np.float64))
        if not fine:
            raise UserError(
                f"checkpoint {place}: {name} holds values that are not finite (NaN or infinity); "
                "remove that folder to use the one before it"
            )


def check_equal(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Raise a DamagedError unless the very same arrays were read."""
    if found.keys() != expected.keys():
        name = min(found.keys() ^ expected.keys())
        raise DamagedError(f"what was written does not read as it was: {name}")
    for name, array in expected.items():
        same = found[name].dtype == array.dtype and found[name].shape == array.shape
        if not same or not np.array_equal(_bytes(found[name]), _bytes(array)):
            raise DamagedError(f"what was written does not read as it was: {name}")


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
