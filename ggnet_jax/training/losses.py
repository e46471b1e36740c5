"""Training losses: eq. (4) `hna_loss`, eq. (5)-(7) `ggnet_loss` (paper sections 3.3 and 3.4).

Heatmap losses take logits: `log_sigmoid` needs no clamp and stays finite when a logit saturates.
All losses are sums over the batch divided by a count over the batch. With `axis_name` (pmap) both
are summed over the devices first, so every device returns the loss of the global batch. Of a batch
that is worked through in parts, `Counts` are those of the whole: the parts' losses then add up to
its loss, and their gradients to its gradient.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops import gather_cells, gather_offsets
from ggnet_jax.training.targets import Targets


class LossWeights(NamedTuple):
    """What eq. (5)-(7) leave open.

    Attributes:
        lambda_1: weight of all interaction predictions but the last, and of the matching losses.
        lambda_2: weight of the box size.
        interaction: 'hna' (eq. 4), or 'focal' for the baseline: no hard negatives.
    """

    lambda_1: float = 0.1
    lambda_2: float = 0.1
    interaction: str = "hna"


class Counts(NamedTuple):
    """What the losses of a batch are divided by, see `loss_counts`; scalars.

    Attributes:
        objects: object centers, the focal loss's N.
        glance, gaze: interaction points, N of eq. (4).
        boxes, relations: coordinates of the valid slots.
    """

    objects: jax.Array
    glance: jax.Array
    gaze: jax.Array
    boxes: jax.Array
    relations: jax.Array


def loss_counts(
    targets: Targets, *, example_weight: jax.Array | None = None, axis_name: str | None = None
) -> Counts:
    """The counts of a (global) batch; those of its parts add up to them."""

    def total(counted: jax.Array) -> jax.Array:
        dtype = targets.box_size.dtype
        return _batch_sum(counted.astype(dtype), example_weight, axis_name)

    return Counts(
        objects=total(_is_point(targets.object_heatmap)),
        glance=total(_is_point(targets.glance_mask)),
        gaze=total(_is_point(targets.gaze_mask)),
        boxes=total(_chosen(targets.box_valid, targets.box_size.shape)),
        relations=total(_chosen(targets.relation_valid, targets.human_offset.shape)),
    )


def hna_loss(
    logits: jax.Array,
    mask_map: jax.Array,
    *,
    alpha: float = 2.0,
    beta: float = 7.0,
    gamma: float = 4.0,
    example_weight: jax.Array | None = None,
    axis_name: str | None = None,
    count: jax.Array | None = None,
) -> jax.Array:
    """Hard Negative Attentive loss, eq. (4).

    With P = sigmoid(logits), M = mask_map and N the number of interaction points (M = 1):

        L = -1/N sum  (1-P)^alpha log P                where M = 1
                      (1-M)^beta  P^alpha log(1-P)     where M = -1
                      (1-M)^gamma P^alpha log(1-P)     elsewhere

    Args:
        logits: [B, h, w, V].
        mask_map: M, float [B, h, w, V] in [-1, 1].
        alpha: exponent of how wrong P is.
        beta: exponent of the weight 1 - M at hard negatives.
        gamma: exponent of the weight 1 - M elsewhere.
        example_weight: [B], how much every image counts, in the sum and in N; None for ones.
        axis_name: name of pmap's axis.
        count: N, if it is not that of these images.

    Returns:
        A scalar. N is over the whole (global) batch, and 1 where there is no interaction point.
    """
    log_p, log_not_p = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)  # not_p = 1 - P
    p, not_p = jnp.exp(log_p), jnp.exp(log_not_p)
    positive, hard_negative = _is_point(mask_map), mask_map == -1
    distance = 1 - mask_map
    penalty = jnp.where(hard_negative, _power(distance, beta), _power(distance, gamma))
    loss = -jnp.where(
        positive, _power(not_p, alpha) * log_p, penalty * _power(p, alpha) * log_not_p
    )
    total = _batch_sum(loss, example_weight, axis_name)
    if count is None:
        count = _batch_sum(positive.astype(loss.dtype), example_weight, axis_name)
    return total / jnp.where(count > 0, count, 1.0)


def focal_loss(
    logits: jax.Array,
    heatmap: jax.Array,
    *,
    alpha: float = 2.0,
    gamma: float = 4.0,
    example_weight: jax.Array | None = None,
    axis_name: str | None = None,
    count: jax.Array | None = None,
) -> jax.Array:
    """CornerNet's focal loss: eq. (4) without its case M = -1, on a heatmap in [0, 1]."""
    return hna_loss(
        logits, heatmap, alpha=alpha, beta=gamma, gamma=gamma,
        example_weight=example_weight, axis_name=axis_name, count=count,
    )  # fmt: skip


def masked_l1(
    prediction: jax.Array,
    target: jax.Array,
    valid: jax.Array,
    *,
    example_weight: jax.Array | None = None,
    axis_name: str | None = None,
    count: jax.Array | None = None,
) -> jax.Array:
    """Mean absolute difference over the coordinates of the valid slots.

    Args:
        prediction: [B, M, D], see `ops.gather_cells`.
        target: the same shape.
        valid: [B, M], or [B, M, D] to choose coordinates.
        example_weight: [B] or None.
        axis_name: name of pmap's axis.
        count: the number of valid coordinates, if it is not that of these images.

    Returns:
        A scalar: the sum over the number of valid coordinates (not slots) plus 1e-4, as released.
    """
    chosen = _chosen(valid, prediction.shape)
    # Padding may hold anything, NaN too: it must not reach the gradient.
    difference = jnp.where(chosen, prediction - jnp.where(chosen, target, 0), 0)
    total = _batch_sum(jnp.abs(difference), example_weight, axis_name)
    if count is None:
        count = _batch_sum(chosen.astype(prediction.dtype), example_weight, axis_name)
    return total / (count + 1e-4)


