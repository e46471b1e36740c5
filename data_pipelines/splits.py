"""Which examples a split holds: TFDS's expressions, random shares, and the validation split.

`config.data.val_split` is one of

    train[90%:]   TFDS's notation; training leaves these images out
    0.1 or 10%    a share of the training split, drawn by `config.data.val_seed`
    val           files of its own, `config.data.val_annotations` (which need no val_split)
    test          the evaluation split itself: checkpoints are then chosen on it

and "val" is what the validation split is called wherever a split is named.
"""

import re
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines import records
from ggnet_jax.dataset import VALIDATION
from ggnet_jax.errors import UserError

_SHARE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*%?", re.IGNORECASE)
_DRAWN = 1 << 62  # stands for the epoch; no epoch's order tells what is held out
HOW = (
    'give a part of the training split such as "train[90%:]", a random share of it such as 0.1, '
    "or files of its own, config.data.val_annotations and config.data.val_images"
)


def split_names(split: str) -> list[str]:
    """The splits in an expression: 'train[:10]+val' -> train, val; none in ''."""
    return [re.sub(r"\[.*", "", part).strip() for part in split.split("+") if part.strip()]


def share(split: str) -> float | None:
    """The fraction that "0.1" or "10%" names; None for an expression of TFDS.

    Raises:
        UserError: it is not between 0 and 1.
    """
    text = split.strip()
    if not _SHARE.fullmatch(text):
        return None
    value = float(text.rstrip("% ")) / (100 if text.endswith("%") else 1)
    if not 0 < value < 1:
        raise UserError(
            f"{split!r} is no share of a split: give a number between 0 and 1, such as 0.1 for a "
            'tenth, or images by number, "train[:50]"'
        )
    return value


def validation_split(config: Any) -> str:
    """What `config.data` says of the validation split: an expression, a share, or '' for none.

    Raises:
        UserError: it says two things.
    """
    split = str(config.get("val_split", "")).strip()  # younger than version 0.2
    files = config.get("val_annotations", "")
    if not files:
        return split
    if split and VALIDATION not in split_names(split):
        raise UserError(
            f"config.data.val_split={split!r} and config.data.val_annotations={files!r} are two "
            "validation splits; leave one empty, --config.data.val_split= for example"
        )
    return split or VALIDATION


def index(
    builder: tfds.core.DatasetBuilder, split: str, train_split: str, seed: int
) -> records.RecordIndex:
    """Index a split.

    Args:
        builder: of the prepared data set.
        split: an expression of TFDS, or a share of `train_split`.
        train_split: what is trained on, an expression.
        seed: draws the share.

    Raises:
        UserError: there is no such split, or no image in it.
    """
    part = share(split)
    if part is not None:
        whole = records.index_split(builder, train_split)
        return whole.take(_draw(len(whole), part, seed))
    found = records.index_split(builder, split)
    if not len(found):
        raise UserError(f"the split {split!r} of {builder.name} holds no image")
    return found


def _draw(number: int, part: float, seed: int) -> np.ndarray:
    """Positions of a share of `number` examples, ascending; at least one."""
    count = max(1, round(part * number))
    return np.sort(records.epoch_order(seed, _DRAWN, number)[:count])


def shared(builder: Any, ours: records.RecordIndex, theirs: records.RecordIndex) -> np.ndarray:
    """[n] bool: which of our examples are a record of theirs, or show an image of theirs.

    Images are the same if their bytes are, whatever their names. (A data set that was prepared
    before these were compared tells records alone.)
    """
    keys = theirs.keys()
    digests = _digests(builder)
    known, seen = set(keys), {digests[key] for key in keys if key in digests}
    return np.array([key in known or digests.get(key) in seen for key in ours.keys()], bool)


def _digests(builder: Any) -> dict[tuple[str, int], str]:
    """Checksums of the images of all splits by `RecordIndex.keys`."""
    found: dict[tuple[str, int], str] = {}
    for name, digests in builder.metadata.get("images", {}).items():
        keys = records.index_split(builder, name).keys()
        found.update(zip(keys, digests, strict=True))
    return found
