"""Random access to the examples of a TFDS split, and the order in which an epoch takes them.

TFRecord files have no index, but each record starts with its length, so one walk over the headers
gives every offset; after that any example is read alone, inside tf.data and without Python. That
makes a global shuffle free of buffers, and resuming at step n free of reading what came before.
"""

import dataclasses
import struct
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from ggnet_jax.errors import UserError

_HEADER = struct.Struct("<QI")  # length of the record and its checksum
_FOOTER = 4  # checksum of the data
_BUFFER = 1 << 18  # bytes that reading one record asks the file for: most images in one go


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """Where the examples of a split lie, in order.

    Attributes:
        files: paths of the TFRecord files.
        file: [n] int64, index into `files`.
        offset: [n] int64, bytes.
    """

    files: tuple[str, ...]
    file: np.ndarray
    offset: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

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
    files, file, offset = [], [], []
    for number, instruction in enumerate(instructions):
        starts = _record_offsets(Path(instruction.filename))
        starts = starts[instruction.skip : instruction.skip + instruction.take]
        files.append(str(instruction.filename))
        file += [number] * len(starts)
        offset += starts
    return RecordIndex(tuple(files), np.array(file, np.int64), np.array(offset, np.int64))


def parse(builder: tfds.core.DatasetBuilder, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """The features of a serialized example; the image stays encoded."""
    features = cast(tfds.features.FeaturesDict, builder.info.features)
    example = features.deserialize_example(
        serialized, decoders={"image": tfds.decode.SkipDecoding()}
    )
    return cast(dict[str, tf.Tensor], example)


def decode_image(example: dict[str, tf.Tensor]) -> tf.Tensor:
    """The pixels of a parsed example, RGB uint8 [h, w, 3]; in graphs."""
    return tf.io.decode_image(example["image"], channels=3, expand_animations=False)


def _record_offsets(path: Path) -> list[int]:
    """Byte offset of every record in a TFRecord file."""
    offsets, position, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while position < end:
            file.seek(position)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                break
            offsets.append(position)
            position += _HEADER.size + _HEADER.unpack(header)[0] + _FOOTER
    if position != end:
        raise UserError(f"{path} is cut short or damaged; delete its folder and build again")
    return offsets


def epoch_order(seed: int, epoch: int, number: int, *, shuffle: bool = True) -> np.ndarray:
    """[number] int64: the positions in the order of one epoch, a function of its arguments alone.

    Sorting a counter-based generator's raw 64-bit numbers keeps the order the same in every
    version of NumPy and on every machine.
    """
    if not shuffle:
        return np.arange(number)
    generator = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return np.argsort(generator.random_raw(number), kind="stable")
