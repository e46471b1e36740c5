"""Random access to the examples of a TFDS split, and the order in which an epoch takes them.

TFRecord files have no index, but each record starts with its length, so one walk over the headers
gives every offset; after that any example is read alone, inside tf.data and without Python. That
makes a global shuffle free of buffers, and resuming at step n free of reading what came before.

A file stays open from the first look at it, and is read through its descriptor: a process goes on
with the data set that it began with, also when another one builds it again.
"""

import contextlib
import dataclasses
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from data_pipelines.statistics import Statistics
from ggnet_jax.errors import UserError

_HEADER = struct.Struct("<QI")  # length of the record and its checksum
_FOOTER = 4  # checksum of the data
_BUFFER = 1 << 18  # bytes that reading one record asks the file for: most images in one go
_OPEN: dict[tuple[int, int], str] = {}  # (device, inode) -> path of the file's descriptor
# What `_open` returned for the files of a builder, by name.
_OPENED: WeakKeyDictionary[tfds.core.DatasetBuilder, dict[str, tuple[str, np.ndarray]]] = (
    WeakKeyDictionary()
)
DAMAGED = "damaged"
"""Name of the file that marks a prepared data set whose records could not be read."""


class DamagedError(UserError):
    """A prepared data set is not what was written.

    Attributes:
        folder: where it lies.
        problem: what is wrong, as a clause.
    """

    def __init__(self, folder: str | Path, problem: str):
        """Name the folder and what is wrong in it."""
        self.folder, self.problem = Path(folder), problem
        super().__init__(f"the prepared data set in {folder} is damaged: {problem}")


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Where the examples of a split lie, in order.

    Attributes:
        files: paths under which the TFRecord files are read.
        file: [n] int64, index into `files`.
        offset: [n] int64, bytes.
    """

    files: tuple[str, ...]
    file: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, positions: np.ndarray) -> "RecordIndex":
        """The examples at some positions, in that order."""
        return RecordIndex(self.files, self.file[positions], self.offset[positions])

    def keys(self) -> list[tuple[str, int]]:
        """(file, offset) of every example: equal for the same record in two indices."""
        files = np.asarray(self.files, object)[self.file] if self.files else []
        return list(zip(files, self.offset.tolist(), strict=True))

    def read(self, position: tf.Tensor) -> tf.Tensor:
        """The serialized example at an integer scalar position, as a string scalar; in graphs."""
        kind = {"output_types": [tf.string], "output_shapes": [tf.TensorShape([])]}
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.gather(self.files, tf.gather(self.file, position))[None],
            compression_type="",
            buffer_size=_BUFFER,
            byte_offsets=tf.gather(self.offset, position)[None],
        )
        first = tf.raw_ops.TakeDataset(input_dataset=records, count=1, **kind)
        return tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)[0]


def index_split(builder: tfds.core.DatasetBuilder, split: str) -> RecordIndex:
    """Index a split of a prepared data set; TFDS's expressions (`train+val`, `test[:50]`) work.

    Raises:
        UserError: there is no such split, or its files are not plain TFRecords.
    """
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{builder.name} has no split {split!r}; it has {', '.join(builder.info.splits)}"
        ) from error
    file_format = builder.info.file_format
    if file_format is not tfds.core.FileFormat.TFRECORD:
        raise UserError(
            f"{builder.data_path} holds {file_format.value if file_format else 'unknown'} files; "
            "build it again with file_format=tfrecord"
        )
    opened = _OPENED.setdefault(builder, {})
    files, file, offset = [], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number, instruction in enumerate(instructions):
        name = str(instruction.filename)
        if name not in opened:
            opened[name] = _open(Path(name), instruction.examples_in_shard)
        path, starts = opened[name]
        starts = starts[instruction.skip : instruction.skip + instruction.take]
        files.append(path)
        file.append(np.full(len(starts), number))
        offset.append(starts)
    return RecordIndex(tuple(files), np.concatenate(file), np.concatenate(offset))


@contextlib.contextmanager
def reading(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Turn TensorFlow's errors on damaged records into a `DamagedError`.

    The data set is marked, so that the next start builds it again.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError) as error:
        with contextlib.suppress(OSError):
            (Path(builder.data_dir) / DAMAGED).touch()
        problem = f"a record cannot be read ({error.message.splitlines()[0]:.120})"
        raise DamagedError(
            builder.data_dir, f"{problem}; start again to build it again from its files"
        ) from error


def parse(builder: tfds.core.DatasetBuilder, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """The features of a serialized example; the image stays encoded."""
    features = cast(tfds.features.FeaturesDict, builder.info.features)
    example = features.deserialize_example(
        serialized, decoders={"image": tfds.decode.SkipDecoding()}
    )
    return cast(dict[str, tf.Tensor], example)


def count(builder: tfds.core.DatasetBuilder, index: RecordIndex) -> Statistics:
    """The counts of some examples, as `HoiBuilder` counts those of whole splits."""

    def annotation(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = parse(builder, index.read(position))
        return example["classes"], example["relations"]

    total = Statistics()
    with tf.init_scope(), reading(builder):  # also where a graph is being built
        examples: Any = tf.data.Dataset.range(len(index)).map(annotation, tf.data.AUTOTUNE)
        for classes, relations in examples.as_numpy_iterator():
            total.add(classes, relations)
    return total


def decode_image(example: dict[str, tf.Tensor]) -> tf.Tensor:
    """The pixels of a parsed example, RGB uint8 [h, w, 3]; in graphs."""
    return tf.io.decode_image(example["image"], channels=3, expand_animations=False)


def read_images(
    builder: tfds.core.DatasetBuilder, index: RecordIndex, positions: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """File names and RGB uint8 images [h, w, 3] of the examples at some positions."""
    for position in positions:
        with reading(builder):
            serialized = index.read(tf.constant(position, tf.int64))
        example = parse(builder, serialized)
        name = bytes(cast(Any, example["file_name"]).numpy()).decode()
        yield name, np.asarray(decode_image(example))


def _open(path: Path, number: int) -> tuple[str, np.ndarray]:
    """The path under which to read a TFRecord file of `number` records, and their offsets."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with open(descriptor, "rb", closefd=False) as file:
                offsets = _record_offsets(file)
            status = os.fstat(descriptor)
            key = (status.st_dev, status.st_ino)
            place = f"/proc/self/fd/{descriptor}"
            if key not in _OPEN and os.path.exists(place):
                _OPEN[key], descriptor = place, -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)
    except OSError as error:
        raise DamagedError(path.parent, f"{path.name}: {error.strerror or error}") from error
    if offsets is None or len(offsets) != number:
        found = "is cut short or damaged" if offsets is None else f"has {len(offsets)} records"
        raise DamagedError(path.parent, f"{path.name} {found}, of {number} that were written")
    return _OPEN.get(key, str(path)), offsets


def _record_offsets(file: Any) -> np.ndarray | None:
    """Byte offset of every record in a TFRecord file; None if they don't fill it."""
    offsets, position, end = [], 0, os.fstat(file.fileno()).st_size
    while position < end:
        file.seek(position)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            break
        offsets.append(position)
        position += _HEADER.size + _HEADER.unpack(header)[0] + _FOOTER
    return np.array(offsets, np.int64) if position == end else None


def epoch_order(seed: int, epoch: int, number: int, *, shuffle: bool = True) -> np.ndarray:
    """[number] int64: the positions in the order of one epoch, a function of its arguments alone.

    Sorting a counter-based generator's raw 64-bit numbers keeps the order the same in every
    version of NumPy and on every machine.
    """
    if not shuffle:
        return np.arange(number)
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return np.argsort(generator.random_raw(number), kind="stable")
