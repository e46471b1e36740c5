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

from typing import Any

import numpy as np
import scipy.io

from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary


def read(path: str, split: str, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The entries of a split ('train' or 'test'), boxes 1-based as they are in the file.

    Raises:
        UserError: the file can't be read, has no such split, or an unknown class id.
    """
    try:
        content = scipy.io.loadmat(
            path, squeeze_me=True, struct_as_record=False, variable_names=[f"bbox_{split}"]
        )
    except (OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"cannot read {path} as a MATLAB file: {error}") from None
    if f"bbox_{split}" not in content:
        raise UserError(f"{path} has no bbox_{split}; is it HICO-DET's anno_bbox.mat?")
    return [_entry(image, vocabulary, path) for image in np.atleast_1d(content[f"bbox_{split}"])]


def _entry(image: Any, vocabulary: Vocabulary, path: str) -> dict[str, Any]:
    boxes: dict[tuple[Any, ...], int] = {}
    relations = []
    for hoi in np.atleast_1d(image.hoi):
        number = int(hoi.id)
        if not 1 <= number <= len(vocabulary.classes):
            raise UserError(
                f"{path}: {image.filename} has the class {number}; "
                f"{vocabulary.name} has 1 to {len(vocabulary.classes)}"
            )
        verb, obj = vocabulary.classes[number - 1]
        people = _boxes(hoi.bboxhuman, vocabulary.object_ids[0])
        objects = _boxes(hoi.bboxobject, vocabulary.object_ids[obj])
        for pair in np.reshape(hoi.connection, (-1, 2)).astype(int):
            # An index that points nowhere stays one that does, for the cleaning to count.
            ends = [
                boxes.setdefault(of[index - 1], len(boxes)) if 1 <= index <= len(of) else 10**6
                for of, index in zip((people, objects), pair, strict=True)
            ]
            relations.append(
                {
                    "subject_id": ends[0],
                    "object_id": ends[1],
                    "category_id": vocabulary.verb_ids[verb],
                    "hoi_category_id": number,
                }
            )
    return {
        "file_name": str(image.filename),
        "width": int(image.size.width),
        "height": int(image.size.height),
        "annotations": [{"bbox": list(key[:4]), "category_id": key[4]} for key in boxes],
        "hoi_annotation": relations,
    }


def _boxes(structs: Any, category: int) -> list[tuple[int, int, int, int, int]]:
    """(x1, y1, x2, y2, category) of each box; the file's field order is x1, x2, y1, y2."""
    return [
        (int(box.x1), int(box.y1), int(box.x2), int(box.y2), category)
        for box in np.atleast_1d(structs)
    ]
