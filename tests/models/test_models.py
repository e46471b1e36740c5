"""The network: shapes of the interface, batch norm by hand, the gaze step's algebra."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import model_config

from ggnet_jax.config import ModelConfig
from ggnet_jax.models import create_model
from ggnet_jax.models.gaze import GazeStep, act_point_positions
from ggnet_jax.models.layers import BatchNorm, Conv, upsample_nearest


def tiny(**changes):
    return model_config(**({"stacks": 2, "num_verbs": 3, "num_objects": 5} | changes))


def make(images=None, **changes):
    """A tiny model with its variables, on noise."""
    model = create_model(tiny(**changes))
    images = noise() if images is None else images
    return model, jax.jit(model.init)(jax.random.key(0), images)


def shapes_of(**changes):
    """The outputs of a tiny model as shapes, nothing computed."""
    model = create_model(tiny(**changes))
    return jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], noise())


def noise(height=32, width=48, batch=2):
    return np.random.default_rng(0).normal(size=(batch, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(("steps", "points"), [(0, 25), (1, 9), (2, 25), (3, 49)])
def test_outputs_have_the_shapes_of_the_interface(steps, points):
    outputs = shapes_of(gaze_steps=steps, act_points=points)
    assert len(outputs) == 2
    for output in outputs:
        grid = (2, 8, 12)  # stride 4, not square
        assert output.object_logits.shape == (*grid, 5)
        assert output.box_size.shape == output.center_offset.shape == (*grid, 2)
        assert [a.shape for a in output.interaction_logits] == [(*grid, 3)] * (steps + 1)
        assert output.human_offset.shape == output.object_offset.shape == (*grid, 3, 2)
        assert [p.position.shape for p in output.act_points] == [(*grid, points, 2)] * steps
        assert [p.weight.shape for p in output.act_points] == [(*grid, points)] * steps


def test_the_shared_regressor_has_one_pair_for_all_verbs():
    outputs = shapes_of(per_verb_offsets=False)
    assert outputs[-1].human_offset.shape == (2, 8, 12, 1, 2)


def test_hourglass_104_has_the_published_number_of_parameters():
    """CenterNet's COCO detector with the same backbone gives it; the heads are counted by hand."""
    model = create_model(ModelConfig(num_verbs=117, num_objects=80))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 128, 128, 3)))

    def count(tree):
        return sum(int(np.prod(a.shape)) for a in jax.tree.leaves(tree))

    def conv(k, i, o, bias=True):
        return k * k * i * o + (o if bias else 0)

    heads = (
        4 * conv(3, 256, 256) + conv(1, 256, 80) + 2 * conv(1, 256, 2)  # objects, F0
        + conv(1, 256, 117) * 2 + conv(1, 256, 173) + conv(1, 173, 117)  # verbs
        + 2 * (conv(3, 256, 256) + conv(5, 256, 75) + conv(5, 256, 256))  # two gaze steps
        + 2 * (conv(3, 256, 256) + conv(1, 256, 234))  # APM
    )  # fmt: skip
    assert count(shapes["params"]["heads1"]) == heads
    # CenterNet's network has 191,284,008 parameters with its 80-class heads: take those off.
    centernet_heads = 2 * (3 * conv(3, 256, 256) + conv(1, 256, 80) + 2 * conv(1, 256, 2))
    assert count(shapes["params"]["backbone"]) == 191_284_008 - centernet_heads


def test_batch_norm_keeps_pytorchs_statistics():
    x = np.random.default_rng(1).normal(2.0, 3.0, (3, 4, 5, 2)).astype(np.float32)
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x, False)
    y, updated = norm.apply(variables, x, True, mutable=["batch_stats"])
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    n = 3 * 4 * 5
    stats: Any = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var * n / (n - 1), rtol=1e-5)
    still = norm.apply({**variables, **updated}, x, False)
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(still, expected, atol=1e-5)


def test_batch_norms_gradient_is_the_slope():
    """Along random directions of the input, the scale and the bias, by central differences."""
    rng = np.random.default_rng(2)
    x, dx, weight = rng.normal(size=(3, 2, 3, 4, 5))
    params, direction = ({"scale": a, "bias": b} for a, b in rng.normal(size=(2, 2, 5)))

    def loss(params, x):
        variables = {"params": params, "batch_stats": {"mean": jnp.zeros(5), "var": jnp.ones(5)}}
        y: Any = BatchNorm().apply(variables, x, True, mutable=["batch_stats"])[0]
        return (jnp.square(y) * weight).sum()

    def at(step):
        return loss(jax.tree.map(lambda a, b: a + step * b, params, direction), x + step * dx)

    with jax.enable_x64(True):
        gradients = jax.grad(loss, argnums=(0, 1))(params, jnp.asarray(x))
        slopes = jax.tree.map(lambda a, b: (a * b).sum(), gradients, (direction, dx))
        expected = (at(1e-5) - at(-1e-5)) / 2e-5
        assert sum(jax.tree.leaves(slopes)) == pytest.approx(float(expected), rel=1e-7)


