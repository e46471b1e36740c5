"""DLA-34: its learned upsampling by hand, its shapes, that all of it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_networks import dla_config
from tiny import make_variables

from configs import paper
from ggnet_jax.config import ModelConfig
from ggnet_jax.models import create_model
from ggnet_jax.models.dla import DLA34, DeformConvNorm, Upsample, bilinear_kernel

SMALL = {"num_verbs": 3, "num_objects": 5, "head_width": 16, "act_points": 9}


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def transposed_convolution(x, kernel, factor):
    """Every input pixel adds its own multiple of the kernel to the output, as the name says."""
    batch, height, width, channels = x.shape
    side, border = 2 * factor, factor // 2
    y = np.zeros((batch, height * factor + side, width * factor + side, channels))
    for i in range(height):
        for j in range(width):
            patch = x[:, i, j, None, None] * kernel[:, :, 0]
            y[:, i * factor : i * factor + side, j * factor : j * factor + side] += patch
    return y[:, border : border + height * factor, border : border + width * factor]


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_a_transposed_convolution(factor):
    x, kernel = noise(2, 3, 5, 4), noise(2 * factor, 2 * factor, 1, 4, seed=1)
    y = Upsample(factor).apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(y, transposed_convolution(x, kernel, factor), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_starts_bilinear(factor):
    """A plane through the centers of the old cells goes on through those of the new ones."""
    kernel = bilinear_kernel(jax.random.key(0), (2 * factor, 2 * factor, 1, 1))
    rows, columns = np.mgrid[:6, :7]
    y = Upsample(factor).apply(
        {"params": {"kernel": kernel}}, (3.0 * rows - 2.0 * columns)[None, ..., None]
    )
    rows, columns = (np.mgrid[: 6 * factor, : 7 * factor] + 0.5) / factor - 0.5
    inside = np.s_[factor:-factor, factor:-factor]
    expected = 3.0 * rows - 2.0 * columns
    np.testing.assert_allclose(y[0, ..., 0][inside], expected[inside], atol=1e-4)


def test_deformable_layer_starts_as_half_a_convolution():
    """No displacement, all weights one half."""
    x = noise(1, 6, 5, 3)
    layer = DeformConvNorm(ModelConfig(), features=4)
    variables = layer.init(jax.random.key(0), x, False)
    kernel = variables["params"]["conv"]["kernel"]
    plain = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    expected = np.maximum(plain / 2, 0) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(layer.apply(variables, x, False), expected, atol=1e-5)


def test_one_map_at_stride_4():
    model = DLA34(ModelConfig())
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    maps, variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, False), images
    )
    assert [m.shape for m in maps] == [(2, 16, 24, 64)]
    assert set(variables) == {"params", "batch_stats"}
    with pytest.raises(ValueError, match=r"divisible by 32, got 64 x 100"):
        jax.eval_shape(
            lambda x: model.init(jax.random.key(0), x, False),
            jax.ShapeDtypeStruct((1, 64, 100, 3), jnp.float32),
        )


@pytest.mark.slow
def test_every_parameter_learns():
    """GGNet's heads on DLA-34: a gradient for everything, running statistics everywhere."""
    images = noise(2, 64, 64, 3)
    model = create_model(dla_config(**SMALL, gaze_steps=1, per_verb_offsets=True))
    variables = make_variables(model, image_size=(64, 64))

    def loss(params):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return sum(jnp.square(v - 1).mean() for v in jax.tree.leaves(outputs)), updates

    gradient, updates = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, jax.tree_util.keystr(path)
    before, after = (jax.tree.leaves(x["batch_stats"]) for x in (variables, updates))
    for old, new in zip(before, after, strict=True):
        assert (np.asarray(old) != np.asarray(new)).any()


def test_initial_values_of_the_heads():
    """As released on DLA-34: heatmaps start at a prior of 0.1, all else without a bias."""
    model = create_model(dla_config(**SMALL))
    shapes = jax.eval_shape(model.init, jax.random.key(0), noise(1, 32, 32, 3))

    def heads_alone():
        return model.init(jax.random.key(0), noise(1, 32, 32, 3))["params"]["heads0"]

    heads = jax.jit(heads_alone)()
    assert jax.tree.structure(heads) == jax.tree.structure(shapes["params"]["heads0"])
    for branch in (heads["matching"], heads["objects"]):
        for name, layers in branch.items():
            heatmap = name == "object_heatmap"
            np.testing.assert_allclose(layers["out"]["bias"], -2.19 if heatmap else 0)
            assert layers["conv"]["bias"].any() == heatmap
    np.testing.assert_allclose(heads["interactions"]["glance_classifier"]["bias"], -2.19)


def test_remat_has_the_same_parameters():
    """Traced only: which arguments of the trees are static is what can go wrong."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = []
    for remat in (False, True):
        model = DLA34(ModelConfig(remat=remat))
        variables = jax.eval_shape(
            lambda x, model=model: model.init(jax.random.key(0), x, False), images
        )

        def loss(params, images, model=model, variables=variables):
            statistics = jax.tree.map(lambda s: jnp.ones(s.shape), variables["batch_stats"])
            maps, _ = model.apply(
                {"params": params, "batch_stats": statistics}, images, True, mutable=["batch_stats"]
            )
            return maps[0].sum()

        gradient = jax.eval_shape(jax.grad(loss), variables["params"], images)
        shapes.append(jax.tree.map(lambda leaf: leaf.shape, gradient))
    assert shapes[0] == shapes[1]


def test_offsets_keep_their_precision_in_bfloat16():
    model = DLA34(ModelConfig(dtype="bfloat16"))
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    (features,), _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, False), images
    )
    assert features.dtype == jnp.bfloat16
    seen = []

    def spy(next_call, args, kwargs, context):
        result = next_call(*args, **kwargs)
        if context.module.name == "offset_conv" and context.method_name == "__call__":
            seen.append(result.dtype)
        return result

    import flax.linen as nn

    with nn.intercept_methods(spy):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, False), images)
    assert len(seen) == 16 and set(seen) == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("row", "backbone", "steps"),
    [
        ("table5_baseline", "hourglass", 0),
        ("table1_baseline_hico", "dla34", 0),
        ("table1_full_hico", "dla34", 2),
    ],
)
def test_configs_are_networks(row, backbone, steps):
    config = paper.get_config(row)
    assert (config.model.backbone, config.model.gaze_steps) == (backbone, steps)
    assert config.loss.interaction == ("hna" if steps else "focal")
    assert config.model.per_verb_offsets == (steps > 0)
    config.model.update(num_verbs=117, num_objects=80)
    create_model(config.model)
