"""Annotations -> training targets, drawn on the device (paper sections 3.2, 3.3).

The mask M of eq. (4): at the interaction point of every labeled (verb, object) pair a Gaussian of
height 1 in the verb's channel, and a Gaussian of height -1 in the channels of its hard negatives,
the other verbs that occur with this object in training. Zero elsewhere.

Everything is measured in cells of the output map, (x, y), boxes (x1, y1, x2, y2). A batch of
any size is one array operation a step; the host sends boxes and relations, never heatmaps.

Where the paper is silent the released code decides: boxes are clipped to the map, centers
truncated to whole cells, the interaction point is the truncated midpoint of two truncated centers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MIN_OVERLAP = 0.7  # CornerNet: a box moved by the radius still overlaps by this much
HARD_NEGATIVE_RADIUS = 3  # cells
# Standard deviation = diameter / divisor. Gaze steps get sharper positives and, as released,
# wider hard negatives than the glance.
GLANCE_DIVISOR = 6.0
SHARP_POSITIVE_DIVISOR = 8.0
SHARP_NEGATIVE_DIVISOR = 2.0


class Annotations(NamedTuple):
    """What is known of a batch of images, padded to N boxes and R relations.

    Attributes:
        boxes: float [B, N, 4] in map cells, before clipping.
        classes: int [B, N] object index.
        box_valid: bool [B, N].
        relations: int [B, R, 3] (human's box, object's box, verb).
        relation_valid: bool [B, R].
    """

    boxes: jax.Array
    classes: jax.Array
    box_valid: jax.Array
    relations: jax.Array
    relation_valid: jax.Array


class Targets(NamedTuple):
    """What the network should have said; cells are flat indices y * w + x.

    Attributes:
        object_heatmap: [B, h, w, O] in [0, 1].
        glance_mask: M of eq. (4) for the glance, [B, h, w, V] in [-1, 1].
        gaze_mask: the same for the gaze steps.
        box_cell: of every box's center, int [B, N].
        box_size: [B, N, 2] (width, height).
        center_offset: from the cell to the center, [B, N, 2] (x, y).
        box_valid: bool [B, N].
        relation_cell: of every interaction point, int [B, R].
        relation_verb: int [B, R].
        human_offset: interaction point minus the human's center, [B, R, 2] (x, y).
        object_offset: interaction point minus the object's center.
        relation_valid: bool [B, R].
    """

    object_heatmap: jax.Array
    glance_mask: jax.Array
    gaze_mask: jax.Array
    box_cell: jax.Array
    box_size: jax.Array
    center_offset: jax.Array
    box_valid: jax.Array
    relation_cell: jax.Array
    relation_verb: jax.Array
    human_offset: jax.Array
    object_offset: jax.Array
    relation_valid: jax.Array


def render_targets(
    annotations: Annotations,
    *,
    map_size: tuple[int, int],
    num_verbs: int,
    num_objects: int,
    verbs_of_object: jax.Array,
    sharp_gaze_targets: bool = True,
) -> Targets:
    """Draw the targets of a batch.

    Args:
        annotations: see `Annotations`.
        map_size: (h, w) of the output map.
        num_verbs: V.
        num_objects: O.
        verbs_of_object: bool [O, V], pairs seen in training: the other verbs of a relation's object
            are its hard negatives. The data set counts them: `dataset.Dataset.verbs_of_object`.
        sharp_gaze_targets: draw `gaze_mask` with the released code's sharper Gaussians; else it
            equals `glance_mask`. (The paper does not mention them.)

    Returns:
        `Targets`. A box without area after clipping is not valid but keeps its place: its
        relations are still drawn at the clipped center, as released.
    """
    verbs_of_object = jnp.asarray(verbs_of_object)  # indexed by traced classes below
    with jax.named_scope("render_targets"):
        return jax.vmap(
            lambda one: _render_one(
                one, map_size, num_verbs, num_objects, verbs_of_object, sharp_gaze_targets
            )
        )(annotations)


def _render_one(
    one: Annotations,
    map_size: tuple[int, int],
    num_verbs: int,
    num_objects: int,
    verbs_of_object: jax.Array,
    sharp: bool,
) -> Targets:
    """Targets of a single image (no batch axis)."""
    height, width = map_size
    boxes = jnp.clip(one.boxes, 0, jnp.array([width, height] * 2, one.boxes.dtype) - 1)
    size = boxes[:, 2:] - boxes[:, :2]
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    cell = center.astype(jnp.int32)
    box_valid = one.box_valid & jnp.all(size > 0, axis=-1)
    object_heatmap = _merge_gaussians(
        cell, gaussian_radius(jnp.ceil(size)), GLANCE_DIVISOR, one.classes, box_valid,
        num_objects, map_size,
    )  # fmt: skip

    human, obj, verb = one.relations[:, 0], one.relations[:, 1], one.relations[:, 2]
    human_cell, object_cell = cell[human], cell[obj]
    point = (human_cell + object_cell) // 2  # the interaction points
    radius = gaussian_radius(jnp.abs(human_cell - object_cell).astype(boxes.dtype))
    negative = _hard_negatives(
        point, radius, verb, verbs_of_object[one.classes[obj]], one.relation_valid
    )

    def mask(positive_divisor: float, negative_divisor: float) -> jax.Array:
        """M of eq. (4)."""
        positives = _merge_gaussians(
            point, radius, positive_divisor, verb, one.relation_valid, num_verbs, map_size
        )
        return positives - _merge_patches(point, negative, negative_divisor, map_size)

    glance_mask = mask(GLANCE_DIVISOR, GLANCE_DIVISOR)
    gaze_mask = mask(SHARP_POSITIVE_DIVISOR, SHARP_NEGATIVE_DIVISOR) if sharp else glance_mask
    return Targets(
        object_heatmap=object_heatmap,
        glance_mask=glance_mask,
        gaze_mask=gaze_mask,
        box_cell=cell[:, 1] * width + cell[:, 0],
        box_size=size,
        center_offset=center - cell,
        box_valid=box_valid,
        relation_cell=point[:, 1] * width + point[:, 0],
        relation_verb=verb,
        human_offset=(point - human_cell).astype(boxes.dtype),
        object_offset=(point - object_cell).astype(boxes.dtype),
        relation_valid=one.relation_valid,
    )


def gaussian_radius(size: jax.Array) -> jax.Array:
    """CornerNet's radius of a box: how far its corners may move and still overlap by 0.7.

    The released code divides the roots of its three quadratic equations by 2, whatever their
    leading coefficient; so do we, as its checkpoints were trained that way.

    Args:
        size: [..., 2] (width, height) in cells, already rounded up.

    Returns:
        int32 [...].
    """
    total, area = size.sum(-1), size.prod(-1)
    overlap = MIN_OVERLAP

    def root(a: float, b: jax.Array, c: jax.Array) -> jax.Array:
        return (b + jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))) / 2

    both_moved = root(1, total, area * (1 - overlap) / (1 + overlap))
    shrunk = root(4, 2 * total, (1 - overlap) * area)
    grown = root(4 * overlap, -2 * overlap * total, (overlap - 1) * area)
    radius = jnp.minimum(jnp.minimum(both_moved, shrunk), grown)
    return jnp.maximum(radius, 0).astype(jnp.int32)


def _profile(distance: jax.Array, radius: jax.Array | int, divisor: float) -> jax.Array:
    """One axis of a Gaussian of diameter 2 * radius + 1, zero beyond the radius."""
    sigma = (2 * radius + 1) / divisor
    value = jnp.exp(-(distance**2) / (2 * sigma**2))
    return jnp.where(jnp.abs(distance) <= radius, value, 0.0)


def _merge_gaussians(
    cell: jax.Array,
    radius: jax.Array,
    divisor: float,
    channel: jax.Array,
    valid: jax.Array,
    channels: int,
    map_size: tuple[int, int],
) -> jax.Array:
    """Gaussians around cells int [M, 2] (x, y), merged by max into a map [h, w, channels]."""

    def axis(length: int, i: int) -> jax.Array:
        distance = jnp.arange(length) - cell[:, i, None]
        return _profile(distance, radius[:, None], divisor)

    height, width = map_size
    x, y = axis(width, 0), axis(height, 1) * valid[:, None]
    merged = jax.ops.segment_max(y[:, :, None] * x[:, None, :], channel, channels)
    return jnp.maximum(merged, 0.0).transpose(1, 2, 0)  # channels nobody has are -inf


def _hard_negatives(
    point: jax.Array,
    radius: jax.Array,
    verb: jax.Array,
    known_verbs: jax.Array,
    valid: jax.Array,
) -> jax.Array:
    """Which verbs are hard negatives of which relation, bool [R, V] (section 3.3).

    The other verbs known for the relation's object (`known_verbs`, bool [R, V]), unless a positive
    of that verb reaches the 7 x 7 patch that would be drawn. Unlike in the released code the order
    of the relations does not matter: all positives count, not only those drawn before.
    """
    distance = jnp.abs(point[:, None] - point[None]).max(-1)
    reached = (distance <= HARD_NEGATIVE_RADIUS + radius[None]) & valid[None]
    is_verb = verb[:, None] == jnp.arange(known_verbs.shape[-1])
    blocked = jnp.any(reached[:, :, None] & is_verb[None], axis=1)
    return known_verbs & ~is_verb & ~blocked & valid[:, None]


def _merge_patches(
    point: jax.Array, chosen: jax.Array, divisor: float, map_size: tuple[int, int]
) -> jax.Array:
    """Equal Gaussians around points [R, 2] in the chosen channels [R, V] by max: [h, w, V]."""
    radius = HARD_NEGATIVE_RADIUS
    profile = _profile(jnp.arange(-radius, radius + 1), radius, divisor)
    patch = profile[:, None] * profile[None]
    padded = jnp.zeros((map_size[0] + 2 * radius, map_size[1] + 2 * radius, chosen.shape[-1]))
    numbers = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2, 3), inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1)
    )
    merged = jax.lax.scatter_max(
        padded, point[:, ::-1], patch[None, :, :, None] * chosen[:, None, None], numbers,
        mode=jax.lax.GatherScatterMode.CLIP,
    )  # fmt: skip
    return merged[radius:-radius, radius:-radius]
