"""JAX's compilation cache, on by default, so that only a first start compiles.

JAX's key for an entry covers the program, the versions, XLA's flags and the device; of a CPU its
instruction set, so that one home folder serves machines of several types, and an entry that cannot
be read costs a warning. The folder is the user's and not part of a workdir, since JAX runs what it
finds there: a workdir from somebody else brings weights and no code.
"""

import os
from pathlib import Path

import jax

_MIN_COMPILE_TIME = "jax_persistent_cache_min_compile_time_secs"


def enable() -> Path | None:
    """Turn the cache on for this process; before anything is compiled.

    What the user has set stays: JAX_COMPILATION_CACHE_DIR for another folder,
    JAX_ENABLE_COMPILATION_CACHE=0 for no cache.

    Returns:
        The folder; None where the user has decided, or where there is no folder to write to.
    """
    settings = jax.config.values
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or settings["jax_compilation_cache_dir"]:
        return None
    if not settings["jax_enable_compilation_cache"]:
        return None
    folder = default_folder()
    if folder is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _MIN_COMPILE_TIME.upper() not in os.environ:
        jax.config.update(_MIN_COMPILE_TIME, 0.0)  # by default a program of under 1 s is not kept
    return folder


def default_folder() -> Path | None:
    """`$XDG_CACHE_HOME/ggnet_jax`, by default in ~/.cache, made if need be; None if it can't be."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
        folder = cache / "ggnet_jax"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # not writable; a user without a home
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
