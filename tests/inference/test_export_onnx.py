"""A network as ONNX: onnxruntime finds what `Detector` finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import VOCABULARY, make_variables, model_config

from ggnet_jax import Detector
from ggnet_jax.cli.export import compare
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.export import function, loader, onnx_graph, write
from ggnet_jax.inference.export.onnx_operators import OPERATORS
from ggnet_jax.inference.images import letterbox_image
from ggnet_jax.inference.network import Network
from ggnet_jax.models import create_model
from ggnet_jax.run_dir.folder import Fields

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

SIZE = (64, 96)
BASELINE = {"gaze_steps": 0, "per_verb_offsets": False}
NETWORKS = {
    "hourglass": {},
    "stacks": {"stacks": 2, "gaze_steps": 3, "share_gaze_features": True, "remat": True},
    "dla34": {"backbone": "dla34", "gaze_steps": 1, "seed": 3},
    "baseline": BASELINE,
    "both": {"aggregation": "both", **BASELINE},
    "act_points": {"aggregation": "act_points", **BASELINE},
}


def make_trained(seed: int = 0, **changes) -> detection.Trained:
    """A network whose heads say little, so that no score is 0 or 1."""
    model = create_model(model_config(**changes))
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf / 30 if "classifier" in str(path) or "out" in str(path) else leaf,
        make_variables(model, SIZE, seed),
    )
    config = Fields(data=Fields(image_size=SIZE), eval=Fields(top_k=30))
    return detection.Trained(config, VOCABULARY, model, variables, 7)


def make_images(count: int) -> np.ndarray:
    blots = np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), np.uint8)
    return np.stack([letterbox_image(image, SIZE) for image in blots])


def expected(trained: detection.Trained, images: np.ndarray) -> dict[str, np.ndarray]:
    return function.to_arrays(jax.device_get(Network(trained)(images)))


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_finds_what_detector_finds(name, tmp_path):
    trained = make_trained(**NETWORKS[name])
    write.write(trained, tmp_path / "out", "onnx")
    network = loader.Network(tmp_path / "out")
    images = make_images(2)
    found, want = network(images), expected(trained, images)
    assert found.keys() == want.keys()
    for key, values in want.items():
        assert found[key].dtype == values.dtype and found[key].shape == values.shape, key
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=1e-4, err_msg=key)
    assert want["valid"].sum() > 10
    # Any number of images, each for itself.
    alone = network(images[1:])
    for key, values in alone.items():
        np.testing.assert_allclose(values, found[key][1:], rtol=1e-5, atol=1e-5, err_msg=key)


def test_one_deform_conv_a_gaze_step(tmp_path):
    write.write(make_trained(), tmp_path / "out", "onnx")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("DeformConv") == 2
    assert model.opset_import[0].version == 22
    (images,) = model.graph.input
    sizes = [size.dim_param or size.dim_value for size in images.type.tensor_type.shape.dim]
    assert sizes == ["batch", 64, 96, 3]
    names = {array.name for array in model.graph.initializer}
    assert "params.backbone.stem_conv.conv.kernel" in names


def test_detector_loads_the_folder(tmp_path):
    trained = make_trained()
    write.write(trained, tmp_path / "out", "onnx")
    ours, theirs = Detector.load(tmp_path / "out"), Detector(trained)
    image = make_images(1)[0]
    found, want = (one.detect(image, threshold=0.0) for one in (ours, theirs))
    assert [one.label for one in found] == [one.label for one in want] != []
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(one.human_box, other.human_box, atol=1e-3)


def test_networks_in_bfloat16_are_computed_in_float32(tmp_path):
    """Which rounds less: float32 networks of the same weights give the same file."""
    for dtype in ("bfloat16", "float32"):
        write.write(make_trained(dtype=dtype), tmp_path / dtype, "onnx")
    files = [tmp_path / dtype / "model.onnx" for dtype in ("bfloat16", "float32")]
    assert files[0].read_bytes() == files[1].read_bytes()
    said = compare(tmp_path / "bfloat16", make_trained(dtype="bfloat16"))
    assert said.endswith("pixels (the file computes in float32, Detector in bfloat16)")
    assert "(" not in compare(tmp_path / "float32", make_trained(dtype="float32"))


# Operators one by one, against JAX itself.

NUMBERS = np.random.default_rng(1).standard_normal((2, 3, 4, 5)).astype(np.float32)
SMALL = np.random.default_rng(2).integers(-4, 5, (2, 6)).astype(np.int32)
FUNCTIONS = {
    "ties of top k": (lambda x: jax.lax.top_k(x, 5), SMALL),
    "sort": (lambda x: jnp.sort(x, axis=-1), SMALL),
    "ties of argsort": (lambda x: jnp.argsort(x, axis=1), SMALL),
    "ties of argmax": (lambda x: jnp.argmax(x, axis=1), SMALL),
    "division down": (lambda x: (x // 3, x % 3), SMALL),
    "cells": (lambda x: jnp.take_along_axis(x, jnp.abs(x) % 6, axis=1), SMALL),
    "slice by index": (lambda x: x[..., 1:4], NUMBERS),
    "every second": (lambda x: jax.lax.slice_in_dim(x, 1, 4, 2, axis=3), NUMBERS),
    "one index": (lambda x: x[..., 2], NUMBERS),
    "last axis backwards": (lambda x: x[..., ::-1], NUMBERS),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=3), NUMBERS),
    "outer": (lambda x: x[:, :, None] == x[:, None, :], SMALL),
    "any": (lambda x: jnp.any(x > 2, axis=1), SMALL),
    "where of booleans": (lambda x: jnp.where(x > 0, x > 2, x < -2), SMALL),
    "constants in the batch": (lambda x: x + jnp.ones_like(x) * jnp.arange(6), SMALL),
    "concatenated constants": (lambda x: jnp.concatenate([jnp.ones_like(x), x], axis=1), SMALL),
    "reductions": (lambda x: (x.max((1, 2)), x.prod(3), x.sum(1)), NUMBERS),
    "relu and minimum": (lambda x: jnp.minimum(jax.nn.relu(x), 0.5), NUMBERS),
    "stack": (lambda x: jnp.stack([x, -x], axis=2), SMALL),
    "transpose": (lambda x: x.transpose(0, 3, 1, 2), NUMBERS),
}


def translated(run, x):
    """What onnxruntime makes of a function of one array, whose first axis is of any size."""
    (batch,) = jax.export.symbolic_shape("batch")
    traced = jax.jit(run).trace(jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype))
    graph = onnx_graph.Graph("x", (batch, *x.shape[1:]), x.dtype)
    results = onnx_graph.translate(graph, traced.jaxpr, [graph.images], OPERATORS)
    outputs = {f"y{i}": result for i, result in enumerate(results)}
    model = graph.to_model(outputs, "")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(list(outputs), {"x": x})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators(name):
    run, x = FUNCTIONS[name]
    for found, want in zip(translated(run, x), jax.tree.leaves(run(x)), strict=True):
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found, want, rtol=1e-6)


def test_an_operation_without_a_counterpart_is_named():
    with pytest.raises(UserError, match="no counterpart of JAX's operation 'erf'; use"):
        translated(jax.lax.erf, NUMBERS)
