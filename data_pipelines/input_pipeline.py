"""Prepared data set -> batches of images, boxes and relations, all in tf.data.

A batch is a dict of NumPy arrays, `ggnet_jax.dataset.Batch`; images are float32 in training, not
clipped after the color jitter, and uint8 in evaluation.

The order of an epoch is a function of (seed, epoch), an example's augmentation of (seed, epoch,
position), so a run resumed at step n gets the batches that it would have got, without reading those
before. Process p takes the p-th of `process_count` equal slices of each global batch.

How many boxes and relations N and R drop (padding.py) is logged when batches are requested.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import tensorflow as tf

from data_pipelines import augment, records
from data_pipelines.datasets import Dataset
from data_pipelines.padding import log_overflow, pad
from data_pipelines.zero_shot import seen_relations
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
            f"config.batch_size={config.batch_size} is more than the {dataset.num_train} images "
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
        UserError: the split is smaller than a batch, a batch is not divisible by the number of
            processes, or (from the iterator) a record is damaged.
    """
    local = _local_size(config.batch_size, process_count, "config.batch_size")
    steps = steps_per_epoch(dataset, config)
    index = dataset.train_index
    log_overflow(dataset, config.data, dataset.train_split)

    def positions(number: np.int64) -> np.ndarray:
        epoch, shuffle = int(number), config.data.shuffle
        order = records.epoch_order(config.seed, epoch, len(index), shuffle=shuffle)
        batches = order[: steps * config.batch_size].reshape(steps, process_count, local)
        skipped = start_step % steps if epoch == start_step // steps else 0
        return batches[skipped:, process_index].reshape(-1)

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.numpy_function(positions, [epoch], tf.int64)
        order = tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [None]))
        return order.map(lambda position: (epoch, position))

    def load(epoch: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        key = augment.example_key(config.seed, epoch, position)
        return _load(dataset, config.data, index, position, key)

    source = tf.data.Dataset.counter(start_step // steps).flat_map(of_epoch)
    examples = source.map(load, tf.data.AUTOTUNE, deterministic=True)
    return _batches(dataset, examples, local)


def eval_batches(
    dataset: Dataset,
    config: Any,
    split: str,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """The split once, in order, whole images; the last batch is padded with weight 0.

    Every process gets the same number of batches of `config.eval.batch_size / process_count`.

    Raises:
        UserError: there is no such split, a batch is not divisible by the number of processes, or
            (from the iterator) a record is damaged.
    """
    size = config.eval.batch_size
    local = _local_size(size, process_count, "config.eval.batch_size")
    index = dataset.index(split)
    log_overflow(dataset, config.data, split)
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
    examples = source.map(load, tf.data.AUTOTUNE, deterministic=True)
    return _batches(dataset, examples, local)


def _local_size(size: int, process_count: int, field: str) -> int:
    if size < 1 or size % process_count:
        raise UserError(
            f"{field}={size} is not divisible by {process_count} processes; "
            f"choose a multiple of {process_count}"
        )
    return size // process_count


def _batches(dataset: Dataset, examples: tf.data.Dataset, size: int) -> Iterator[Batch]:
    batched = examples.batch(size, drop_remainder=True).prefetch(2)
    batches = cast(Iterator[Batch], batched.as_numpy_iterator())  # begins to work at once

    def checked() -> Iterator[Batch]:
        with records.reading(dataset.builder):
            yield from batches

    return checked()


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
    image = augment.warp_image(records.decode_image(example), matrix, size)
    if drawn is None:
        image = tf.cast(tf.round(image), tf.uint8)
    elif config.augment.color:
        image = augment.color(image, drawn)
    else:
        image /= 255.0
    corners = example["boxes"]  # in image pixels
    relations = example["relations"]
    if key is not None and dataset.unseen is not None:
        relations = seen_relations(
            relations, example["classes"], dataset.unseen, config.zero_shot_policy
        )
    return {
        "image": image,
        **pad(
            augment.warp_boxes(corners, matrix) / OUTPUT_STRIDE,
            example["classes"],
            relations,
            max_boxes=config.max_boxes,
            max_relations=config.max_relations,
            area=(corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]),
            verb_counts=dataset.verb_counts,
        ),
        "example_weight": tf.constant(1.0),
        "image_id": tf.cast(position, tf.int32),
        "size": tf.cast(tf.stack([width, height]), tf.int32),
    }
