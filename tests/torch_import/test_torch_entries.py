"""Wrappers, prefixes, averages and foreign heads: which entries of a file are the network's."""

import re

import jax
import numpy as np
import pytest
import reference_weights as reference
import torch_files
from reference_networks import dla_config, model_config
from torch_checkpoints import DETECTOR_LACKS, shapes_of

from ggnet_jax.errors import UserError
from ggnet_jax.torch_import import convert as conversion
from ggnet_jax.torch_import import from_torch, pretrained, read_state_dict
from ggnet_jax.torch_import.architecture import describe
from ggnet_jax.torch_import.convert import clean
from ggnet_jax.torch_import.files import read

pytestmark = pytest.mark.usefixtures("shapes_once")


@pytest.fixture(scope="module")
def small():
    arrays, meta = reference.load("forward_hourglassggnet2")
    return model_config(meta), reference.weights_of(arrays)


@pytest.fixture(scope="module")
def dla():
    """DLA-34 with two gaze steps, and a detector's weights for it; nothing has memory."""
    config = dla_config(gaze_steps=2, per_verb_offsets=True)
    layout = reference.released_layout("ctdet_coco_dla_2x")
    return config, {name: zeros(*shape) for name, shape in layout.items()}


def zeros(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0), shape)


def prefixed(weights, prefix):
    return {prefix + name: array for name, array in weights.items()}


def equal(tree, other):
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


PREFIXES = ("", "module.", "module.module.", "model.", "_orig_mod.", "module._orig_mod.",
            "_orig_mod.module.", "model.module.", "net.", "network.", "detector.ggnet.",
            "_forward_module._orig_mod.")  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes(small, prefix):
    config, weights = small
    named = prefixed(weights, prefix)
    _, report = conversion.convert(named, config)
    assert len(report.loaded) + len(report.skipped) == len(weights)
    equal(from_torch(named, config), from_torch(weights, config))


def test_names_that_a_compiler_touched_inside(small):
    config, weights = small
    named = {k.replace("kps.", "kps._orig_mod."): v for k, v in weights.items()}
    named = {
        k.replace("hm.", "module.hm.") if k.startswith("hm.") else k: v for k, v in named.items()
    }
    equal(from_torch(named, config), from_torch(weights, config))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "place",
    ["state_dict", "model", "model_state_dict", "net", "ema", "model_ema", "ema.module",
     "model.state_dict", "checkpoint.model.net", "state_dict.ema", "weights", "anything"],
)  # fmt: skip
def test_wrappers(tmp_path, small, place, old):
    _, weights = small
    content = prefixed(weights, "module.")
    for part in reversed(place.split(".")):
        content = {
            part: content,
            "epoch": 140,
            "optimizer": {"state": {0: {"m": weights["hm.0.1.bias"]}}},
        }
    torch_files.save(tmp_path / "model.pth", content, old=old)
    arrays, found = read(tmp_path / "model.pth")
    assert arrays.keys() == weights.keys()
    assert found == f"{place}.module"


def test_networks_in_a_tuple(tmp_path, small):
    _, weights = small
    torch_files.save(tmp_path / "model.pth", (3, {"state_dict": weights}))
    assert read_state_dict(tmp_path / "model.pth").keys() == weights.keys()


@pytest.mark.parametrize("name", ["ema", "model_ema", "ema_state_dict", "teacher", "swa_model"])
def test_averages_are_left_aside(tmp_path, small, name):
    config, weights = small
    other = {k: np.asarray(v + 1) for k, v in weights.items()}
    for content in (
        {name: other, "state_dict": weights},
        {name: {"module": other}, "model": {"net": weights}},
        {"state_dict": prefixed(other, f"{name}.") | prefixed(weights, "model.")},
        {"state_dict": prefixed(other, f"{name}.module.") | weights},
    ):
        torch_files.save(tmp_path / "model.pth", content)
        equal(
            from_torch(read_state_dict(tmp_path / "model.pth"), config), from_torch(weights, config)
        )


def test_an_optimizers_moments_are_no_network(tmp_path, small):
    """Some keep them under the parameters' names."""
    config, weights = small
    moments = {k: np.asarray(v * 0) for k, v in weights.items()}
    content = {
        "optimizer": {"exp_avg": moments},
        "optimizer_states": moments,
        "model": {"net": prefixed(weights, "module.")},
    }
    torch_files.save(tmp_path / "model.pth", content)
    arrays = read_state_dict(tmp_path / "model.pth")
    equal(from_torch(arrays, config), from_torch(weights, config))


def test_what_is_saved_beside_a_network_under_a_prefix(small):
    """The parameters of a loss; without a prefix such a surplus is another network."""
    config, weights = small
    beside = {"criterion.weight": np.zeros(3), "teacher.pre.0.conv.weight": np.zeros(3)}
    equal(from_torch(prefixed(weights, "model.") | beside, config), from_torch(weights, config))
    with pytest.raises(UserError, match=r"has 1 .* no place for \(criterion.weight\)"):
        from_torch(weights | beside, config)


def test_counters_are_of_no_use(small):
    config, weights = small
    counters = {"total_ops": np.zeros(1), "pre.0.conv.total_params": np.zeros(1)}
    counters |= {"kps.0.total_ops": np.zeros(1), "hm.0._extra_state": np.zeros(0)}
    _, report = conversion.convert(prefixed(weights | counters, "module."), config)
    assert {name for name, reason in report.skipped if reason == "of no use"} >= counters.keys()
    table = report.table()
    assert "2 total_ops" in table and "1 total_params" in table and "kps.0.total_ops" not in table


