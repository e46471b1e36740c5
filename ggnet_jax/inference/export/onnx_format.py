"""The network as ONNX, which onnxruntime runs in many languages and in browsers."""

import dataclasses
from pathlib import Path

from ggnet_jax import io, models
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.export import onnx_graph
from ggnet_jax.inference.export.function import network_function
from ggnet_jax.inference.export.onnx_operators import OPERATORS

MODEL, PAGE, IMAGES = "model.onnx", "index.html", "images"
PACKAGES = ("onnx", "onnxruntime")
_LARGEST = 1 << 31  # bytes of one file of ONNX's


def write(folder: Path, trained: detection.Trained) -> dict[str, object]:
    """Write `MODEL`, checked by `onnx.checker`, and `PAGE`, which runs it in a browser.

    It takes images uint8 [B, H, W, 3] and has the outputs of `function.to_arrays`. All of it is
    computed in float32, whatever the network's dtype.

    Args:
        folder: an empty one.
        trained: the network.

    Returns:
        What preprocessing.json says of the file.

    Raises:
        UserError: the network is too large or has an operation without a counterpart, or the file
            cannot be written.
    """
    config = dataclasses.replace(trained.model.config, dtype="float32")
    trained = trained._replace(model=models.create_model(config))
    function = network_function(trained)
    size = sum(weight.nbytes for weight in function.weights.values())
    if size >= _LARGEST:
        raise UserError(f"an ONNX file holds 2 GiB, and the weights are {size / 1e9:.1f} GB")
    graph = onnx_graph.Graph(IMAGES, function.images.shape, function.images.dtype)
    names = sorted(function.weights)
    weights = [onnx_graph.constant(function.weights[name], name) for name in names]
    traced = function.trace()
    results = onnx_graph.translate(graph, traced.jaxpr, [*weights, graph.images], OPERATORS)
    outputs = dict(zip(sorted(traced.out_info), results, strict=True))
    model = graph.to_model(outputs, f"GGNet, step {trained.step}")
    io.write_file(folder / MODEL, model.SerializeToString())
    io.write_file(folder / PAGE, Path(__file__).with_name("page.html").read_bytes())
    return {"model": MODEL, "opset": onnx_graph.OPSET}
