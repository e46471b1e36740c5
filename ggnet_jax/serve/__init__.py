"""A web page around `Detector`: a photo in, its interactions and how the network saw them out.

    from ggnet_jax.serve import run_server
    run_server("/tmp/ggnet_demo")

`photos` and `markup` need no Gradio; `page` and `server` are the extra `serve`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggnet_jax.serve.server import run_server

__all__ = ["run_server"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the server loads JAX."""
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.server"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