def ggnet_loss(
    outputs: tuple[Outputs, ...],
    targets: Targets,
    weights: LossWeights,
    *,
    example_weight: jax.Array | None = None,
    axis_name: str | None = None,
    counts: Counts | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Total loss, eq. (5)-(7), and every term by name.

        eq. (5)    L   = L_last + lambda_1 (L_earlier + L_m) + L_d
        eq. (6)    L_m = L_mh + L_mo
        eq. (7)    L_d = L_h + L_o + lambda_2 L_wh + L_off

    L_last is the last interaction prediction (the glance where there is no gaze step), L_earlier
    the sum of those before; L_h + L_o is one loss over the heatmap of all classes. Each term is the
    mean over the stacks; the two matching losses are their sum, as released (the paper does not
    say).

    Args:
        outputs: of all stacks.
        targets: see `render_targets`.
        weights: see `LossWeights`.
        example_weight: [B] or None.
        axis_name: name of pmap's axis.
        counts: of the whole batch, if these images are a part of it; None if they are all of it.

    Returns:
        (total, terms): terms 'object_heatmap', 'box_size', 'center_offset', 'glance', 'gaze1', ...,
        'human_offset', 'object_offset', unweighted.
    """
    batch = {"example_weight": example_weight, "axis_name": axis_name}
    terms: dict[str, jax.Array] = {}
    for output in outputs:
        for name, value in _stack_terms(output, targets, weights, batch, counts).items():
            summed = name in ("human_offset", "object_offset")
            terms[name] = terms.get(name, 0.0) + (value if summed else value / len(outputs))
    *earlier, last = [name for name in terms if name == "glance" or name.startswith("gaze")]
    total = (
        terms[last]  # eq. (5), with L_m of eq. (6) in the brackets
        + weights.lambda_1
        * (sum(terms[n] for n in earlier) + terms["human_offset"] + terms["object_offset"])
        + terms["object_heatmap"]  # L_d, eq. (7), from here on
        + weights.lambda_2 * terms["box_size"]
        + terms["center_offset"]
    )
    return total, terms


def _stack_terms(
    output: Outputs,
    targets: Targets,
    weights: LossWeights,
    batch: Mapping[str, Any],
    counts: Counts | None,
) -> dict[str, jax.Array]:
    """The terms of one stack; `batch`: the arguments that every loss has in common."""

    def of(name: str) -> dict[str, Any]:
        """The arguments of a loss whose count has this name."""
        return {**batch, "count": None if counts is None else getattr(counts, name)}

    def interaction(logits: jax.Array, mask_map: jax.Array, count: str) -> jax.Array:
        if weights.interaction == "focal":
            return focal_loss(logits, jnp.maximum(mask_map, 0), **of(count))
        return hna_loss(logits, mask_map, **of(count))

    def boxes(maps: jax.Array, target: jax.Array) -> jax.Array:
        prediction = gather_cells(maps, targets.box_cell)
        return masked_l1(prediction, target, targets.box_valid, **of("boxes"))

    def matching(offset: jax.Array, target: jax.Array) -> jax.Array:
        prediction = gather_offsets(offset, targets.relation_cell, targets.relation_verb)
        return masked_l1(prediction, target, targets.relation_valid, **of("relations"))

    heatmap = targets.object_heatmap
    terms = {
        "object_heatmap": focal_loss(output.object_logits, heatmap, **of("objects")),
        "box_size": boxes(output.box_size, targets.box_size),
        "center_offset": boxes(output.center_offset, targets.center_offset),
        "glance": interaction(output.interaction_logits[0], targets.glance_mask, "glance"),
    }
    for step, logits in enumerate(output.interaction_logits[1:], start=1):
        terms[f"gaze{step}"] = interaction(logits, targets.gaze_mask, "gaze")
    terms["human_offset"] = matching(output.human_offset, targets.human_offset)
    terms["object_offset"] = matching(output.object_offset, targets.object_offset)
    return terms


def _is_point(mask_map: jax.Array) -> jax.Array:
    """Where a Gaussian has its center, be it an object's or an interaction point."""
    return mask_map == 1


def _chosen(valid: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[B, M] or [B, M, D] for every coordinate [B, M, D]."""
    return jnp.broadcast_to(valid[..., None] if valid.ndim < len(shape) else valid, shape)


def _batch_sum(
    values: jax.Array, example_weight: jax.Array | None, axis_name: str | None
) -> jax.Array:
    """Sum over the (global) batch, every image by its weight."""
    if example_weight is not None:
        values = values * example_weight.reshape(-1, *(1,) * (values.ndim - 1))
    total = values.sum()
    return total if axis_name is None else lax.psum(total, axis_name)


def _power(base: jax.Array, exponent: float) -> jax.Array:
    """base ** exponent; whole exponents by multiplication, which is exact at 0 and cheap."""
    return base ** (int(exponent) if float(exponent).is_integer() else exponent)
