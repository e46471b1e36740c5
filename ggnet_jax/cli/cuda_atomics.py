"""A warning about versions of jaxlib whose float32 atomic adds are slow on NVIDIA GPUs.

There a float32 scatter-add becomes a loop of compare-and-swap, up to a thousand times slower where
many additions meet (github.com/jax-ml/jax/issues/38806), and the backward pass of a deformable
convolution adds about a hundred times into every cell. Requirements exclude these versions; this is
for an environment that was made without them.
"""

from importlib.metadata import version

_SLOW = ("0.10.2", "0.11.0")


def warning(platform: str) -> str:
    """One line for the user; '' where all is well.

    Args:
        platform: of the device, `jax.devices()[0].platform`.
    """
    installed = version("jaxlib")
    if platform not in ("gpu", "cuda") or installed not in _SLOW:
        return ""
    return (
        f"float32 atomic adds are slow on NVIDIA GPUs with jaxlib {installed}; "
        "training is faster with another version, see requirements.txt"
    )
