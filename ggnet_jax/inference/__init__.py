"""From pixels to interactions: `Detector` for images, `decoding` for maps (paper eq. 8).

The names below are imported on first use, so that `ggnet_jax.inference.images` and `.geometry`
load no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggnet_jax.inference.decoding import Detections, decode
    from ggnet_jax.inference.detector import Detector, Explanation
    from ggnet_jax.inference.images import letterbox_image, load_image
    from ggnet_jax.inference.interactions import Heatmaps, Interaction

__all__ = [
    "Detections",
    "Detector",
    "Explanation",
    "Heatmaps",
    "Interaction",
    "decode",
    "letterbox_image",
    "load_image",
]

_MODULES = {
    "decoding": ("Detections", "decode"),
    "detector": ("Detector", "Explanation"),
    "images": ("letterbox_image", "load_image"),
    "interactions": ("Heatmaps", "Interaction"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
