"""A data set as columns, for `--mode=inspect`: annotations, sizes and data reports, no pixels.

A prepared data set is read record by record, without decoding an image. Where the configuration
names annotation files but no image folder, the files are cleaned as a build would clean them, with
the sizes that they give, and described alone.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from data_pipelines import annotations, records
from data_pipelines.datasets import Dataset, builder_class, load_dataset
from data_pipelines.files import FilesBuilder
from data_pipelines.hoi_builder import HoiBuilder
from data_pipelines.merging import unique_entries
from data_pipelines.prepared import quiet_tfds
from data_pipelines.report import KINDS, Report
from ggnet_jax.inspection.columns import Columns, Finding, Inspection, Split

_TOGETHER = 256  # examples that leave TensorFlow at once
_HASHES = 2**62
_ROLES = {"train": "training", "val": "validation", "test": "test"}
_RAGGED = {  # shape and type of what an image has any number of
    "boxes": ((0, 4), np.float32),
    "classes": ((0,), np.int64),
    "relations": ((0, 3), np.int64),
}


def inspect_dataset(config: Any) -> Inspection:
    """Read what `config.data` describes; a data set that is not prepared is built first.

    Args:
        config: `config.data`.

    Raises:
        UserError: as `load_dataset`.
    """
    kind = builder_class(config.name)
    if issubclass(kind, FilesBuilder) and _lacks_images(config):
        return _inspect_annotations(kind, config)
    only_eval = bool(config.eval_annotations and not config.train_annotations)
    dataset = load_dataset(config, training=not only_eval)
    found = [] if only_eval else [("training", dataset.train_split, dataset.train_index)]
    for role, split in (("validation", dataset.val_split), ("test", dataset.eval_split)):
        if split:
            found.append((role, split, dataset.index(split)))
    place = str(dataset.builder.data_path)
    parts = tuple(_read_split(dataset, *part) for part in found)
    return Inspection(dataset.builder.name, place, dataset.vocabulary, parts, dataset)


def _read_split(dataset: Dataset, role: str, split: str, index: records.RecordIndex) -> Split:
    builder = dataset.builder
    report, lost = Report(), 0
    for name in dataset.split_names(split):
        report.merge(Report.from_dict(builder.metadata["reports"][name]))
        lost += len(builder.metadata.get("lost", {}).get(name, ()))
    images = partial(records.read_images, builder, index)
    if role == "training" and dataset.num_held_out:
        split += f" without {dataset.val_split}"
    return _split(role, split, read_columns(builder, index), report, lost, images)


def read_columns(builder: HoiBuilder, index: records.RecordIndex) -> Columns:
    """The examples of a prepared data set at an index, without decoding an image."""

    def read(position: tf.Tensor) -> dict[str, tf.Tensor]:
        example = records.parse(builder, index.read(position))
        content = tf.strings.to_hash_bucket_fast(example["image"], _HASHES)
        names = ("file_name", "width", "height", *_RAGGED)
        return {"hash": content, **{name: example[name] for name in names}}

    examples = tf.data.Dataset.range(len(index)).map(read, tf.data.AUTOTUNE)
    parts: Any = examples.ragged_batch(_TOGETHER).prefetch(2)
    names: list[str] = []
    sizes, hashes = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    values = {name: [np.zeros(shape, kind)] for name, (shape, kind) in _RAGGED.items()}
    numbers = {name: [np.zeros(0, np.int64)] for name in _RAGGED}
    with records.reading(builder):
        for part in parts:
            names += [bytes(name).decode() for name in part["file_name"].numpy()]
            sizes.append(np.stack([part["width"].numpy(), part["height"].numpy()], axis=1))
            hashes.append(part["hash"].numpy())
            for name in _RAGGED:
                values[name].append(part[name].flat_values.numpy())
                numbers[name].append(part[name].row_lengths().numpy())
    number = np.concatenate(numbers["boxes"])
    relations = np.concatenate(values["relations"])
    first = np.repeat(np.cumsum(number) - number, np.concatenate(numbers["relations"]))
    return Columns(
        names,
        np.concatenate(sizes),
        np.concatenate(values["boxes"]),
        np.concatenate(values["classes"]),
        np.repeat(np.arange(len(names)), number),
        relations + first[:, None] * np.array([1, 1, 0]),
        np.concatenate(hashes),
    )


def _lacks_images(config: Any) -> bool:
    """Whether annotation files are named, and not the image folder of one of them."""
    return any(
        config[f"{key}_annotations"] and not config[f"{key}_images"]
        for key in ("train", "val", "eval")
    )


def _inspect_annotations(kind: type[FilesBuilder], config: Any) -> Inspection:
    with quiet_tfds():
        builder = kind.of_annotations(config)
    parts = builder.read_annotations()
    vocabulary = builder.load_vocabulary()
    splits = []
    for split, (entries, one_based) in parts.items():
        report = Report()
        report.notes += builder.notes.get(split, [])
        usable = unique_entries(entries, report)
        columns = _clean(usable, vocabulary, report, one_based)
        splits.append(_split(_ROLES[split], split, columns, report))
    return Inspection(builder.name, builder.files.description or "", vocabulary, tuple(splits))


def _clean(entries: Iterable[Any], vocabulary: Any, report: Report, one_based: bool) -> Columns:
    names, sizes, boxes, classes, numbers, relations = [], [], [], [], [], []
    first = 0
    for entry in entries:
        cleaned = annotations.clean(entry, vocabulary, report, one_based=one_based)
        names.append(entry["file_name"])
        sizes.append(annotations.annotated_size(entry) or (0, 0))
        boxes.append(cleaned.boxes)
        classes.append(cleaned.classes)
        numbers.append(len(cleaned.boxes))
        relations.append(cleaned.relations + np.array([first, first, 0]))
        first += len(cleaned.boxes)
    return Columns(
        names,
        np.array(sizes, np.int64).reshape(-1, 2),
        np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        np.concatenate([np.zeros(0, np.int64), *classes]),
        np.repeat(np.arange(len(names)), numbers),
        np.concatenate([np.zeros((0, 3), np.int64), *relations]),
    )


def _split(
    role: str,
    name: str,
    columns: Columns,
    report: Report,
    lost: int = 0,
    images: Callable[..., Any] | None = None,
) -> Split:
    findings = [
        Finding(report.counts[kind], what, treatment, tuple(report.examples[kind]))
        for kind, (what, treatment) in KINDS.items()
        if report.counts[kind]
    ]
    return Split(
        role,
        name,
        columns,
        report.entries,
        tuple(findings),
        tuple(report.notes),
        lost,
        images,
    )
