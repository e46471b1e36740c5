"""Compiled programs kept on disk, so that only a first start compiles.

JAX's own cache: its key holds the program, its shapes, XLA's flags, JAX's version and the devices,
but of a CPU only that it is one, hence a folder for each type. The folder is the user's and not
part of a workdir, since JAX runs what it finds there: a workdir from somebody else brings weights
and no code.
"""

import hashlib
import os
import platform
from pathlib import Path

import jax

_SHORTEST = "jax_persistent_cache_min_compile_time_secs"


def keep_compiled() -> Path | None:
    """Let JAX keep what it compiles; for programs to call, before they use JAX.

    Changes JAX's configuration of the whole process. What the user has set stays:
    JAX_COMPILATION_CACHE_DIR for another folder, JAX_ENABLE_COMPILATION_CACHE=0 for none.

    Returns:
      The folder, or None where JAX's configuration was left alone: the user has decided, or there
      is no folder to write to.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir:
        return None
    if not jax.config.jax_enable_compilation_cache:
        return None
    folder = default_folder()
    if folder is None or not _writable(folder):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _SHORTEST.upper() not in os.environ:
        jax.config.update(_SHORTEST, 0.0)  # by default what compiles in a second is not kept
    return folder


def default_folder() -> Path | None:
    """`$XDG_CACHE_HOME/ggnet_jax/<type of CPU>`, under ~/.cache if that is not set."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return None
    return cache / "ggnet_jax" / f"{platform.machine() or 'cpu'}-{_processor()}"


def _processor() -> str:
    """A name for the instructions that this machine's CPU has, and for how they are scheduled."""
    told = [platform.processor()]
    try:
        cores = Path("/proc/cpuinfo").read_text().split("\n\n")
    except OSError:
        cores = []
    for line in cores[0].splitlines() if cores else ():
        name = line.partition(":")[0].strip().lower()
        if name in ("vendor_id", "cpu family", "model", "model name", "stepping", "flags"):
            told.append(line)
        elif name in ("cpu implementer", "cpu variant", "cpu part", "features"):  # Arm
            told.append(line)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
