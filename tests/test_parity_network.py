"""Whole networks against the released PyTorch code, with weights that anyone can make again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import (
    HOURGLASS_104,
    by_torch_name,
    difference,
    dla_config,
    heads_by_name,
    model_config,
)

from ggnet_jax.losses import LossWeights, ggnet_loss
from ggnet_jax.models import create_model
from ggnet_jax.targets import Targets
from ggnet_jax.torch_import import from_torch

NETWORKS = ("hourglassggnet2", "hourglassggnet1", "hourglass")
LOSS_NAMES = {
    "hm_loss": "object_heatmap",
    "wh_loss": "box_size",
    "off_loss": "center_offset",
    "hm_rel_loss": "glance",
    "hm_rel_refine_loss": "gaze1",
    "hm_rel_refine_loss1": "gaze1",
    "hm_rel_refine_loss2": "gaze2",
    "sub_offset_loss": "human_offset",
    "obj_offset_loss": "object_offset",
}


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

    names = [n.removeprefix("loss/") for n in arrays.files if n.startswith("loss/")]
    for name in names:
        ours = loss if name == "loss" else terms[LOSS_NAMES[name]]
        assert ours == pytest.approx(float(arrays[f"loss/{name}"]), rel=1e-5), name
    assert len(names) == len(terms) + 1

    bound = 1e-5 if double else 1e-2
    gradients = by_torch_name(gradient, config)
    for key in (n for n in arrays.files if n.startswith("grad/")):
        name = key.removeprefix("grad/")
        values = gradients[name].ravel()
        values = values[:: max(1, len(values) // reference.GRADIENT_ENTRIES)]
        assert difference(values, arrays[key], arrays[f"largest/{name}"]) < bound, name
    norms = dict(zip(str(arrays["parameter_names"]).split("\n"), arrays["grad_norms"], strict=True))
    assert norms.keys() == gradients.keys()
    for name, norm in norms.items():
        assert np.linalg.norm(gradients[name]) == pytest.approx(
            norm, rel=bound, abs=bound * 1e-3 * max(norms.values())
        ), name

    statistics = by_torch_name(statistics, config)
    for key in (n for n in arrays.files if n.startswith("bn/")):
        assert difference(statistics[key.removeprefix("bn/")], arrays[key]) < 1e-5, key
    for head, values in heads_by_name(last).items():
        assert difference(values[..., ::6, ::4], arrays[f"out/1/{head}"]) < 1e-4, head


def _train(arrays, meta, config, precision):
    """One forward and backward pass on the fixture's dense targets."""
    variables = from_torch(reference.state_dict(reference.layout(str(arrays["layout"]))), config)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), variables)
    images = reference.to_ours(reference.image(meta["image_shape"])).astype(precision)
    targets = _targets(arrays, config.per_verb_offsets, precision)
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


def _targets(arrays, per_verb: bool, precision) -> Targets:
    """The released dense targets; a slot's verb is the one whose two channels are switched on."""
    given = {k.removeprefix("target/"): arrays[k] for k in arrays.files if "target/" in k}
    slots = given["rel_ind"].shape
    verb = given["offset_mask_offset"].argmax(-1) // 2 if per_verb else np.zeros(slots, int)

    def heatmap(name):
        return given[name].transpose(0, 2, 3, 1).astype(precision)

    def offset(name):
        pairs = given[name].reshape(*slots, -1, 2).astype(precision)
        return np.take_along_axis(pairs, verb[..., None, None], axis=2)[:, :, 0]

    return Targets(
        object_heatmap=heatmap("hm"),
        glance_mask=heatmap("hm_rel"),
        gaze_mask=heatmap("hm_rel_hard"),
        box_cell=given["ind"],
        box_size=given["wh"].astype(precision),
        center_offset=given["reg"].astype(precision),
        box_valid=given["reg_mask"].astype(bool),
        relation_cell=given["rel_ind"],
        relation_verb=verb,
        human_offset=offset("sub_offset"),
        object_offset=offset("obj_offset"),
        relation_valid=given["offset_mask"].astype(bool),
    )


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
