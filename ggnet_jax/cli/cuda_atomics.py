"""A guard against slow additions on NVIDIA GPUs with some versions of jaxlib.

From 0.10.2 to 0.11.0 a float32 scatter-add becomes a loop of compare-and-swap there, up to a
thousand times slower where many additions meet (github.com/jax-ml/jax/issues/38806). The deformable
convolution's backward pass adds about a hundred times into every cell. An option of the compiler
brings the hardware's own addition back; it flushes subnormal sums to zero. Hopper adds four
neighbouring numbers at once where XLA sees that it can, and does not need it then.
"""

import importlib.metadata
import re
from collections.abc import Mapping, MutableMapping

_OPTION = "-nvptx-allow-ftz-atomics"
_FLAG = "--xla_backend_extra_options="
_FIRST_SLOW, _FIRST_MENDED = (0, 10, 2), (0, 11, 1)
_PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")


def use_native_atomics(environment: MutableMapping[str, str]) -> bool:
    """Add the option to XLA_FLAGS where it is needed; for programs to call, before they use JAX.

    Args:
      environment: `os.environ`; XLA reads its flags when JAX first looks for devices.

    Returns:
      Whether the flags were changed: not if jaxlib is not of those versions, if JAX has no plugin
      for NVIDIA's GPUs or was told to use other devices, or if the option is there already.
    """
    platforms = environment.get("JAX_PLATFORMS", "")
    elsewhere = platforms and not re.search("cuda|gpu", platforms)
    if elsewhere or not _version("jaxlib") or not any(map(_version, _PLUGINS)):
        return False
    if not _is_slow("gpu", environment):
        return False
    flags = environment.get("XLA_FLAGS", "").split()
    for i, flag in enumerate(flags):
        if flag.startswith(_FLAG):  # a second one would replace the first
            flags[i] = f"{flag},{_OPTION}"
            break
    else:
        flags.append(_FLAG + _OPTION)
    environment["XLA_FLAGS"] = " ".join(flags)
    return True


def warning(platform: str, environment: Mapping[str, str]) -> str:
    """One line for a user whose process started without the option; '' where all is well.

    Args:
      platform: of the device, `jax.devices()[0].platform`.
      environment: with the XLA_FLAGS that were there when JAX first looked for devices.
    """
    if not _is_slow(platform, environment):
        return ""
    return (
        f"jaxlib {_version('jaxlib')} adds slowly on NVIDIA GPUs, and training may take many times "
        f"as long; start again with XLA_FLAGS={_FLAG}{_OPTION}, or with jaxlib 0.11.1"
    )


def _is_slow(platform: str, environment: Mapping[str, str]) -> bool:
    version = tuple(int(number) for number in re.findall(r"\d+", _version("jaxlib"))[:3])
    concerned = platform in ("gpu", "cuda") and _FIRST_SLOW <= version < _FIRST_MENDED
    return concerned and _OPTION not in environment.get("XLA_FLAGS", "")


def _version(package: str) -> str:
    """The installed version; '' for none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
