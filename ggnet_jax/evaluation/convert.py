"""Any file of predictions or annotations -> PPDM's JSON, which most repositories read.

    python -m ggnet_jax.evaluation convert --input=cache.pkl --output=predictions.json

reads V-COCO's pickles (cache.pkl, vcoco.pickle), pickles of scores, boxes and keys by class
(preds.pkl), folders of HICO-DET's detections_01.mat .. detections_80.mat, pocket's annotations
(instances_*.json) and PPDM's JSON itself. Ids become PPDM's: COCO's for objects, 1 to 117 for
HICO-DET's verbs, 0 to 28 for V-COCO's verb-roles. Boxes stay as they are. A name that ends in
.jsonl gets a line for each image.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, formats
from ggnet_jax.evaluation.columns import ColumnReader
from ggnet_jax.evaluation.formats import files
from ggnet_jax.evaluation.reading import Progress, iterate

_VCOCO_NOTES = (
    "the pickle has no categories of objects: boxes carry one that goes with the verb",
    "PPDM's JSON has no place for filled-in roles and for an agent's score beside its role's; "
    "score the pickle itself for the original's figures",
)


def convert(
    source: str | Path,
    output: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Write a file's content as PPDM's JSON.

    Args:
        source: path of the file or folder.
        output: path of the new file, which is whole or not there.
        force: replace a file that is there.
        progress: called with what is being done and how much of it is done.

    Returns:
        Lines about what was written.

    Raises:
        UserError: the input is none that is read, or is damaged; the output is there already or
            cannot be written.
    """
    output = Path(output)
    if output.suffix not in (".json", ".jsonl"):
        raise UserError(f"{output}: the output is JSON; give a name that ends in .json or .jsonl")
    if output.exists() and not force:
        raise UserError(f"{output} is there already; give another name, or --force to replace it")
    entries, number, notes = _open(source, progress)
    counts = [0, 0]

    def told() -> Iterator[Mapping[str, Any]]:
        for entry in entries:
            counts[0] += 1
            counts[1] += len(entry.get("hoi_prediction") or entry.get("hoi_annotation") or ())
            if progress and number and counts[0] % 64 == 0:
                progress("writing", counts[0] / number)
            yield entry

    io.write_file(output, _lines(told(), output.suffix == ".jsonl"))
    return (f"wrote {output}: {counts[0]:,} images, {counts[1]:,} pairs", *notes)


def _open(
    source: str | Path, progress: Progress | None
) -> tuple[Iterable[Any], int, tuple[str, ...]]:
    """A file's entries in PPDM's format, how many there are (0 if unknown), and notes."""
    annotations = formats.annotation_entries(source)
    if annotations is not source:
        return _checked(annotations, source), len(annotations), ()
    found = formats.load_predictions(source, progress)
    notes: tuple[str, ...] = ()
    if isinstance(found, formats.Detections):
        found, notes = formats.to_table(found), tuple(f"note: {line}" for line in _VCOCO_NOTES)
    if isinstance(found, formats.Table):
        return found.entries(), len(found.names), notes
    return _checked(iterate(found, "what is converted", progress), source), 0, ()


def _checked(entries: Iterable[Any], source: str | Path) -> Iterator[Mapping[str, Any]]:
    """The entries, each seen to be one in PPDM's format."""
    predictions, truth = (
        ColumnReader(str(source), *keys, truth=is_truth)
        for keys, is_truth in (
            (("predictions", "hoi_prediction"), False),
            (("annotations", "hoi_annotation"), True),
        )
    )
    for entry in entries:
        if not isinstance(entry, Mapping) or "file_name" not in entry:
            raise UserError(
                f"{source}: an entry is {files.describe(entry)}, not an image in PPDM's format; "
                f"what is read: {files.PREDICTIONS}"
            )
        (truth if "annotations" in entry else predictions).add(entry)
        yield entry


def _lines(entries: Iterable[Mapping[str, Any]], separate: bool) -> Iterator[str]:
    yield "" if separate else "["
    between, after = ("", "") if separate else ("\n", "\n]\n")
    for entry in entries:
        try:
            yield between + json.dumps(entry, allow_nan=False) + "\n" * separate
        except ValueError:
            raise UserError(
                f"image {entry.get('file_name')!r} has a number that is not finite, which JSON "
                "does not have"
            ) from None
        between = "" if separate else ",\n"
    yield after


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, help="the file, or HICO-DET's folder")
    parser.add_argument("--output", required=True, help="the JSON to write")
    parser.add_argument("--force", action="store_true", help="replace an output that is there")
    arguments = parser.parse_args(argv)
    return command.guarded(
        lambda progress: "\n".join(
            convert(arguments.input, arguments.output, force=arguments.force, progress=progress)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
