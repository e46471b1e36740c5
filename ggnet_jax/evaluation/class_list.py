"""The classes that `--vocabulary` names."""

import dataclasses
from pathlib import Path
from typing import Any

from ggnet_jax import io, vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.reading import Source, iterate
from ggnet_jax.evaluation.records import read_ground_truth
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies import load as load_vocabulary


def read_vocabulary(
    name: str, ground_truth: Source, accept_losses: bool = False
) -> tuple[Vocabulary, Source, str]:
    """The classes that `--vocabulary` names.

    Args:
        name: of a shipped class list, or of a JSON file: a vocabulary, such as a run's
            `vocabulary.json`, or a class list as training takes it, {"objects": {id: name},
            "verbs": {id: name}}, whose classes are the pairs of the ground truth.
        ground_truth: path or entries.
        accept_losses: see `evaluate`.

    Returns:
        The vocabulary; the ground truth, read if it was needed; a note, "" if there is none.

    Raises:
        UserError: there is no such file, it holds no classes, or the ground truth is malformed.
    """
    path = Path(name)
    fields: Any = None
    if path.is_file() and name not in vocabularies.names():
        fields = io.read_json(path)
    if not isinstance(fields, dict) or "classes" in fields:
        return load_vocabulary(name), ground_truth, ""
    if not {"objects", "verbs"} <= fields.keys():
        return load_vocabulary(name), ground_truth, ""
    entries = list(iterate(ground_truth, "ground truth", allow_nan=True))
    lists = {"objects": fields["objects"], "verbs": fields["verbs"], "name": path.stem}
    try:
        bare = vocabularies.from_annotations([], **lists)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    read_ground_truth(entries, bare, accept_losses=accept_losses)  # says what is wrong with it
    found = vocabularies.from_annotations(entries, **lists)
    note = (
        f"{path} is a class list: the {found.num_classes} pairs of the ground truth are the "
        "classes, and which are rare is not known; a run's vocabulary.json has both of training"
    )
    return dataclasses.replace(found, rare=None), entries, note
