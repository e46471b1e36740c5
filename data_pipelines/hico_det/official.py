"""HICO-DET's own annotation file, `anno_bbox.mat` -> entries in PPDM's format.

The file holds two struct arrays, `bbox_train` and `bbox_test`, with an element for each image:

    filename
    size   width, height, depth
    hoi    struct array, one element for each class that the image shows:
             id          class, 1..600
             bboxhuman   struct array x1, x2, y1, y2, 1-based and inclusive
             bboxobject  the same
             connection  [n, 2], 1-based indices (human, object): one row for each pair
             invis       1 where the class is there but can't be seen; no boxes then

A person who does two things has a box for each, often slightly different ones. Equal boxes of the
same category are stored once, nothing else is merged, as in PPDM's `test_hico.json`.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary

_READER = Path(__file__).with_name("mat_reader.py")
_SECONDS = 1800  # a file of HICO-DET's size takes 20 seconds
_NOWHERE = 10**6  # an index that points nowhere stays one that does, for the cleaning to count


def read(path: str, split: str, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The entries of a split ('train' or 'test'), boxes 1-based as they are in the file.

    Raises:
        UserError: the file can't be read, has no such split, or an unknown class id.
    """
    return [_entry(image, vocabulary, path) for image in _read_images(path, f"bbox_{split}")]


def _read_images(path: str, variable: str) -> list[dict[str, Any]]:
    """What `mat_reader` prints; whatever happens to it becomes one line."""
    command = [sys.executable, "-P", str(_READER), str(path), variable]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"cannot read {path}: it took more than {_SECONDS} seconds") from None
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        *images, last = map(json.loads, lines)
        if done.returncode == 0 and last == {"images": len(images)}:
            return images
        why = str(last["error"])
    except (ValueError, KeyError, TypeError):  # it ended before its last line
        code = done.returncode
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
        why = f"the process that read it ended {ended}; the file is probably damaged"
    raise UserError(f"cannot read {path} as a MATLAB file: {why}")


def _entry(image: Mapping[str, Any], vocabulary: Vocabulary, path: str) -> dict[str, Any]:
    boxes: dict[tuple[Any, ...], int] = {}
    relations = []
    for hoi in image["hoi"]:
        number = hoi["id"]
        if not isinstance(number, int) or not 1 <= number <= len(vocabulary.classes):
            raise UserError(
                f"{path}: {image['filename']} has the class {number}; "
                f"{vocabulary.name} has 1 to {len(vocabulary.classes)}"
            )
        verb, obj = vocabulary.classes[number - 1]
        ends = (
            _keys(hoi["people"], vocabulary.object_ids[0]),
            _keys(hoi["objects"], vocabulary.object_ids[obj]),
        )
        for pair in hoi["pairs"]:
            subject, target = (
                boxes.setdefault(of[index - 1], len(boxes))
                if isinstance(index, int) and 1 <= index <= len(of)
                else _NOWHERE
                for of, index in zip(ends, pair, strict=True)
            )
            relations.append(
                {
                    "subject_id": subject,
                    "object_id": target,
                    "category_id": vocabulary.verb_ids[verb],
                    "hoi_category_id": number,
                }
            )
    return {
        "file_name": image["filename"],
        "width": image["width"],
        "height": image["height"],
        "annotations": [{"bbox": list(key[:4]), "category_id": key[4]} for key in boxes],
        "hoi_annotation": relations,
    }


def _keys(boxes: Sequence[Sequence[Any]], category: int) -> list[tuple[Any, ...]]:
    """(x1, y1, x2, y2, category) of each box."""
    return [(*box, category) for box in boxes]
