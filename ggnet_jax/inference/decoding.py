"""Maps -> points -> matched human-object pairs, batched and on the device (paper eq. 8)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops import find_peaks, gather_cells, gather_offsets


class Detections(NamedTuple):
    """Interactions of every picture by falling score, at most n of them; lengths in map cells.

    Attributes:
      human_box, object_box: [B, n, 4] (x1, y1, x2, y2).
      object_class, verb: int32 [B, n].
      score: verb_score * human_score * object_score, [B, n] each.
      human_cell, object_cell, interaction_cell: int32 [B, n], flat index y * w + x of the peaks.
      valid: bool [B, n]; the rest is filling.
    """

    human_box: jax.Array
    object_box: jax.Array
    object_class: jax.Array
    verb: jax.Array
    score: jax.Array
    human_score: jax.Array
    object_score: jax.Array
    verb_score: jax.Array
    human_cell: jax.Array
    object_cell: jax.Array
    interaction_cell: jax.Array
    valid: jax.Array


class BoxDetections(NamedTuple):
    """Boxes of an outside detector, padded to D a picture; lengths in map cells.

    Attributes:
      boxes: [B, D, 4]; classes: int [B, D]; scores: [B, D]; valid: bool [B, D].
    """

    boxes: jax.Array
    classes: jax.Array
    scores: jax.Array
    valid: jax.Array


class _Points(NamedTuple):
    """Candidates for the human or the object of an interaction, [B, n] each."""

    position: jax.Array  # [B, n, 2] (x, y): what interaction points are matched to
    box: jax.Array  # [B, n, 4]
    object_class: jax.Array
    score: jax.Array
    cell: jax.Array


def decode(
    outputs: Outputs,
    *,
    top_k: int = 100,
    valid_pairs: jax.Array | None = None,
    person_class: int = 0,
    detections: BoxDetections | None = None,
) -> Detections:
    """Find the interactions in the maps of one stack.

    The `top_k` best peaks of the last interaction heatmap each look for the human and the object
    that their verb's offsets point at. The paper's eq. (8) divides the distance by the score;
    the released code, which we follow, maximises score / ((|dx| + 1) (|dy| + 1)). A person may
    be an object, and nothing forbids that both are the same point.

    Args:
      outputs: one `Outputs`, usually the last stack's.
      top_k: how many interactions, humans and objects to consider.
      valid_pairs: bool [V, O], the (verb, object) pairs that exist; None for all. Other pairs are
        not matched, and a verb without an allowed object in the picture gives nothing.
      person_class: index of the person among the objects.
      detections: boxes to match in place of the object branch's.

    Returns:
      `Detections` of fixed shape; of several equal (human, object, verb) the best is valid.
    """
    with jax.named_scope("decode"):
        height, width = outputs.object_logits.shape[1:3]
        if detections is None:
            objects = _peak_points(outputs, outputs.object_logits, 0, top_k)
            person = outputs.object_logits[..., person_class : person_class + 1]
            humans = _peak_points(outputs, person, person_class, top_k)
        else:
            objects = _outside_points(detections, detections.valid, (height, width))
            is_person = detections.valid & (detections.classes == person_class)
            humans = _outside_points(detections, is_person, (height, width))

        logit, cell, verb = find_peaks(outputs.interaction_logits[-1], top_k)
        verb_score = jax.nn.sigmoid(logit)
        point = _cell_position(cell, width, outputs.box_size.dtype)
        human = _match(point - gather_offsets(outputs.human_offset, cell, verb), humans, None)
        allowed = None
        if valid_pairs is not None:
            pairs = jnp.asarray(valid_pairs)
            allowed = pairs[verb[:, :, None], objects.object_class[:, None, :]]
        thing = _match(point - gather_offsets(outputs.object_offset, cell, verb), objects, allowed)
        human_score = _take(humans.score, human)
        object_score = _take(objects.score, thing)
        score = verb_score * human_score * object_score
        valid = (score > 0) & ~_repeated(human, thing, verb)
        object_class = _take(objects.object_class, thing)
        if valid_pairs is not None:
            valid &= pairs[verb, object_class]
        found = Detections(
            human_box=_take(humans.box, human),
            object_box=_take(objects.box, thing),
            object_class=object_class,
            verb=verb,
            score=score,
            human_score=human_score,
            object_score=object_score,
            verb_score=verb_score,
            human_cell=_take(humans.cell, human),
            object_cell=_take(objects.cell, thing),
            interaction_cell=cell,
            valid=valid,
        )
        order = jnp.argsort(jnp.where(valid, -score, 1.0), axis=1)
        return jax.tree.map(lambda values: _take(values, order), found)


def _peak_points(outputs: Outputs, logits: jax.Array, first_class: int, count: int) -> _Points:
    """The best peaks of class heatmaps [B, h, w, C] whose first channel is `first_class`."""
    logit, cell, channel = find_peaks(logits, count)
    position = _cell_position(cell, logits.shape[2], outputs.box_size.dtype)
    center = position + gather_cells(outputs.center_offset, cell)
    half = gather_cells(outputs.box_size, cell) / 2
    box = jnp.concatenate([center - half, center + half], axis=-1)
    return _Points(position, box, channel + first_class, jax.nn.sigmoid(logit), cell)


def _outside_points(detections: BoxDetections, valid, map_size) -> _Points:
    """An outside detector's boxes as candidates; those not valid get the score 0."""
    height, width = map_size
    center = (detections.boxes[..., :2] + detections.boxes[..., 2:]) / 2
    cell = jnp.clip(center.astype(jnp.int32), 0, jnp.array([width, height]) - 1)
    score = jnp.where(valid, detections.scores, 0.0)
    return _Points(
        center, detections.boxes, detections.classes, score, cell[..., 1] * width + cell[..., 0]
    )


def _match(target: jax.Array, points: _Points, allowed: jax.Array | None) -> jax.Array:
    """Index [B, R] of the candidate that fits best where the offsets point, target [B, R, 2]."""
    distance = jnp.abs(target[:, :, None] - points.position[:, None])  # [B, R, n, 2]
    fit = points.score[:, None] / jnp.prod(distance + 1, axis=-1)
    if allowed is not None:
        fit = jnp.where(allowed, fit, 0.0)
    return jnp.argmax(fit, axis=-1)


def _repeated(human: jax.Array, thing: jax.Array, verb: jax.Array) -> jax.Array:
    """bool [B, R]: an earlier, hence better, interaction has the same human, object and verb."""
    same = jnp.ones((), bool)
    for index in (human, thing, verb):
        same &= index[:, :, None] == index[:, None, :]
    return jnp.any(jnp.tril(same, k=-1), axis=-1)


def _cell_position(cell: jax.Array, width: int, dtype) -> jax.Array:
    """Flat cells [...] -> (x, y) [..., 2]."""
    return jnp.stack([cell % width, cell // width], axis=-1).astype(dtype)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """values [B, n, ...] at index [B, m] -> [B, m, ...]."""
    return jax.vmap(lambda v, i: v[i])(values, index)
