"""What the network returns: raw predictions on the output map, channels last, in float32."""

from typing import NamedTuple

import jax


class ActPoints(NamedTuple):
    """The action-aware points of one gaze step, eq. (1).

    Attributes:
        position: [B, h, w, K, 2] displacement (x, y) from the pixel in map cells, grid included.
        weight: [B, h, w, K] in (0, 1).
    """

    position: jax.Array
    weight: jax.Array


class Outputs(NamedTuple):
    """Predictions of one stack; lengths in map cells, heatmaps as logits.

    Attributes:
        object_logits: [B, h, w, O].
        box_size: [B, h, w, 2] (width, height).
        center_offset: [B, h, w, 2] (x, y) from the cell to the box center.
        interaction_logits: glance, then every gaze step, each [B, h, w, V].
        human_offset: [B, h, w, V, 2] (or [B, h, w, 1, 2], shared by the verbs), (x, y) of
            interaction point minus human center.
        object_offset: the same for the object.
        act_points: one for every gaze step.
    """

    object_logits: jax.Array
    box_size: jax.Array
    center_offset: jax.Array
    interaction_logits: tuple[jax.Array, ...]
    human_offset: jax.Array
    object_offset: jax.Array
    act_points: tuple[ActPoints, ...]
