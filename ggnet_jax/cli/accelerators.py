"""Whether JAX will find an accelerator, told without starting JAX.

A configuration is read before the processes of a run have joined, and JAX must not have looked for
devices by then. So this looks for what JAX would need: the plugin that is installed with
`jax[cuda13]` or `jax[tpu]`, and the device.
"""

import glob
import importlib.metadata
import importlib.util
import os

# Modules of which one is installed -> files of which one is there.
_KINDS = (
    (
        ("jax_cuda12_plugin", "jax_cuda13_plugin"),
        ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/dxg"),
    ),
    (("jax_rocm60_plugin", "jax_rocm7_plugin"), ("/dev/kfd",)),
    (("libtpu",), ("/dev/accel*", "/dev/vfio/[0-9]*")),
)


def expected() -> bool:
    """Whether JAX is going to use an accelerator; what `JAX_PLATFORMS` asks for counts first."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked:
        return asked.split(",")[0].strip().lower() != "cpu"
    if importlib.metadata.entry_points(group="jax_plugins"):  # of a maker's own
        return True
    return any(
        any(map(_is_installed, modules)) and any(map(glob.glob, files)) for modules, files in _KINDS
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