def test_strided_convolution_starts_where_pytorch_starts():
    """Padding 1 before the first pixel: the first output of a stride of 2 is centered on it."""
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    conv = Conv(1, kernel=3, stride=2, use_bias=False)
    center = np.zeros((3, 3, 1, 1), np.float32)
    center[1, 1] = 1
    y = conv.apply({"params": {"kernel": center}}, x)
    np.testing.assert_array_equal(y[0, ..., 0], x[0, ::2, ::2, 0])


def test_initial_values_are_pytorchs_defaults():
    conv = Conv(512, kernel=3)
    params = conv.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    bound = (9 * 64) ** -0.5
    for value in params.values():
        assert np.abs(value).max() <= bound
        assert np.std(value) == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_initial_heatmaps_and_act_points():
    """Heatmap biases -2.19; no displacement and weights of one half."""
    model, variables = make()
    heads = variables["params"]["heads0"]
    for bias in (
        heads["objects"]["object_heatmap"]["out"]["bias"],
        heads["interactions"]["glance_classifier"]["bias"],
        heads["interactions"]["gaze1_classifier"]["bias"],
        heads["interactions"]["gaze2_classifier"]["bias"],
    ):
        np.testing.assert_allclose(bias, -2.19)
    points = jax.jit(model.apply)(variables, noise())[0].act_points
    grid = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    for step in points:
        np.testing.assert_array_equal(step.position, np.broadcast_to(grid, step.position.shape))
        np.testing.assert_array_equal(step.weight, np.full(step.weight.shape, 0.5))


def test_a_gaze_step_adds_to_the_offsets_of_the_step_before():
    """Eq. (2), and weights anew; with the offset conv reduced to its bias."""
    gaze = sampled = np.ones((1, 6, 6, 4), np.float32)
    step = GazeStep(ModelConfig(head_width=4, act_points=9))
    variables = jax.jit(step.init)(jax.random.key(0), gaze, sampled, None)
    bias = np.concatenate([np.arange(18) / 10, np.linspace(-1, 1, 9)]).astype(np.float32)
    variables["params"]["offset_conv"]["bias"] = jnp.asarray(bias)
    before = np.random.default_rng(0).normal(size=(1, 6, 6, 9, 2)).astype(np.float32)
    _, offset, weight = jax.jit(step.apply)(variables, gaze, sampled, before)
    np.testing.assert_allclose(offset, before + bias[:18].reshape(9, 2), atol=1e-6)
    np.testing.assert_allclose(weight[0, 3, 3], 1 / (1 + np.exp(-bias[18:])), rtol=1e-5)
    # (dy, dx) of the first tap plus its grid place (-1, -1), as (x, y).
    position = act_point_positions(offset)[0, 2, 2, 0]
    np.testing.assert_allclose(position, offset[0, 2, 2, 0, ::-1] - 1, atol=1e-6)


def test_every_gaze_step_reads_its_own_feature_map():
    for share, expected in ((False, True), (True, False)):
        model = create_model(tiny(**({"share_gaze_features": share})))
        shapes = jax.eval_shape(model.init, jax.random.key(0), noise())
        interactions = shapes["params"]["heads0"]["interactions"]
        assert ("gaze2_feature" in interactions) == expected


def test_bfloat16_computes_in_half_and_answers_in_float32():
    model, variables = make(dtype="bfloat16")
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(variables))
    half = jax.jit(model.apply)(variables, noise())
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(half))
    exact = jax.jit(create_model(tiny()).apply)(variables, noise())
    np.testing.assert_allclose(half[-1].object_logits, exact[-1].object_logits, atol=0.1)
    assert not np.array_equal(half[-1].object_logits, exact[-1].object_logits)


def test_remat_changes_memory_not_numbers():
    model, variables = make(stacks=1)
    again = create_model(tiny(stacks=1, remat=True))

    def loss(params, model):
        outputs, _ = model.apply(
            {**variables, "params": params}, noise(), train=True, mutable=["batch_stats"]
        )
        return sum((a**2).sum() for a in jax.tree.leaves(outputs))

    plain = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], model)
    remat = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], again)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2), plain, remat)


def test_upsampling_repeats_cells():
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(
        upsample_nearest(x)[0, ..., 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    )


def test_a_size_that_the_hourglass_cannot_halve_is_named():
    with pytest.raises(ValueError, match="divisible by 8, got 36 x 32"):
        make(images=noise(36, 32))
