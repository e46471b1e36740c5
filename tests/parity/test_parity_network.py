"""Whole networks against the released PyTorch code, with weights that anyone can make again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import (
    HOURGLASS_104,
    difference,
    dla_config,
    heads_by_name,
    model_config,
)
from reference_training import assert_same_step, released_targets
from torch_weights import by_torch_name

from ggnet_jax.models import create_model
from ggnet_jax.torch_import import from_torch
from ggnet_jax.training.losses import LossWeights, ggnet_loss

NETWORKS = ("hourglassggnet2", "hourglassggnet1", "hourglass")


def forward(config, shapes, image_shape):
    """Heads of every stack in evaluation mode."""
    variables = from_torch(reference.state_dict(shapes), config)
    images = reference.to_ours(reference.image(image_shape))
    outputs = jax.jit(create_model(config).apply)(variables, images)
    return [heads_by_name(output) for output in outputs]


@pytest.mark.parametrize("network", NETWORKS)
def test_small_network(network):
    arrays, meta = reference.load(f"forward_{network}")
    stacks = forward(
        model_config(meta), reference.layout(str(arrays["layout"])), meta["image_shape"]
    )
    rows, columns = meta["steps"]
    for stack, heads in enumerate(stacks):
        for head, values in heads.items():
            expected = arrays[f"out/{stack}/{head}"]
            assert difference(values[..., ::rows, ::columns], expected) < 1e-4, (stack, head)
    assert len(stacks) == meta["nstack"]
    assert {f"out/1/{head}" for head in stacks[1]} == {
        name for name in arrays.files if name.startswith("out/1/")
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_small_network_everywhere(network, shared_dir):
    """The complete maps, of which the fixtures hold a part."""
    _, meta = reference.load(f"forward_{network}")
    complete = np.load(shared_dir / "reference" / f"forward_small_{network}.npz")
    arrays, _ = reference.load(f"forward_{network}")
    stacks = forward(
        model_config(meta), reference.layout(str(arrays["layout"])), meta["image_shape"]
    )
    for stack, heads in enumerate(stacks):
        for head, values in heads.items():
            assert difference(values, complete[f"out/{stack}/{head}"]) < 1e-4, (stack, head)


def _cases():
    quick = {("hourglassggnet2", "float64"), ("hourglass", "float32")}
    for network in NETWORKS:
        for precision in ("float64", "float32"):
            marks = [] if (network, precision) in quick else [pytest.mark.slow]
            yield pytest.param(network, precision, marks=marks)


@pytest.mark.parametrize(("network", "precision"), list(_cases()))
def test_training_step(network, precision):
    """Every loss term, gradients and running statistics in training mode."""
    arrays, meta = reference.load(f"train_{network}")
    double = precision == "float64"
    with jax.enable_x64(double):
        config = model_config(meta, dtype=precision)
        loss, terms, gradient, statistics, last = _train(arrays, meta, config, precision)

    assert_same_step(
        arrays,
        loss=loss,
        terms=terms,
        gradients=by_torch_name(gradient, config),
        statistics=by_torch_name(statistics, config),
        heads=heads_by_name(last),
        bound=1e-5 if double else 1e-2,
    )


def _train(arrays, meta, config, precision):
    """One forward and backward pass on the fixture's dense targets."""
    variables = from_torch(reference.weights_of(arrays), config)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), variables)
    images = reference.to_ours(reference.image(meta["image_shape"])).astype(precision)
    targets = released_targets(arrays, config.per_verb_offsets, precision)
    weights = LossWeights(interaction="hna" if meta["hard_negative"] else "focal")
    model = create_model(config)

    def loss_of(params):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        total, terms = ggnet_loss(outputs, targets, weights)
        return total, (terms, updates["batch_stats"], outputs[-1])

    value_and_grad = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (total, (terms, statistics, last)), gradient = value_and_grad(variables["params"])
    assert total.dtype == precision
    return float(total), {k: float(v) for k, v in terms.items()}, gradient, statistics, last


@pytest.mark.slow
@pytest.mark.parametrize("network", ["hourglassggnet2", "dla_34"])
def test_full_size_network(network):
    arrays, meta = reference.load(f"full_{network}")
    config = dla_config() if network == "dla_34" else model_config(HOURGLASS_104)
    stacks = forward(config, reference.released_layout(network), meta["image_shape"])
    for stack, heads in enumerate(stacks):
        for head, values in heads.items():
            key = f"{stack}/{head}"
            channels = 1 if values.shape[1] == 2 else 9
            largest = arrays[f"largest/{key}"]
            part = values[:, ::channels, ::14, ::6]
            assert difference(part, arrays[f"out/{key}"], largest) < 1e-3, key
            means = values.mean((0, 2, 3), dtype=np.float64)
            assert difference(means, arrays[f"mean/{key}"], largest) < 1e-3, key
