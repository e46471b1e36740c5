"""Known Object: on which images of HICO-DET a class is scored.

HICO-DET's own code takes the images that are annotated as positive for any class of the object,
also those in which nobody found a box for it. That annotation is in `anno.mat`, which comes with
the data set; `anno_bbox.mat` has the same images. Without either, an image's objects are those of
its annotated pairs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.records import Interactions
from ggnet_jax.vocabularies import Vocabulary

OF_PAIRS = "Known Object: an image's objects are those of its annotated pairs"


def objects_of_pairs(truth: Interactions, vocabulary: Vocabulary) -> np.ndarray:
    """[I, O] bool: the objects of an image's annotated pairs.

    A person counts only where a person is the object of a pair; an image without pairs lists
    nothing.
    """
    listed = np.zeros((len(truth.file_names), vocabulary.num_objects), bool)
    listed[truth.image, truth.box_object[truth.object]] = True
    return listed


def read_objects(
    path: str | Path, file_names: Sequence[str], vocabulary: Vocabulary
) -> tuple[np.ndarray, str]:
    """The objects of images by HICO-DET's own annotation.

    Args:
        path: of `anno.mat` or `anno_bbox.mat`.
        file_names: I images; those that the file does not have list nothing.
        vocabulary: HICO-DET's, whose classes are in the order of the 600.

    Returns:
        [I, O] bool; a line that says what was used.

    Raises:
        UserError: SciPy is not installed, the file can't be read or is another one, or it has none
            of the images.
    """
    positive = _read(path)
    if vocabulary.num_classes != 600:
        raise UserError(f"{path} is of HICO-DET's 600 classes, not of {vocabulary.name!r}")
    objects = np.array([obj for _, obj in vocabulary.classes])
    listed = np.zeros((len(file_names), vocabulary.num_objects), bool)
    there = 0
    for row, name in enumerate(file_names):
        if (classes := positive.get(Path(name).name)) is not None:
            listed[row, objects[classes]] = True
            there += 1
    if not there:
        raise UserError(f"{path} has none of the {len(file_names)} images of the ground truth")
    return listed, f"Known Object: an image's objects are those of {path} ({there:,} images)"


def _read(path: str | Path) -> dict[str, np.ndarray]:
    """{file name: indices of the positive classes}, of both splits."""
    if not Path(path).is_file():
        raise UserError(f"known_objects: there is no file {path}")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(f"{path}: reading .mat files needs SciPy: pip install scipy") from None
    try:
        content = loadmat(path, squeeze_me=True)
        found: dict[str, np.ndarray] = {}
        for split in ("train", "test"):
            if f"anno_{split}" in content:
                names = np.atleast_1d(content[f"list_{split}"])
                values = np.asarray(content[f"anno_{split}"], np.float64).reshape(-1, len(names))
                found |= {str(n): np.flatnonzero(values[:, k] == 1) for k, n in enumerate(names)}
            if f"bbox_{split}" in content:
                found |= dict(map(_of_image, np.atleast_1d(content[f"bbox_{split}"])))
    except Exception as error:  # of a damaged file SciPy raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} can't be read as anno.mat or anno_bbox.mat: {reason}") from None
    if not found or any(len(rows) and rows.max() >= 600 for rows in found.values()):
        raise UserError(
            f"{path} is neither HICO-DET's anno.mat nor its anno_bbox.mat: it has no anno_test or "
            "bbox_test of 600 classes"
        )
    return found


def _of_image(image: Any) -> tuple[str, np.ndarray]:
    """The name and the classes of an image of anno_bbox.mat, whose numbers count from 1."""
    classes = [int(hoi["id"]) - 1 for hoi in np.atleast_1d(image["hoi"])]
    return str(image["filename"]), np.unique(np.array(classes, np.int64))
