"""The network as StableHLO, which JAX runs on CPUs, GPUs and TPUs with any number of images."""

from pathlib import Path

import jax
from jax import export

from ggnet_jax import io
from ggnet_jax.inference import detection
from ggnet_jax.inference.export.function import network_function

MODEL, WEIGHTS = "model.stablehlo", "weights.safetensors"
PLATFORMS = ("cpu", "cuda", "tpu")
PACKAGES = ("safetensors", "flatbuffers")  # jax.export needs the second, and installs it not


def write(folder: Path, trained: detection.Trained) -> dict[str, object]:
    """Write `MODEL`, what `jax.export` serializes, and `WEIGHTS`.

    Args:
        folder: an empty one.
        trained: the network.

    Returns:
        What preprocessing.json says of the file.

    Raises:
        UserError: a file cannot be written.
    """
    from safetensors.numpy import save

    function = network_function(trained)
    shapes = {n: jax.ShapeDtypeStruct(w.shape, w.dtype) for n, w in function.weights.items()}
    exported = export.export(jax.jit(function.run), platforms=PLATFORMS)(shapes, function.images)
    io.write_file(folder / MODEL, bytes(exported.serialize()))
    io.write_file(folder / WEIGHTS, save(function.weights))
    return {
        "model": MODEL,
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "calling_convention_version": exported.calling_convention_version,
    }
