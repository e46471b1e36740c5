"""The TFRecord files of a split, written example by example.

TFDS's own writer sorts a split first, for which it holds all of it in memory.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import tensorflow as tf
import tensorflow_datasets as tfds

SHARD_BYTES = 1 << 28
"""About the size of a file; TFDS's are of 64 MiB to 1 GiB."""


def write_split(
    builder: tfds.core.GeneratorBasedBuilder, split: str, examples: Iterable[tuple[int, Any]]
) -> tfds.core.SplitInfo:
    """Write the examples of a split in the order in which they come.

    Args:
        builder: whose features and folder are used.
        split: its name.
        examples: (key, example), as TFDS's builders yield them; the keys are not used.
    """
    features = cast(tfds.features.FeaturesDict, builder.info.features)
    template = builder._get_filename_template(split)  # no public name
    folder = Path(builder.data_dir)
    drafts: list[Path] = []
    lengths: list[int] = []
    total, room, writer = 0, 0, None
    try:
        for _, example in examples:
            data = features.serialize_example(example)
            if writer is None or len(data) > room:
                if writer is not None:
                    writer.close()
                drafts.append(folder / f"{split}-{len(drafts)}.draft")
                lengths.append(0)
                writer, room = tf.io.TFRecordWriter(str(drafts[-1])), SHARD_BYTES
            writer.write(data)
            lengths[-1] += 1
            total += len(data)
            room -= len(data)
    finally:
        if writer is not None:
            writer.close()  # raises what the last bytes run into, such as a full disk
    for index, draft in enumerate(drafts):
        draft.rename(template.sharded_filepath(shard_index=index, num_shards=len(drafts)))
    return tfds.core.SplitInfo(
        name=split, shard_lengths=lengths, num_bytes=total, filename_template=template
    )
