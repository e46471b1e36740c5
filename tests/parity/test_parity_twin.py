"""What the released code has no numbers for, against a plain PyTorch twin of the networks."""

import jax
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import difference, dla_config, heads_by_name, model_config
from reference_training import assert_same_step, released_targets
from tiny import make_batch, training_config, verbs_of_object

from ggnet_jax.models import create_model
from ggnet_jax.torch_import import from_torch
from ggnet_jax.torch_import.convert import expected_variables
from ggnet_jax.torch_import.names import torch_name
from ggnet_jax.training import loop
from ggnet_jax.training.parallel import MeshParallel

torch = pytest.importorskip("torch", reason="PyTorch is an optional install: pip install torch")

import torch_ggnet  # noqa: E402
from torch_ggnet import TorchGGNet  # noqa: E402
from torch_losses import ggnet_loss  # noqa: E402
from torch_training import TorchStep  # noqa: E402

OPERATORS = ["grid_sample", "torchvision"]


@pytest.fixture
def operator(request):
    """A deformable operator of the twin's, skipped where it is not installed."""
    if request.param == "torchvision":
        pytest.importorskip("torchvision", reason="an optional install: pip install torchvision")
    return request.param


def twin_outputs(weights, planes, gaze_steps, operator="grid_sample"):
    """Heads by name of every stack in evaluation mode."""
    twin = TorchGGNet(weights, gaze_steps, operator)
    with torch.no_grad():
        stacks = twin(torch.as_tensor(planes))
    return [{name: values.numpy() for name, values in heads.items()} for heads in stacks]


def both(config, shapes, image_shape):
    """Heads by name of ours and the twin's, for every stack."""
    weights = reference.state_dict(shapes)
    planes = reference.image(image_shape)
    outputs = jax.jit(create_model(config).apply)(
        from_torch(weights, config), reference.to_ours(planes)
    )
    theirs = twin_outputs(weights, planes, config.gaze_steps)
    return [heads_by_name(o) for o in outputs], theirs


def agree(ours, theirs, bound):
    assert len(ours) == len(theirs)
    for stack, (mine, expected) in enumerate(zip(ours, theirs, strict=True)):
        assert mine.keys() == expected.keys()
        for head, values in mine.items():
            assert difference(values, expected[head]) < bound, (stack, head)


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


@pytest.mark.parametrize("operator", OPERATORS, indirect=True)
@pytest.mark.parametrize("network", ["hourglassggnet2", "hourglassggnet1", "hourglass"])
def test_twin_is_the_released_network(network, operator):
    """The twin has to earn its place: it gives the released numbers itself."""
    arrays, meta = reference.load(f"forward_{network}")
    config = model_config(meta)
    weights = reference.weights_of(arrays)
    planes = reference.image(meta["image_shape"])
    stacks = twin_outputs(weights, planes, config.gaze_steps, operator)
    rows, columns = meta["steps"]
    for stack, heads in enumerate(stacks):
        for head, values in heads.items():
            expected = arrays[f"out/{stack}/{head}"]
            part = values[..., ::rows, ::columns]
            assert difference(part, expected) < 1e-4, (stack, head)


@pytest.mark.parametrize("operator", OPERATORS, indirect=True)
@pytest.mark.parametrize("network", ["hourglassggnet2", "hourglassggnet1", "hourglass"])
def test_twin_trains_like_the_released_network(network, operator):
    """Its loss, gradients and running statistics after one forward and backward pass."""
    arrays, meta = reference.load(f"train_{network}")
    config = model_config(meta)
    weights = reference.weights_of(arrays)
    twin = TorchGGNet(weights, config.gaze_steps, operator).double().train()
    targets = released_targets(arrays, config.per_verb_offsets, np.float64)
    stacks = twin(torch.as_tensor(reference.image(meta["image_shape"])).double())
    total, terms = ggnet_loss(
        stacks,
        {name: torch.as_tensor(values) for name, values in targets._asdict().items()},
        interaction="hna" if meta["hard_negative"] else "focal",
    )
    total.backward()
    named = twin.by_name()
    assert_same_step(
        arrays,
        loss=total.item(),
        terms={name: value.item() for name, value in terms.items()},
        gradients={n: v.grad.numpy() for n, v in named.items() if v.requires_grad},
        statistics={n: v.numpy() for n, v in named.items() if not v.requires_grad},
        heads={name: values.detach().numpy() for name, values in stacks[-1].items()},
        bound=1e-5,
    )


@pytest.mark.parametrize("network", ["ggnet", "baseline"])
def test_twin_takes_our_steps(network):
    """Loss and gradient of one batch, and the loss after three updates of all weights and norms."""
    config = training_config(learning_rate=1e-5, lr_drop_epochs=())
    if network == "baseline":
        config.model.update(gaze_steps=0, per_verb_offsets=False)
        config.loss.interaction = "focal"
    parallel = MeshParallel(jax.devices()[:1])
    step, make_state = loop.build(config, verbs_of_object(), 100, parallel)
    state, batch = jax.jit(make_state)(), make_batch(0, 2)
    variables = jax.device_get({"params": state.params, "batch_stats": state.batch_stats})
    twin = TorchStep(config, variables, batch, verbs_of_object(), device=torch.device("cpu"))
    state, on_device = parallel.put_state(state), parallel.put_batch(batch)
    ours, theirs = [], []
    for number in range(3):
        state, metrics = step(state, on_device)
        ours.append(float(metrics["loss"]))
        theirs.append(float(twin()))
        if not number:
            assert float(metrics["gradient_norm"]) == pytest.approx(twin.gradient_norm(), rel=1e-4)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-5)
    assert ours[-1] - ours[0] == pytest.approx(theirs[-1] - theirs[0], rel=1e-2)
    assert ours[-1] < ours[0]


@pytest.mark.parametrize("operator", ["torchvision"], indirect=True)
@pytest.mark.parametrize("channels_last", [False, True])
def test_operators_agree(operator, channels_last):
    """Both deformable operators far outside the image too, and all their gradients."""
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 4, 9, 7), "offset": (2, 50, 9, 7), "mask": (2, 25, 9, 7),
              "weight": (6, 4, 5, 5), "bias": (6,)}  # fmt: skip
    cotangent = torch.as_tensor(rng.standard_normal((2, 6, 9, 7)))
    results = []
    arrays = [
        rng.standard_normal(shape) * (4 if n == "offset" else 1) for n, shape in shapes.items()
    ]
    for function in (torch_ggnet.by_grid_sample, torch_ggnet.by_torchvision):
        leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
        x = leaves[0]
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        y = function(x, *leaves[1:])
        y.backward(cotangent)
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for name, ours, theirs in zip(["y", *shapes], *results, strict=True):
        assert difference(ours.numpy(), theirs.numpy()) < 1e-10, name


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
