"""An export of Label Studio -> PPDM's JSON, for other repositories, and its class list.

    python -m data_pipelines.label_studio --input=export.json --images=photos --output=train.json

`data.name=label_studio` trains on the export itself. Without --classes the class list is made of
the labels that occur, and written beside the output: train.classes.json.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.label_studio import convert
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.vocabularies import class_list


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert what the command line says; a mistake becomes one line and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m data_pipelines.label_studio",
        description="Write an export of Label Studio (JSON) as PPDM's JSON.",
        allow_abbrev=False,
    )
    parser.add_argument("--input", required=True, help="the export, .json")
    parser.add_argument("--output", required=True, help="the new file, .json")
    parser.add_argument("--images", default="", help="folder of the images, whose names it takes")
    parser.add_argument("--classes", default="", help="class list; default: the labels that occur")
    parser.add_argument("--accept_losses", action="store_true", help="leave out what is refused")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    options = parser.parse_args(arguments)
    try:
        _convert(options)
    except UserError as error:
        message = str(error).replace("--config.data.accept_losses=True", "--accept_losses")
        print("error:", " ".join(message.split()), file=sys.stderr)
        return 2
    return 0


def _convert(options: argparse.Namespace) -> None:
    output = Path(options.output)
    if output.suffix != ".json":
        raise UserError(f"{output}: the output is JSON; give a name that ends in .json")
    classes = None if options.classes else output.with_suffix(".classes.json")
    for path in (output, classes):
        if path is not None and path.exists() and not options.force:
            raise UserError(f"{path} is there already; give another name, or --force to replace it")
    if options.images and not Path(options.images).is_dir():
        raise UserError(f"there is no folder {options.images}")
    export = convert.Export.read(options.input)
    names = (
        class_list.vocabulary(options.classes) if options.classes else convert.names_of([export])
    )
    folders = [options.images] if options.images else []
    entries = convert.entries(export, names, folders, accept_losses=options.accept_losses)
    io.write_json(output, list(entries), depth=1)
    print(f"{output}: {len(entries)} images")
    if classes is not None:
        lists = {
            "objects": dict(zip(map(str, names.object_ids), names.objects, strict=True)),
            "verbs": dict(zip(map(str, names.verb_ids), names.verbs, strict=True)),
        }
        io.write_json(classes, lists, depth=1)
        print(f"{classes}: the class list")
    for line in export.findings.lines():
        print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