def test_two_claims(tmp_path, small):
    _, weights = small
    for content, message in (
        ({"first": weights, "second": weights}, "two networks, under 'first.' and 'second.'"),
        (weights | prefixed(weights, "module."), "two entries for pre.0.conv.weight"),
    ):
        torch_files.save(tmp_path / "model.pth", content)
        with pytest.raises(UserError, match=message):
            read_state_dict(tmp_path / "model.pth")


def heads(arrays, **channels):
    """A detector with other heads than it had."""
    kept = {k: v for k, v in arrays.items() if k.split(".")[0] not in ("hm", "wh", "reg")}
    for name, count in channels.items():
        kept |= {f"{name}.0.weight": zeros(256, 64, 3, 3), f"{name}.0.bias": zeros(256)}
        kept |= {f"{name}.2.weight": zeros(count, 256, 1, 1), f"{name}.2.bias": zeros(count)}
    return kept


EXTREME = {f"hm_{side}": 80 for side in "tlbrc"} | {f"reg_{side}": 2 for side in "tlbr"}
POSE = {"hm": 1, "wh": 2, "hps": 34, "reg": 2, "hm_hp": 17, "hp_offset": 2}


@pytest.mark.parametrize(
    ("channels", "network", "kept"),
    [
        (
            {"hm": 80, "wh": 2, "reg": 2},
            "CenterNet's object detector on DLA-34, 80 obj",
            "hm wh reg",
        ),
        (POSE, "CenterNet's human pose detector .*, 1 object$", "wh reg"),
        (EXTREME, "CenterNet's detector of extreme points", ""),
        ({"hm": 3, "dep": 1, "rot": 8, "dim": 3, "reg": 2}, "CenterNet's 3D detector", "reg"),
        ({"hm": 80, "wh": 2, "reg": 2, "tracking": 2}, "CenterTrack's tracker", "hm wh reg"),
        ({}, "a network without heads on DLA-34", ""),
    ],
)
def test_detectors_for_other_tasks_give_their_backbone(dla, channels, network, kept):
    config, arrays = dla
    arrays = prefixed(heads(arrays, **channels), "module.")
    with pytest.raises(UserError, match="knows no interactions"):
        from_torch(arrays, config)
    described = str(describe(clean(arrays)))
    assert re.match(network, described), described
    _, report = pretrained(arrays, config)
    parts = {name.split(".")[0] for name in report.loaded}
    assert parts >= {"base", "dla_up", "ida_up", *kept.split()}
    skipped = {name.split(".")[0]: reason for name, reason in report.skipped}
    for name in channels.keys() - {"hm", "wh", "reg"}:
        assert skipped[name] == "a head for another task"
    with pytest.raises(UserError, match="cut short"):
        pretrained({k: v for k, v in arrays.items() if "level4" not in k}, config)


def test_a_bare_dla34_from_imagenet(dla):
    """It was trained on R, G, B, and has no layers that sample up."""
    config, detector = dla
    shapes = shapes_of(config)
    layers = [name for name in detector if name.startswith("base.")]
    weights = {name[5:]: reference.array(name, shapes.get(name, (1,))) for name in layers}
    weights |= {"fc.weight": np.zeros((1000, 512, 1, 1)), "fc.bias": np.zeros(1000)}
    variables, report = pretrained(prefixed(weights, "module."), config)
    parts = {name.split(".")[0] for name, _ in report.missing}
    assert parts >= {"dla_up", "ida_up", "hm", "hm_rel"} and "base" not in parts
    assert "taken to have seen R, G, B" in report.table()
    assert "R, G, B" not in pretrained(detector, config)[1].table()
    stem = variables["params"]["backbone"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(stem, weights["base_layer.0.weight"].transpose(2, 3, 1, 0))
    assert isinstance(jax.tree.leaves(variables["params"]["heads0"])[0], jax.ShapeDtypeStruct)
    with pytest.raises(UserError, match="lacks 1 parameters"):
        pretrained({k: v for k, v in weights.items() if k != "level5.root.bn.bias"}, config)


@pytest.mark.parametrize(
    ("names", "network"),
    [
        (("conv1.weight", "layer1.0.conv1.weight", "fc.weight"), "a ResNet"),
        (
            ("conv1.weight", "layer1.0.conv1.weight", "deconv_layers.0.weight"),
            "CenterNet on a ResNet",
        ),
        (("transformer.encoder.layers.0.linear1.weight", "class_embed.weight"), "a DETR"),
        (("visual.transformer.resblocks.0.ln_1.weight",), "a CLIP model"),
        (("backbone.body.layer1.0.conv1.weight", "rpn.head.conv.weight"), "a Faster R-CNN"),
        (("features.0.weight",), "a VGG"),
        (("patch_embed.proj.weight",), "a vision transformer"),
    ],
)
def test_other_networks_are_named(dla, names, network):
    config, arrays = dla
    with pytest.raises(UserError, match=f"not a checkpoint of GGNet.*looks like {network}"):
        pretrained({f"module.{name}": zeros(3) for name in names}, config)
    plain = {name.replace("proj_1.conv.", "proj_1.0."): array for name, array in arrays.items()}
    with pytest.raises(UserError, match="DLA-34 without deformable convolutions"):
        pretrained(plain, config)


def test_detector_weights_are_those_of_the_plain_file(small):
    """Whatever heads stand beside: the backbone is taken to the bit."""
    config, weights = small
    detector = {k: v for k, v in weights.items() if k.split(".")[0] not in DETECTOR_LACKS}
    foreign = {"hps.0.0.conv.weight": zeros(3), "hm_hp.1.1.bias": zeros(17)}
    ours, _ = pretrained(prefixed(detector | foreign, "module.module."), config)
    equal(ours["params"]["backbone"], from_torch(weights, config)["params"]["backbone"])
