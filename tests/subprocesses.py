"""Python in other processes, with other devices than the tests' own."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Most of a test's time is compilation: compile fast rather than well.
COMPILE_FAST = "--xla_backend_optimization_level=0"
if metadata.version("jaxlib").startswith("0.10."):  # newer ones end at a flag that they don't know
    # Not by the emitters that write fusions as MLIR first: a training step in half of the time.
    COMPILE_FAST += " --xla_cpu_use_fusion_emitters=false"


def environment(
    *, devices: int = 1, cache: str | Path | None = None, optimize: bool = False
) -> dict[str, str]:
    """Environment of a process with virtual CPU devices.

    Args:
      devices: how many.
      cache: a folder where processes that compile the same find it compiled; None for none, so
        that tests leave the user's own as it is.
      optimize: compile well; otherwise fast, which most tests want.
    """
    flags = [f"--xla_force_host_platform_device_count={devices}"]
    if not optimize:
        flags.append(COMPILE_FAST)
    variables = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(REPOSITORY),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": " ".join(flags),
    }
    if cache is None:
        variables["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    else:
        variables["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
    return variables


def run_python(*arguments: str, timeout: float = 300, **options) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` at the repository's root; options as for `environment`."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(**options),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start_python(*arguments: str, **options) -> subprocess.Popen:
    """Start `python ARGUMENTS`; stdout and stderr go to the pipe `stdout`."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(**options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
