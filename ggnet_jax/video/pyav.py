"""PyAV where it is installed, and its errors in one line."""

import importlib
from types import ModuleType

from ggnet_jax.errors import UserError


def require(what: str) -> ModuleType:
    """The module `av`.

    Args:
        what: that is to be read, for the message.

    Raises:
        UserError: it is not installed.
    """
    try:
        importlib.import_module("tqdm")  # for the progress
        import av
        import av.error
        import av.logging
    except ImportError as error:
        raise UserError(
            f"{what} needs the packages av (PyAV) and tqdm: pip install av tqdm"
        ) from error
    av.logging.set_level(av.logging.PANIC)  # what matters is said by us, once
    return av


def reason(error: BaseException) -> str:
    """What an exception of FFmpeg's says, on one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split())
