"""GGNet in JAX: one-stage human-object interaction detection.

The package is lazy: importing it, or `ggnet_jax.evaluation`, loads neither JAX nor Flax,
so that the evaluators can score the predictions of any repository.
"""

from typing import Any

__version__ = "0.2.0"
__all__ = ["Detector"]


def __getattr__(name: str) -> Any:
    """Import `Detector` on first use."""
    if name == "Detector":
        from ggnet_jax.inference.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
