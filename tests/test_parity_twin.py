"""What the released code has no numbers for, against a plain PyTorch twin of the networks."""

import jax
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import difference, dla_config, heads_by_name, model_config

from ggnet_jax.models import create_model
from ggnet_jax.torch_import import from_torch
from ggnet_jax.torch_import.convert import expected_variables
from ggnet_jax.torch_import.names import torch_name

pytest.importorskip("torch", reason="PyTorch is an optional install: pip install torch")


def both(config, shapes, image_shape):
    """Heads by name of ours and the twin's, for every stack."""
    from torch_twin import Twin

    weights = reference.state_dict(shapes)
    planes = reference.image(image_shape)
    outputs = jax.jit(create_model(config).apply)(
        from_torch(weights, config), reference.to_ours(planes)
    )
    theirs = Twin(weights)(planes, config.gaze_steps)
    return [heads_by_name(o) for o in outputs], theirs


def agree(ours, theirs, bound):
    assert len(ours) == len(theirs)
    for stack, (mine, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert mine.keys() == expected.keys()
        for head, values in mine.items():
            assert difference(values, expected[head].numpy()) < bound, (stack, head)


def layout_of(config):
    """Names and shapes in PyTorch's layout of any network of ours."""
    shapes = {}
    for part, tree in expected_variables(config).items():
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            name = torch_name(tuple(key.key for key in path), config)
            sides = leaf.shape if leaf.ndim != 4 else tuple(leaf.shape[i] for i in (3, 2, 0, 1))
            shapes[name] = sides
            assert part in ("params", "batch_stats")
    return shapes


@pytest.mark.parametrize("network", ["hourglassggnet2", "hourglassggnet1", "hourglass"])
def test_twin_is_the_released_network(network):
    """The twin has to earn its place: it gives the released numbers itself."""
    from torch_twin import Twin

    arrays, meta = reference.load(f"forward_{network}")
    config = model_config(meta)
    weights = reference.state_dict(reference.layout(str(arrays["layout"])))
    stacks = Twin(weights)(reference.image(meta["image_shape"]), config.gaze_steps)
    rows, columns = meta["steps"]
    for stack, heads in enumerate(stacks):
        for head, values in heads.items():
            expected = arrays[f"out/{stack}/{head}"]
            part = values.numpy()[..., ::rows, ::columns]
            assert difference(part, expected) < 1e-4, (stack, head)


@pytest.mark.parametrize("size", [(64, 112), (96, 48)])
def test_hourglass_that_is_not_square(size):
    arrays, meta = reference.load("forward_hourglassggnet2")
    shapes = reference.layout(str(arrays["layout"]))
    agree(*both(model_config(meta), shapes, (2, 3, *size)), 1e-4)


@pytest.mark.parametrize("steps", [0, 2])
def test_dla34_that_is_not_square(steps):
    """The released baseline, and GGNet's heads, 256 wide, on DLA-34's 64 channels."""
    config = dla_config(gaze_steps=steps, per_verb_offsets=steps > 0)
    shapes = layout_of(config)
    if not steps:
        released = reference.released_layout("dla_34")
        assert shapes.items() <= released.items()
    agree(*both(config, shapes, (1, 3, 64, 96)), 1e-3)


def test_three_gaze_steps():
    """Table 2 of the paper has a third step, which continues the pattern."""
    _, meta = reference.load("forward_hourglassggnet2")
    config = model_config(meta, gaze_steps=3, stacks=1, act_points=9)
    agree(*both(config, layout_of(config), (1, 3, 64, 64)), 1e-4)
    assert np.prod(layout_of(config)["refine_dcn3.0.weight"]) == 32 * 32 * 9
