"""Names of a PyTorch checkpoint's parameters, against the released networks' own."""

import jax
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import HOURGLASS_104, dla_config, model_config
from torch_checkpoints import change, shapes_of

from ggnet_jax.torch_import import pretrained
from ggnet_jax.torch_import.names import is_head


def full_size(network: str):
    """`config.model` of a released network for HICO-DET."""
    if network == "dla_34":
        return dla_config()
    return model_config(HOURGLASS_104 | {"arch": network})


@pytest.mark.parametrize("network", ["hourglassggnet2", "hourglassggnet1", "hourglass", "dla_34"])
def test_every_released_parameter_has_a_place(network):
    """Names and shapes, both ways; left over are counters and DLA's two unused skips."""
    released = reference.released_layout(network)
    ours = shapes_of(full_size(network))
    assert ours.items() <= released.items()
    left = {name for name in released.keys() - ours.keys() if "num_batches" not in name}
    unused = ("base.level3.project.", "base.level4.project.")
    assert all(name.startswith(unused) for name in left)
    assert len(left) == (10 if network == "dla_34" else 0)


@pytest.mark.parametrize(
    ("detector", "config"),
    [
        ("ctdet_coco_hg", full_size("hourglassggnet2")),
        ("ctdet_coco_dla_2x", dla_config(gaze_steps=2, per_verb_offsets=True)),
    ],
)
def test_coco_detectors_give_the_backbone_and_the_object_heads(detector, config):
    layout = reference.released_layout(detector)
    shapes = {name: np.broadcast_to(np.float32(0), shape) for name, shape in layout.items()}
    variables, report = pretrained(shapes, config)
    missing = {name.split(".")[0] for name, _ in report.missing}
    heads = {"hm_rel", "sub_offset", "obj_offset"}
    heads |= {f"{part}{step}" for part in ("hm_dcn", "refine_dcn", "refine_head") for step in "12"}
    assert missing == heads
    assert {name.split(".")[0] for name in report.loaded} >= {"hm", "wh", "reg"}
    assert all("num_batches" in n or "project" in n for n, _ in report.skipped)
    assert len(report.loaded) + len(report.skipped) == len(shapes)
    assert len(report.loaded) + len(report.missing) == len(jax.tree.leaves(variables))


def test_heads_and_backbone_are_told_apart():
    names = reference.released_layout("hourglassggnet2")
    backbone = {"pre", "kps", "cnvs", "inters", "inters_", "cnvs_"}
    for name in names:
        assert is_head(name) == (name.split(".")[0] not in backbone)


@pytest.mark.parametrize("aggregation", ["both", "act_points"])
def test_networks_that_were_never_released_have_names_too(aggregation):
    """So that they can start from a detector; their own parameters are heads to begin afresh."""
    config = full_size("hourglass")
    ours = shapes_of(change(config, aggregation=aggregation))
    other = {name for name in ours if name not in reference.released_layout("hourglass")}
    assert all(map(is_head, other))
    assert bool(other) == (aggregation == "act_points")
