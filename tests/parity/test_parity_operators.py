"""Deformable convolution, losses, targets and decoding against the released PyTorch code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_weights as reference
from reference_networks import difference

from ggnet_jax.config import ModelConfig
from ggnet_jax.inference.decoding import decode
from ggnet_jax.models.gaze import GazeStep
from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops import deform_conv2d, gather_cells
from ggnet_jax.training.losses import focal_loss, hna_loss, masked_l1
from ggnet_jax.training.targets import Annotations, render_targets


def last(planes):
    """[B, C, h, w] -> [B, h, w, C]."""
    return planes.transpose(0, 2, 3, 1)


def taps(offset):
    """Offsets [B, 2K, h, w] (dy, dx of tap 0, of tap 1, ...) -> [B, h, w, K, 2]."""
    channels_last = last(np.asarray(offset))
    return channels_last.reshape(*channels_last.shape[:3], -1, 2)


@pytest.mark.parametrize("case", ["k3_near", "k5_far", "k5_zero"])
def test_deformable_convolution_and_its_gradients(case):
    arrays, _ = reference.load("deform_conv")
    given = {n.split("/")[1]: arrays[n] for n in arrays.files if n.startswith(f"{case}/")}
    inputs = (
        last(given["input"]),
        taps(given["offset"]),
        last(given["mask"]),
        given["weight"].transpose(2, 3, 1, 0),
        given["bias"],
    )
    output, pull_back = jax.vjp(deform_conv2d, *inputs)
    assert difference(output, last(given["output"])) < 1e-5
    gradients = pull_back(jnp.asarray(last(given["cotangent"])))
    expected = (
        last(given["d_input"]),
        taps(given["d_offset"]),
        last(given["d_mask"]),
        given["d_weight"].transpose(2, 3, 1, 0),
        given["d_bias"],
    )
    for name, ours, theirs in zip("x offset mask weight bias".split(), gradients, expected,
                                  strict=True):  # fmt: skip
        assert difference(ours, theirs) < 1e-5, name


def test_offsets_add_up_over_the_gaze_steps():
    """The released modules of both steps, without the ReLU that follows them in the network."""
    arrays, _ = reference.load("deform_conv")
    offset, gaze = None, last(arrays["module/x1"])
    for step, sampled in ((1, "module/x2"), (2, "module/x3")):
        name = f"module/gaze{step}"
        params = {
            "kernel": arrays[f"{name}.weight"].transpose(2, 3, 1, 0),
            "bias": arrays[f"{name}.bias"],
            "offset_conv": {
                "kernel": arrays[f"{name}.conv_offset_mask.weight"].transpose(2, 3, 1, 0),
                "bias": arrays[f"{name}.conv_offset_mask.bias"],
            },
        }
        module = GazeStep(ModelConfig(head_width=6))
        bound = module.bind({"params": params})
        gathered, offset, weight = bound(gaze, last(arrays[sampled]), offset)
        assert difference(offset, taps(arrays[f"{name}_offset"])) < 1e-5
        assert weight.min() > 0 and weight.max() < 1
        assert difference(gathered, last(np.maximum(arrays[f"{name}_out"], 0))) < 1e-5
        gaze = last(arrays[f"{name}_out"])  # the released modules were chained without the ReLU


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("hna_several", hna_loss),
        ("hna_no_positive", hna_loss),
        ("hna_no_negative", hna_loss),
        ("focal_several", focal_loss),
        ("focal_no_positive", focal_loss),
    ],
)
def test_heatmap_losses(case, loss, precision):
    arrays, _ = reference.load("losses")
    logits, target = (
        last(arrays[f"{case}/{name}"]).astype(precision) for name in ("logits", "target")
    )
    with jax.enable_x64(precision == "float64"):
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits), target)
    assert float(value) == pytest.approx(float(arrays[f"{case}/loss"]), rel=1e-5)
    assert difference(gradient, last(arrays[f"{case}/d_logits"])) < 1e-5


@pytest.mark.parametrize("case", ["l1", "l1_per_verb", "l1_empty"])
def test_l1_losses(case):
    arrays, _ = reference.load("losses")
    index, target, mask = (arrays[f"{case}/{name}"] for name in ("ind", "target", "mask"))

    def loss(maps):
        return masked_l1(gather_cells(maps, index), target, mask.astype(bool))

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(last(arrays[f"{case}/map"])))
    assert float(value) == pytest.approx(float(arrays[f"{case}/loss"]), rel=1e-5)
    expected = last(arrays[f"{case}/d_map"])
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max() + 1e-12)


SCENES = ("plain", "border", "degenerate", "verbs", "crowd", "small")
BOXES, RELATIONS, OBJECTS, VERBS = 128, 64, 80, 117


def pad(rows, count):
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])


@pytest.fixture(scope="module")
def rendered():
    """All scenes, drawn as one batch."""
    arrays, meta = reference.load("targets")
    scenes = [[arrays[f"{s}/{k}"] for k in ("boxes", "classes", "relations")] for s in SCENES]
    assert all(meta["scenes"][s]["height"] == meta["scenes"][s]["width"] == 128 for s in SCENES)
    annotations = Annotations(
        boxes=np.stack([pad(boxes, BOXES) for boxes, _, _ in scenes]).astype(np.float32),
        classes=np.stack([pad(classes, BOXES) for _, classes, _ in scenes]),
        box_valid=np.stack([np.arange(BOXES) < len(boxes) for boxes, _, _ in scenes]),
        relations=np.stack([pad(relations, RELATIONS) for _, _, relations in scenes]),
        relation_valid=np.stack([np.arange(RELATIONS) < len(r) for _, _, r in scenes]),
    )
    targets = render_targets(
        annotations,
        map_size=(128, 128),
        num_verbs=VERBS,
        num_objects=OBJECTS,
        verbs_of_object=arrays["obj_to_verb"].astype(bool),
    )
    return jax.device_get(targets)


def dense(arrays, name, channels):
    """A map [h, w, channels] out of its non-zero entries."""
    planes = np.zeros((channels, 128, 128), np.float32)
    planes[tuple(arrays[f"{name}_idx"].T)] = arrays[f"{name}_val"]
    return planes.transpose(1, 2, 0)


@pytest.mark.parametrize("scene", SCENES)
def test_target_maps(rendered, scene):
    """Where the order of relations matters, only what does not depend on it is compared."""
    arrays, meta = reference.load("targets")
    one = jax.tree.map(lambda values: values[SCENES.index(scene)], rendered)
    pairs = [(one.object_heatmap, dense(arrays, f"{scene}/hm", OBJECTS))]
    glance, gaze = (dense(arrays, f"{scene}/{n}", VERBS) for n in ("hm_rel", "hm_rel_hard"))
    if meta["scenes"][scene]["order_independent"]:
        pairs += [(one.glance_mask, glance), (one.gaze_mask, gaze)]
    positive = dense(arrays, f"{scene}/hm_rel_positive", VERBS)
    pairs += [(np.where(positive > 0, one.glance_mask, 0), positive)]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours != 0, theirs != 0)
        np.testing.assert_array_equal(np.abs(ours) == 1, np.abs(theirs) == 1)
        assert np.abs(ours - theirs).max() <= 1e-6


@pytest.mark.parametrize("scene", SCENES)
def test_target_slots(rendered, scene):
    arrays, _ = reference.load("targets")
    one = jax.tree.map(lambda values: values[SCENES.index(scene)], rendered)
    boxes = arrays[f"{scene}/reg_mask"].astype(bool)
    np.testing.assert_array_equal(one.box_valid, boxes)
    np.testing.assert_array_equal(one.box_cell[boxes], arrays[f"{scene}/ind"][boxes])
    for ours, theirs in ((one.box_size, "wh"), (one.center_offset, "reg")):
        np.testing.assert_allclose(ours[boxes], arrays[f"{scene}/{theirs}"][boxes], atol=1e-5)

    slots = arrays[f"{scene}/offset_mask"].astype(bool)
    np.testing.assert_array_equal(one.relation_valid, slots)
    np.testing.assert_array_equal(one.relation_cell[slots], arrays[f"{scene}/rel_ind"][slots])
    offsets = {"sub": one.human_offset, "obj": one.object_offset}
    for name, ours in offsets.items():
        shared = arrays[f"{scene}/{name}_offset_shared"]
        np.testing.assert_array_equal(ours[slots], shared[slots])
        # The released regression map has two channels for every verb, of which one pair is used.
        slot, channel = arrays[f"{scene}/offset_idx"].T
        np.testing.assert_array_equal(one.relation_verb[slot], channel // 2)
        np.testing.assert_array_equal(ours[slot, channel % 2], arrays[f"{scene}/{name}_offset_val"])


@pytest.mark.parametrize("case", ["decode_match", "decode_shared"])
def test_decoding(case):
    """The same triplets with the same scores and boxes, out of three lists of a hundred peaks."""
    arrays, meta = reference.load(case)
    height, width = meta["height"], meta["width"]
    maps = reference.decoding_inputs(height, width, meta["seed"], meta["per_verb"])

    def logits(name):
        p = maps[name].astype(np.float64)
        with np.errstate(divide="ignore"):
            return (np.log(p) - np.log1p(-p)).transpose(1, 2, 0)[None].astype(np.float32)

    def offsets(name):
        return maps[name].transpose(1, 2, 0).reshape(1, height, width, -1, 2)

    outputs = Outputs(
        object_logits=logits("hm"),
        box_size=maps["wh"].transpose(1, 2, 0)[None],
        center_offset=maps["reg"].transpose(1, 2, 0)[None],
        interaction_logits=(logits("hm_rel"),),
        human_offset=offsets("sub_offset"),
        object_offset=offsets("obj_offset"),
        act_points=(),
    )
    found = jax.tree.map(lambda x: np.asarray(x[0]), decode(outputs, valid_pairs=maps["corre"]))

    def index_of(box, kind, score, candidates):
        """Which of their candidates [100, 6] is this box of ours?"""
        distance = np.abs(candidates[:, :4] - box).max(-1) + 1e3 * (candidates[:, 5] != kind)
        nearest = int(distance.argmin())
        assert distance[nearest] < 1e-4
        assert candidates[nearest, 4] == pytest.approx(score, rel=1e-4)
        return nearest

    humans, objects = arrays["human_detections"][0], arrays["obj_detections"][0]
    ours = {}
    for i in np.flatnonzero(found.valid):
        human = index_of(found.human_box[i], 0, found.human_score[i], humans)
        obj = index_of(found.object_box[i], found.object_class[i], found.object_score[i], objects)
        ours[human, obj, int(found.verb[i])] = float(found.score[i])
    theirs = {tuple(map(int, triplet[:3])): float(triplet[3]) for triplet in arrays["rel_triplet"]}
    assert ours.keys() == theirs.keys()
    assert len(ours) == found.valid.sum()
    for triplet, score in theirs.items():
        assert ours[triplet] == pytest.approx(score, rel=1e-4)
