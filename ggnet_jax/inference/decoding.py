"""Maps -> points -> matched human-object pairs, batched and on the device (paper eq. 8)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ggnet_jax.models.outputs import Outputs
from ggnet_jax.ops import find_peaks, gather_cells, gather_offsets


class Detections(NamedTuple):
    """Interactions of every image by descending score, R <= top_k of them; lengths in map cells.

    Attributes:
        human_box, object_box: [B, R, 4] (x1, y1, x2, y2).
        object_class, verb: int32 [B, R].
        score: verb_score * human_score * object_score, [B, R] each.
        human_cell, object_cell, interaction_cell: int32 [B, R], flat index y * w + x of the peaks.
        valid: bool [B, R]; the rest is padding.
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
    """Boxes of an external detector, padded to D an image; lengths in map cells.

    Attributes:
        boxes: [B, D, 4] (x1, y1, x2, y2).
        classes: int [B, D].
        scores: [B, D].
        valid: bool [B, D]; the rest is padding.
    """

    boxes: jax.Array | np.ndarray
    classes: jax.Array | np.ndarray
    scores: jax.Array | np.ndarray
    valid: jax.Array | np.ndarray


class _Points(NamedTuple):
    """Human or object points that an interaction can be matched to; [B, n] unless said."""

    position: jax.Array  # [B, n, 2] (x, y), in map cells
    box: jax.Array  # [B, n, 4]
    object_class: jax.Array
    score: jax.Array
    cell: jax.Array


def decode(
    outputs: Outputs,
    *,
    top_k: int = 100,
    valid_pairs: jax.Array | np.ndarray | None = None,
    person_class: int = 0,
    detections: BoxDetections | None = None,
) -> Detections:
    """Find the interactions in the maps of one stack.

    Every one of the `top_k` best peaks of the last interaction heatmap is matched to a human and
    an object by eq. (8), see `_match`. A person may be an object, and nothing forbids that both
    are the same point.

    Args:
        outputs: one `Outputs`, usually the last stack's.
        top_k: how many interaction, human and object points to consider.
        valid_pairs: bool [V, O], the (verb, object) pairs that exist; None for all. Other pairs
            are not matched, and a verb without an allowed object in the image gives nothing.
        person_class: index of the person among the objects.
        detections: boxes to match in place of the object branch's.

    Returns:
        `Detections` of fixed shape; of several equal (human, object, verb) the best is valid.
    """
    with jax.named_scope("decode"):
        height, width = outputs.object_logits.shape[1:3]
        if detections is None:
            person_logits = outputs.object_logits[..., person_class : person_class + 1]
            humans = _peak_points(outputs, person_logits, person_class, top_k)
            objects = _peak_points(outputs, outputs.object_logits, 0, top_k)
        else:
            is_person = detections.valid & (detections.classes == person_class)
            humans = _external_points(detections, is_person, (height, width))
            objects = _external_points(detections, detections.valid, (height, width))

        logit, cell, verb = find_peaks(outputs.interaction_logits[-1], top_k)
        verb_score = jax.nn.sigmoid(logit)
        point = cell_position(cell, width, outputs.box_size.dtype)
        human_target = point - gather_offsets(outputs.human_offset, cell, verb)
        object_target = point - gather_offsets(outputs.object_offset, cell, verb)

        pairs = None if valid_pairs is None else jnp.asarray(valid_pairs)
        allowed = None
        if pairs is not None:
            allowed = pairs[verb[:, :, None], objects.object_class[:, None, :]]
        human_index = _match(human_target, humans)
        object_index = _match(object_target, objects, allowed)

        human_score = _take(humans.score, human_index)
        object_score = _take(objects.score, object_index)
        score = verb_score * human_score * object_score
        object_class = _take(objects.object_class, object_index)
        valid = (score > 0) & ~_repeated(human_index, object_index, verb)
        if pairs is not None:
            valid &= pairs[verb, object_class]
        found = Detections(
            human_box=_take(humans.box, human_index),
            object_box=_take(objects.box, object_index),
            object_class=object_class,
            verb=verb,
            score=score,
            human_score=human_score,
            object_score=object_score,
            verb_score=verb_score,
            human_cell=_take(humans.cell, human_index),
            object_cell=_take(objects.cell, object_index),
            interaction_cell=cell,
            valid=valid,
        )
        order = jnp.argsort(jnp.where(valid, -score, 1.0), axis=1)
        return jax.tree.map(lambda values: _take(values, order), found)


def _match(target: jax.Array, points: _Points, allowed: jax.Array | None = None) -> jax.Array:
    """Eq. (8): which of n human (or object) points belongs to each of R interaction points.

    The paper takes the point with the least distance to the target divided by its score,
    argmin |(x_i, y_i) - (d_x, d_y) - (x_h, y_h)| / P_h. The released code, which we follow, takes
    argmax P_h / ((|dx| + 1) (|dy| + 1)), with (dx, dy) the vector inside the bars.

    Args:
        target: (x_i, y_i) - (d_x, d_y), [B, R, 2]: where the matching offset (APM) points.
        points: (x_h, y_h) and P_h.
        allowed: bool [B, R, n], the points that may be chosen; None for all.

    Returns:
        Indices of points, [B, R].
    """
    distance = jnp.abs(target[:, :, None] - points.position[:, None])  # [B, R, n, 2]
    fit = points.score[:, None] / jnp.prod(distance + 1, axis=-1)
    if allowed is not None:
        fit = jnp.where(allowed, fit, 0.0)
    return jnp.argmax(fit, axis=-1)


def _peak_points(outputs: Outputs, logits: jax.Array, first_class: int, count: int) -> _Points:
    """The best peaks of class heatmaps [B, h, w, C] whose first channel is `first_class`."""
    logit, cell, channel = find_peaks(logits, count)
    position = cell_position(cell, logits.shape[2], outputs.box_size.dtype)
    center = position + gather_cells(outputs.center_offset, cell)
    half = gather_cells(outputs.box_size, cell) / 2
    box = jnp.concatenate([center - half, center + half], axis=-1)
    return _Points(position, box, channel + first_class, jax.nn.sigmoid(logit), cell)


def _external_points(
    detections: BoxDetections, valid: jax.Array | np.ndarray, map_size: tuple[int, int]
) -> _Points:
    """The centers of an external detector's boxes; those not valid get the score 0."""
    height, width = map_size
    boxes, classes, scores, valid = map(jnp.asarray, (*detections[:3], valid))
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    cell = jnp.clip(center.astype(jnp.int32), 0, jnp.array([width, height]) - 1)
    score = jnp.where(valid, scores, 0.0)
    return _Points(center, boxes, classes, score, cell[..., 1] * width + cell[..., 0])


def _repeated(human: jax.Array, obj: jax.Array, verb: jax.Array) -> jax.Array:
    """bool [B, R]: an earlier, hence better, interaction has the same human, object and verb."""
    same = jnp.ones((), bool)
    for index in (human, obj, verb):
        same &= index[:, :, None] == index[:, None, :]
    return jnp.any(jnp.tril(same, k=-1), axis=-1)


def cell_position(cell: jax.Array, width: int, dtype: jnp.dtype) -> jax.Array:
    """Flat cells [...] -> (x, y) [..., 2]."""
    return jnp.stack([cell % width, cell // width], axis=-1).astype(dtype)


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """values [B, n, ...] at index [B, m] -> [B, m, ...]."""
    return jax.vmap(lambda v, i: v[i])(values, index)
