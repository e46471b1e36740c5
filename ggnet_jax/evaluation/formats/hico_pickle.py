"""HICO-DET predictions by class: pickles of {"scores", "boxes", "keys"}, as INP-CC writes them.

Each of the three is a dictionary (or a list) by class, 0 to 599: scores; human and object box, 8
numbers; the image's number, as in HICO_test2015_NUMBER.jpg, or its file name.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats.hico_mat import image_name
from ggnet_jax.evaluation.formats.table import Table
from ggnet_jax.evaluation.formats.unpickle import numbers_of

KEYS = ("scores", "boxes", "keys")


def is_table(content: Any) -> bool:
    """Whether an object has the three dictionaries."""
    return isinstance(content, Mapping) and all(key in content for key in KEYS)


def read(path: str | Path, content: Mapping[str, Any]) -> Table:
    """The predictions in such an object.

    Raises:
        UserError: a class is unknown, or its lists don't fit each other.
    """
    vocabulary = vocabularies.load("hico_det")
    scores, boxes, keys = (_by_class(path, content[key], key) for key in KEYS)
    names: dict[Any, int] = {}
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for index in sorted(scores.keys() | boxes.keys() | keys.keys()):
        where = f"{path}: class {index}"
        if not 0 <= index < vocabulary.num_classes:
            raise UserError(f"{where} is none of HICO-DET's, 0 to {vocabulary.num_classes - 1}")
        score = _numbers(scores.get(index, []), 1, f"{where}, scores").ravel()
        box = _numbers(boxes.get(index, []), 8, f"{where}, boxes")
        found = keys.get(index, [])
        images = [
            str(v) if isinstance(v, str) else _number(v, where)
            for v in _list(found, f"{where}, keys")
        ]
        if not len(images) == len(score) == len(box):
            raise UserError(
                f"{where} has {len(score)} scores, {len(box)} boxes and {len(images)} keys; it "
                "needs as many of each"
            )
        if images:
            columns[0].append(np.array([names.setdefault(one, len(names)) for one in images]))
            columns[1].append(box)
            columns[2].append(score)
            columns[3].append(np.full(len(score), index))
    image, box, score, class_index = (
        np.concatenate(column) if column else np.empty(shape)
        for column, shape in zip(columns, ((0,), (0, 8), (0,), (0,)), strict=True)
    )
    class_index = class_index.astype(np.int64)
    first = np.searchsorted(class_index, np.arange(vocabulary.num_classes))
    pairs = np.array(vocabulary.classes)[class_index]
    return Table(
        names=[one if isinstance(one, str) else image_name(one) for one in names],
        image=image.astype(np.int64),
        boxes=box,
        category=np.array(vocabulary.object_ids)[pairs[:, 1]],
        verb=np.array(vocabulary.verb_ids)[pairs[:, 0]],
        score=score,
        where=lambda row: f"class {class_index[row]}, entry {row - first[class_index[row]]}",
    )


def _by_class(path: str | Path, value: Any, key: str) -> Mapping[int, Any]:
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: {key!r} is of the type {type(value).__name__}, no dictionary")
    return {_number(index, f"{path}: {key}"): items for index, items in value.items()}


def _numbers(value: Any, width: int, where: str) -> np.ndarray:
    """[n, width] of a list of so many numbers each, or of an array."""
    rows = _list(value, where)
    for row, items in enumerate(rows):
        if type(items) is list and len(items) == width and set(map(type, items)) == {float}:
            continue
        if width == 1 and type(items) is float:
            continue
        rows[row] = numbers_of(items, width)
        if len(rows[row]) != width:
            raise UserError(
                f"{where}, entry {row} is {reprlib.repr(items):.60}; it needs {width} "
                f"number{'s' if width > 1 else ''}"
            )
    return np.array(rows, np.float64).reshape(len(rows), width)


def _list(value: Any, where: str) -> list[Any]:
    try:
        found = list(value) if isinstance(value, list | tuple) else np.asarray(value).tolist()
    except (TypeError, ValueError):
        found = None
    if not isinstance(found, list):
        raise UserError(f"{where}: it is no list")
    return found


def _number(value: Any, where: str) -> int:
    try:
        number = int(value)
        if float(value) == number and 0 <= number < 10**8 and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{where} has the key {reprlib.repr(value):.60}, which is no number")
