"""Pad or cut boxes and relations to the fixed counts of a batch, and log how many are dropped.

An image with more boxes than `max_boxes` keeps the largest; of the relations that are left it keeps
those with the rarest verbs, `max_relations` at most.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines.datasets import Dataset


def pad(
    boxes: tf.Tensor,
    classes: tf.Tensor,
    relations: tf.Tensor,
    *,
    max_boxes: int,
    max_relations: int,
    area: tf.Tensor,
    verb_counts: np.ndarray,
) -> dict[str, tf.Tensor]:
    """Bring one image's annotations to fixed counts; what is kept keeps its order.

    Args:
        boxes: [n, 4] float32.
        classes: [n] integers.
        relations: [m, 3] integers (human box, object box, verb).
        max_boxes: N; of more boxes the largest are kept, and the relations between those.
        max_relations: R; of more relations those whose verb is rarest are kept.
        area: [n] what "largest" means.
        verb_counts: [V] how often each verb occurs in training.

    Returns:
        boxes [N, 4], classes [N], box_valid [N], relations [R, 3] and relation_valid [R], padded
        with zeros.
    """
    number = tf.shape(boxes)[0]
    kept = tf.sort(tf.math.top_k(area, tf.minimum(number, max_boxes)).indices)
    slots = tf.range(tf.size(kept))
    slot_of = tf.scatter_nd(kept[:, None], slots + 1, number[None]) - 1  # -1: not kept
    relations = tf.cast(relations, tf.int32)
    ends = tf.gather(slot_of, relations[:, :2])
    relations = tf.concat([ends, relations[:, 2:]], axis=1)
    relations = tf.boolean_mask(relations, tf.reduce_all(ends >= 0, axis=1))

    rarity = -tf.gather(tf.constant(verb_counts, tf.int32), relations[:, 2])
    room = tf.minimum(tf.shape(relations)[0], max_relations)
    relations = tf.gather(relations, tf.sort(tf.math.top_k(rarity, room).indices))
    return {
        "boxes": _fill(tf.gather(boxes, kept), max_boxes),
        "classes": _fill(tf.cast(tf.gather(classes, kept), tf.int32), max_boxes),
        "box_valid": tf.sequence_mask(tf.size(kept), max_boxes),
        "relations": _fill(relations, max_relations),
        "relation_valid": tf.sequence_mask(room, max_relations),
    }


def _fill(rows: tf.Tensor, number: int) -> tf.Tensor:
    """Append rows of zeros up to `number`."""
    missing = number - tf.shape(rows)[0]
    padded = tf.pad(rows, [[0, missing]] + [[0, 0]] * (rows.shape.rank - 1))
    return tf.ensure_shape(padded, [number, *rows.shape[1:]])


def overflow(dataset: Dataset, config: Any, split: str) -> dict[str, tuple[int, int]]:
    """For boxes and relations: (images with too many, how many are left out) in whole splits."""
    statistics = dataset.statistics(split)
    result = {}
    for what, limit in (("boxes", config.max_boxes), ("relations", config.max_relations)):
        over = {n: times for n, times in getattr(statistics, what).items() if n > limit}
        excess = sum((n - limit) * times for n, times in over.items())
        result[what] = (sum(over.values()), excess)
    return result


def log_overflow(dataset: Dataset, config: Any, split: str) -> None:
    """Log what `overflow` finds, if anything."""
    lost = {"boxes": "boxes and their relations", "relations": "relations"}
    kept = {"boxes": "largest boxes", "relations": "rarest verbs"}
    for what, (images, excess) in overflow(dataset, config, split).items():
        if images:
            limit = config[f"max_{what}"]
            logging.warning(
                "split %s: images with more than config.data.max_%s=%d: %d. Left out of the "
                "batches: %d %s; the %s are kept",
                *(split, what, limit, images, excess, lost[what], kept[what]),
            )
