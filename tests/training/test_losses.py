"""The losses against eq. (4)-(7) worked by hand and against a plain NumPy sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops import gather_cells, gather_offsets
from ggnet_jax.training.losses import (
    LossWeights,
    focal_loss,
    ggnet_loss,
    hna_loss,
    masked_l1,
)
from ggnet_jax.training.targets import Targets


def logit(p):
    return np.log(p / (1 - p))


def one_cell(p, m):
    """A map of a single cell and verb."""
    return np.full((1, 1, 1, 1), logit(p), np.float32), np.full((1, 1, 1, 1), m, np.float32)


@pytest.mark.parametrize(
    ("p", "m", "expected"),
    [
        (0.25, 1.0, 0.75**2 * np.log(4)),  # an interaction point
        (0.25, -1.0, 2**7 * 0.25**2 * np.log(4 / 3)),  # a hard negative: (1 - M)^7
        (0.25, 0.0, 0.25**2 * np.log(4 / 3)),  # background
        (0.25, 0.5, 0.5**4 * 0.25**2 * np.log(4 / 3)),  # beside an interaction point
        (0.25, -0.5, 1.5**4 * 0.25**2 * np.log(4 / 3)),  # beside a hard negative
    ],
)
def test_hna_is_eq_4_in_every_case(p, m, expected):
    assert float(hna_loss(*one_cell(p, m))) == pytest.approx(expected, rel=1e-5)


def test_hna_divides_by_the_points_of_the_whole_batch():
    logits = np.zeros((2, 2, 2, 1), np.float32)
    mask = np.zeros_like(logits)
    mask[0, 0, 0], mask[0, 1, 1], mask[1, 0, 1] = 1, 1, -1
    background = 5 * 0.25 * np.log(2)
    expected = (2 * 0.25 * np.log(2) + 2**7 * 0.25 * np.log(2) + background) / 2
    assert float(hna_loss(logits, mask)) == pytest.approx(expected, rel=1e-6)
    # The second image has no point of its own; without the first nothing is divided.
    alone = (2**7 * 0.25 + 3 * 0.25) * np.log(2)
    assert float(hna_loss(logits, mask, example_weight=jnp.array([0.0, 1.0]))) == pytest.approx(
        alone, rel=1e-6
    )


def test_focal_loss_is_hna_without_the_hard_case():
    logits, heatmap = np.random.default_rng(0).normal(size=(2, 1, 4, 4, 2)).astype(np.float32)
    heatmap = np.clip(np.abs(heatmap), 0, 1)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    positive = heatmap == 1
    terms = np.where(positive, (1 - p) ** 2 * np.log(p), (1 - heatmap) ** 4 * p**2 * np.log(1 - p))
    expected = -terms.sum() / max(positive.sum(), 1)
    assert float(focal_loss(logits, heatmap)) == pytest.approx(expected, rel=1e-5)


def test_saturated_logits_give_finite_losses_and_gradients():
    logits = np.array([200.0, -200.0, 200.0, -200.0], np.float32).reshape(1, 2, 2, 1)
    mask = np.array([1.0, 1.0, -1.0, 0.0], np.float32).reshape(1, 2, 2, 1)
    value, gradient = jax.value_and_grad(hna_loss)(logits, mask)
    # log P of a missed point is its logit, -200; P of a sure hard negative is 1.
    assert float(value) == pytest.approx((200 + 2**7 * 200) / 2, rel=1e-6)
    assert np.isfinite(gradient).all()


def test_l1_divides_by_coordinates():
    prediction = np.array([[[1.0, 2.0], [5.0, 5.0]]], np.float32)
    target = np.array([[[0.0, 4.0], [np.nan, 0.0]]], np.float32)
    valid = np.array([[True, False]])
    value, gradient = jax.value_and_grad(masked_l1)(prediction, target, valid)
    assert float(value) == pytest.approx(3 / (2 + 1e-4))
    np.testing.assert_allclose(gradient, [[[0.5, -0.5], [0, 0]]], rtol=1e-4)
    nothing = masked_l1(prediction, target, np.array([[False, False]]))
    assert float(nothing) == 0


def test_cells_and_verbs_are_read_where_they_lie():
    maps = np.arange(2 * 3 * 4 * 5 * 2, dtype=np.float32).reshape(2, 3, 4, 5, 2)
    cell, verb = np.array([[5], [11]]), np.array([[2], [4]])
    np.testing.assert_array_equal(
        gather_offsets(maps, cell, verb), [[maps[0, 1, 1, 2]], [maps[1, 2, 3, 4]]]
    )
    np.testing.assert_array_equal(
        gather_offsets(maps[..., :1, :], cell, verb), [[maps[0, 1, 1, 0]], [maps[1, 2, 3, 0]]]
    )
    np.testing.assert_array_equal(gather_cells(maps, cell)[1, 0], maps[1, 2, 3])


def made_outputs(gaze_steps, seed):
    rng = np.random.default_rng(seed)

    def a(*s):
        return rng.normal(size=(2, 4, 4, *s)).astype(np.float32)

    logits = tuple(a(3) for _ in range(gaze_steps + 1))
    return Outputs(a(5), a(2), a(2), logits, a(3, 2), a(3, 2), ())


def made_targets():
    rng = np.random.default_rng(9)
    heatmap = np.zeros((2, 4, 4, 5), np.float32)
    mask = np.zeros((2, 4, 4, 3), np.float32)
    heatmap[0, 1, 1, 0] = mask[0, 1, 2, 1] = mask[1, 3, 3, 0] = 1
    mask[0, 1, 2, 2] = -1
    return Targets(
        heatmap, mask, mask * 0.5 + (mask == 1) * 0.5,
        rng.integers(0, 16, (2, 3)), rng.normal(size=(2, 3, 2)).astype(np.float32),
        rng.normal(size=(2, 3, 2)).astype(np.float32), np.array([[1, 1, 0], [1, 0, 0]], bool),
        rng.integers(0, 16, (2, 2)), rng.integers(0, 3, (2, 2)),
        rng.normal(size=(2, 2, 2)).astype(np.float32),
        rng.normal(size=(2, 2, 2)).astype(np.float32), np.array([[1, 0], [1, 1]], bool),
    )  # fmt: skip


@pytest.mark.parametrize("gaze_steps", [0, 1, 2, 3])
def test_total_is_eq_5_to_7(gaze_steps):
    outputs = (made_outputs(gaze_steps, 1), made_outputs(gaze_steps, 2))
    targets = made_targets()
    weights = LossWeights(lambda_1=0.3, lambda_2=0.7)
    total, terms = ggnet_loss(outputs, targets, weights)

    interactions = ["glance", *(f"gaze{t}" for t in range(1, gaze_steps + 1))]
    for step, name in enumerate(interactions):
        mask = targets.gaze_mask if step else targets.glance_mask
        per_stack = [float(hna_loss(o.interaction_logits[step], mask)) for o in outputs]
        assert float(terms[name]) == pytest.approx(np.mean(per_stack), rel=1e-5)
    matching = [
        float(
            masked_l1(
                gather_offsets(o.human_offset, targets.relation_cell, targets.relation_verb),
                targets.human_offset,
                targets.relation_valid,
            )
        )
        for o in outputs
    ]
    assert float(terms["human_offset"]) == pytest.approx(sum(matching), rel=1e-5)  # not the mean
    value = {name: float(v) for name, v in terms.items()}
    expected = (
        value[interactions[-1]]
        + 0.3 * sum(value[n] for n in interactions[:-1])
        + 0.3 * (value["human_offset"] + value["object_offset"])
        + value["object_heatmap"]
        + 0.7 * value["box_size"]
        + value["center_offset"]
    )
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert len(terms) == 6 + gaze_steps


def test_the_baseline_ignores_hard_negatives():
    outputs, targets = (made_outputs(0, 3),), made_targets()
    _, focal = ggnet_loss(outputs, targets, LossWeights(interaction="focal"))
    without = targets._replace(glance_mask=np.maximum(targets.glance_mask, 0))
    _, hna = ggnet_loss(outputs, without, LossWeights())
    assert float(focal["glance"]) == pytest.approx(float(hna["glance"]))
