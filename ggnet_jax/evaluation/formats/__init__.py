"""Readers of the files that people have: predictions and annotations of other repositories.

A file's kind is told from its content, never from its name.

    predictions    V-COCO's pickles                  vcoco_pickle    -> Detections
                   pickles by class, of INP-CC       hico_pickle     -> Table
                   HICO-DET's detections_*.mat       hico_mat        -> Table
                   PPDM's JSON                       left to `records`
    annotations    pocket's instances_*.json         pocket          -> PPDM's entries

`unpickle` and `matlab` read the two kinds of binary files. NumPy only.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats import files, hico_mat, hico_pickle, pocket, unpickle
from ggnet_jax.evaluation.formats import vcoco_pickle as vcoco_pickle
from ggnet_jax.evaluation.formats.table import Table
from ggnet_jax.evaluation.formats.vcoco_pickle import Detections, to_table

__all__ = ["Detections", "Table", "annotation_entries", "load_predictions", "to_table"]


def load_predictions(source: Any, progress: Callable[[str, float], None] | None = None) -> Any:
    """The predictions in a file of any kind but PPDM's JSON.

    Args:
        source: a path, or what such a file holds; anything else is handed back as it is, and so is
            the path of PPDM's JSON.
        progress: called with what is being done and how much of it is done.

    Returns:
        `Detections` of a V-COCO pickle; a `Table`; an empty list of one; or the source.

    Raises:
        UserError: the file is damaged, or something else: the message says what, and what is read.
    """
    if not isinstance(source, str | Path):
        is_content = vcoco_pickle.is_list(source) or hico_pickle.is_table(source)
        return _of_content("predictions", source, None) if is_content else source
    told = None if progress is None else lambda part: progress("reading predictions", part)
    if Path(source).is_dir():
        files.of_folder(source)
        return hico_mat.read(source, told)
    head = files.head_of(source)
    files.refuse(source, head)
    if files.is_pickle(head):
        content = unpickle.load(source, io.read_bytes(source))
        found = _of_content(source, content, told)
        if found is None:
            raise UserError(
                f"{source} is a pickle of {files.describe(content)}; what is read: "
                f"{files.PREDICTIONS}"
            )
        return found
    keys = files.keys_in(head)
    if files.is_object(head) or {"image_id", "person_box"} <= keys:
        found = _of_content(source, io.read_json(source, allow_nan=True), told)
        return source if found is None else found
    for name, looks_like in _NO_PREDICTIONS.items():
        if name <= keys and not keys & {"file_name", "predictions"}:
            raise UserError(f"{source} looks like {looks_like}; what is read: {files.PREDICTIONS}")
    return source


_NO_PREDICTIONS = {
    frozenset({"image_id", "category_id", "bbox", "score"}): "COCO's detection results, which are "
    "boxes without interactions",
    frozenset({"action_name", "role_object_id"}): "V-COCO's own annotations (VSRL)",
}


def _of_content(
    path: str | Path, content: Any, progress: Callable[[float], None] | None
) -> Detections | Table | list[Any] | None:
    """The predictions in what was read; None if it is none."""
    if vcoco_pickle.is_list(content):
        return vcoco_pickle.read(path, content, progress)
    if hico_pickle.is_table(content):
        return hico_pickle.read(path, content)
    if pocket.is_pocket(content):
        raise UserError(
            f"{path} holds annotations of pocket's layout, no predictions: give it as ground truth"
        )
    if isinstance(content, Mapping) and {"images", "annotations"} <= content.keys():
        raise UserError(
            f"{path} looks like COCO's instances, not predictions; what is read: "
            f"{files.PREDICTIONS}"
        )
    return [] if isinstance(content, list) and not content else None


def annotation_entries(source: Any) -> Any:
    """The entries of an annotation file of pocket's layout; anything else is handed back as it is.

    Args:
        source: a path, or the content of a file.

    Raises:
        UserError: the lists of such a file don't fit each other.
    """
    if isinstance(source, str | Path) and files.is_object(files.head_of(source)):
        content = io.read_json(source, allow_nan=True)
        return pocket.entries(content) if pocket.is_pocket(content) else source
    return pocket.entries(source) if pocket.is_pocket(source) else source
