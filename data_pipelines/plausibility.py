"""Whether annotations are what they are taken for, or a split would be trained on nothing.

Cleaning repairs or drops what is malformed here and there. If instead most of a file is lost, the
file says something else than it is read as: boxes as x, y, width, height, indices from 1, subjects
and objects exchanged, ids numbered otherwise. Each of these is tried, and one that makes everything
fit is named.

No box, no relation or no class left is an error, and so are coordinates that are all within 0..1.
Most of the boxes or relations lost, or a clear sign of another format, is one that
`config.data.accept_losses=True` lets through.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_pipelines import annotations
from data_pipelines.box_formats import check_boxes, check_units
from data_pipelines.raw_columns import read_columns
from data_pipelines.relation_formats import check_categories, check_names, check_relations
from data_pipelines.statistics import Statistics
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import Vocabulary
from ggnet_jax.vocabularies.numbering import Numbering


def check(
    entries: Iterable[Mapping[str, Any]],
    vocabulary: Vocabulary,
    where: str,
    *,
    accept_losses: bool = False,
) -> Numbering:
    """Stop if a file's annotations can't be what they are read as.

    Args:
        entries: PPDM's format; malformed ones are passed over.
        vocabulary: with the ids and, unless they are computed from these entries, the classes.
        where: the file, which messages begin with.
        accept_losses: train on what is left of a file that is mostly lost.

    Returns:
        The numbering of its ids; `renumbered` converts entries from it.

    Raises:
        UserError: as the module says.
    """
    columns = read_columns(entries, {})
    check_names(columns, vocabulary, where)
    check_units(columns, where)
    check_boxes(columns, where, accept_losses)
    numbering = check_relations(columns, vocabulary, where, accept_losses)
    check_categories(columns, vocabulary, where, accept_losses)
    return numbering


def check_built(
    entries: Sequence[Mapping[str, Any]],
    statistics: Statistics,
    where: str,
    sizes: Mapping[str, tuple[int, int]],
    *,
    trained: bool,
    accept_losses: bool = False,
) -> None:
    """Stop if boxes can't be what they are read as, now that the images' sizes are known.

    Args:
        entries: PPDM's format, with names; those of images without a size are passed over.
        statistics: of what is left of them.
        where: the split, which messages begin with.
        sizes: {file name: (width, height)}.
        trained: the split is trained on, and therefore needs a relation.
        accept_losses: see `check`.

    Raises:
        UserError: as the module says.
    """
    known = all(sizes.get(e["file_name"]) in (None, annotations.annotated_size(e)) for e in entries)
    if known and statistics.pairs:  # then `check` has seen all this
        return
    columns = read_columns((e for e in entries if e["file_name"] in sizes), sizes)
    check_units(columns, where)
    check_boxes(columns, where, accept_losses)
    if not statistics.pairs and (trained or len(columns.verb)):
        raise UserError(
            f"{where}: of {len(columns.verb)} relations with an object in {len(sizes)} images none "
            "is left; see the data report above"
        )


def renumbered(entries: Iterable[Any], numbering: Numbering) -> list[Any]:
    """The entries with the vocabulary's verb ids; the same ones where these are theirs."""
    verbs = numbering.verbs
    if verbs is None:
        return list(entries)

    def convert(relation: Any) -> Any:
        if not isinstance(relation, Mapping):
            return relation
        verb = annotations.read_id(relation.get("category_id"))
        if verb is None or verb not in verbs:
            return relation
        return {**relation, "category_id": verbs[verb]}

    return [
        {**entry, "hoi_annotation": [convert(one) for one in entry.get("hoi_annotation", [])]}
        if annotations.image_name(entry)
        else entry
        for entry in entries
    ]
