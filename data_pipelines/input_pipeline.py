"""Prepared data set -> batches of pictures, boxes and relations, all in tf.data.

A batch is a dict of NumPy arrays; B is this process's share of the batch, N and R are
`config.data.max_boxes` and `max_relations`, H x W the input size:

    image           [B, H, W, 3] RGB: float32 in about [0, 1] in training, not clipped after the
                    colour jitter; uint8 in evaluation. Not normalised.
    boxes           [B, N, 4] float32 (x1, y1, x2, y2) in map cells (input pixels / 4), not clipped
    classes         [B, N] int32 object index
    box_valid       [B, N] bool
    relations       [B, R, 3] int32 (human box, object box, verb)
    relation_valid  [B, R] bool
    example_weight  [B] float32, 0 for the padding of a last partial batch
    image_id        [B] int32, position in the split, -1 for padding
    size            [B, 2] int32 (width, height) of the picture

The order of an epoch is a function of (seed, epoch), an example's augmentation of (seed, epoch,
position), so a run that resumes at step n sees what it would have seen, and nothing before n is
read. Of each global batch process p takes the p-th of `process_count` equal runs of rows.

A picture with more boxes than N keeps the largest; of what relations are left it keeps those with
the rarest verbs, R at most. How many that costs is logged when batches are asked for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from data_pipelines import augment, records
from data_pipelines.datasets import Dataset
from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError

Batch = dict[str, np.ndarray]


def steps_per_epoch(dataset: Dataset, config: Any) -> int:
    """Number of whole batches in the training split; the last partial one is dropped.

    Raises:
      UserError: the split is smaller than a batch.
    """
    steps = dataset.num_train // config.batch_size
    if not steps:
        raise UserError(
            f"config.batch_size={config.batch_size} is more than the {dataset.num_train} pictures "
            f"of split {dataset.train_split!r}; use at most {dataset.num_train}"
        )
    return steps


def train_batches(
    dataset: Dataset,
    config: Any,
    *,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Augmented batches of the training split without end, from `start_step` on.

    Raises:
      UserError: the split is smaller than a batch, or the processes can't share one out.
    """
    local = _local_size(config.batch_size, process_count, "batch_size")
    steps = steps_per_epoch(dataset, config)
    index = records.index_split(dataset.builder, dataset.train_split)
    _log_overflow(dataset, config.data, dataset.train_split)

    def positions(epoch: np.int64) -> np.ndarray:
        order = records.epoch_order(config.seed, epoch, len(index), shuffle=config.data.shuffle)
        shared = order[: steps * config.batch_size].reshape(steps, process_count, local)
        skipped = start_step % steps if epoch == start_step // steps else 0
        return shared[skipped:, process_index].reshape(-1)

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.numpy_function(positions, [epoch], tf.int64)
        order = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [None]))
        return order.map(lambda position: (epoch, position))

    def load(epoch: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        key = augment.example_key(config.seed, epoch, position)
        return _load(dataset, config.data, index, position, key)

    source = tf.data.Dataset.counter(start_step // steps).flat_map(of_epoch)
    return _batches(source.map(load, tf.data.AUTOTUNE, deterministic=True), local)


def eval_batches(
    dataset: Dataset,
    config: Any,
    split: str,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The split once, in order, whole pictures; the last batch is padded with weight 0.

    Every process gets the same number of batches of `config.eval.batch_size / process_count`.

    Raises:
      UserError: there is no such split, or the processes can't share a batch out.
    """
    size = config.eval.batch_size
    local = _local_size(size, process_count, "eval.batch_size")
    index = records.index_split(dataset.builder, split)
    _log_overflow(dataset, config.data, split)
    steps = -(-len(index) // size)
    positions = np.full(steps * size, -1, np.int64)
    positions[: len(index)] = np.arange(len(index))
    positions = positions.reshape(steps, process_count, local)[:, process_index].reshape(-1)

    def load(position: tf.Tensor) -> dict[str, tf.Tensor]:
        real = position >= 0
        example = _load(dataset, config.data, index, tf.maximum(position, 0), None)
        blank = {name: tf.zeros_like(value) for name, value in example.items()}
        blank["image_id"] = tf.constant(-1)
        return {name: tf.where(real, example[name], blank[name]) for name in example}

    source = tf.data.Dataset.from_tensor_slices(positions)
    return _batches(source.map(load, tf.data.AUTOTUNE, deterministic=True), local)


def _local_size(size: int, process_count: int, field: str) -> int:
    if size < 1 or size % process_count:
        raise UserError(
            f"{field}={size} can't be shared out to {process_count} processes; "
            f"choose a multiple of {process_count}"
        )
    return size // process_count


def _batches(examples: tf.data.Dataset, size: int) -> Iterator[Batch]:
    batched = examples.batch(size, drop_remainder=True).prefetch(2)
    return batched.as_numpy_iterator()


def _load(
    dataset: Dataset,
    config: Any,
    index: records.RecordIndex,
    position: tf.Tensor,
    key: tf.Tensor | None,
) -> dict[str, tf.Tensor]:
    """Read, decode, warp and pad one example; `key` is that of its augmentation, None for none."""
    example = records.parse(dataset.builder, index.read(position))
    size = tuple(config.image_size)
    width, height = example["width"], example["height"]
    drawn = None
    if key is not None:
        chosen = {name: config.augment[name] for name in ("flip", "scale", "crop")}
        drawn = augment.draw(key, width, height, **chosen)
    matrix = augment.warp_matrix(width, height, size, drawn)
    picture = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
    image = augment.warp_image(picture, matrix, size)
    if key is None:
        image = tf.cast(tf.round(image), tf.uint8)
    elif config.augment.color:
        image = augment.color(image, drawn)
    else:
        image /= 255.0
    boxes = augment.warp_boxes(example["boxes"], matrix) / OUTPUT_STRIDE
    return {
        "image": image,
        **pad(
            boxes,
            example["classes"],
            example["relations"],
            max_boxes=config.max_boxes,
            max_relations=config.max_relations,
            area=_area(example["boxes"]),
            verb_counts=dataset.verb_counts,
        ),
        "example_weight": tf.constant(1.0),
        "image_id": tf.cast(position, tf.int32),
        "size": tf.cast(tf.stack([width, height]), tf.int32),
    }


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


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
    """Bring one picture's annotation to fixed counts; what is kept keeps its order.

    Args:
      boxes: [n, 4] float32.
      classes: [n] integers.
      relations: [m, 3] integers (human box, object box, verb).
      max_boxes: N; of more boxes the largest are kept, and the relations between those.
      max_relations: R; of more relations those whose verb is rarest are kept.
      area: [n] what "largest" means.
      verb_counts: [V] how often each verb occurs in training.

    Returns:
      boxes [N, 4], classes [N], box_valid [N], relations [R, 3], relation_valid [R]; padding is 0.
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
    """For boxes and relations: (pictures with too many, how many are left out) in whole splits."""
    statistics = dataset.statistics(split)
    result = {}
    for what, limit in (("boxes", config.max_boxes), ("relations", config.max_relations)):
        over = {n: times for n, times in getattr(statistics, what).items() if n > limit}
        excess = sum((n - limit) * times for n, times in over.items())
        result[what] = (sum(over.values()), excess)
    return result


def _log_overflow(dataset: Dataset, config: Any, split: str) -> None:
    lost = {"boxes": "boxes and their relations", "relations": "relations"}
    kept = {"boxes": "largest boxes", "relations": "rarest verbs"}
    for what, (pictures, excess) in overflow(dataset, config, split).items():
        if pictures:
            limit = config[f"max_{what}"]
            logging.warning(
                "split %s: %d pictures have more than data.max_%s=%d; %d %s are left out of the "
                "batches, the %s are kept",
                *(split, pictures, what, limit, excess, lost[what], kept[what]),
            )
