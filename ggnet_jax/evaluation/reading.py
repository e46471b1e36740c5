"""What the evaluators take as input: a path, or the content of such a file already read."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.formats import annotation_entries

Source = str | Path | Iterable[Mapping[str, Any]]
"""A path of a JSON list, or its entries."""
Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done (0 to 1)."""

_INSTANCES = {  # what is used of COCO's; the outlines, most of the file, are not kept
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore"),
}


def load(source: Any) -> Any:
    """The content of a JSON file; anything but a path is handed back as it is.

    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    return io.read_json(source, allow_nan=True) if isinstance(source, str | Path) else source


def iterate(
    source: Source, what: str, progress: Progress | None = None, *, allow_nan: bool = False
) -> Iterator[Any]:
    """The entries of a JSON list, one after the other.

    Args:
        source: a path, or entries already read.
        what: "predictions" or the like, for messages.
        progress: called with how far the reading is.
        allow_nan: take a file's NaN and Infinity as numbers.

    Raises:
        UserError: the file is missing, not JSON, or not a list.
    """
    if what == "ground truth":
        source = annotation_entries(source)
    if isinstance(source, str | Path):
        told = None if progress is None else lambda part: progress(f"reading {what}", part)
        yield from io.iterate_json(
            source,
            f"{what}, one entry for each image,",
            allow_nan=allow_nan,
            progress=told,
        )
    elif isinstance(source, Mapping):
        keys = ", ".join(repr(str(key)) for key in source) or "nothing"
        raise UserError(
            f"{what} must be a list with one entry for each image, not an object with {keys:.160}"
        )
    elif isinstance(source, str | bytes) or not isinstance(source, Iterable):
        raise UserError(f"{what} must be a list with one entry for each image, not {source!r:.60}")
    else:
        yield from source


def load_instances(source: Any, progress: Progress | None = None) -> Any:
    """COCO's instances without outlines: {"images": [...], "annotations": [...]}.

    COCO's own files have hundreds of megabytes; as Python objects they would take gigabytes.

    Args:
        source: a path, several of them, as a list or with commas between them; anything else is
            handed back as it is. What several files have alike is taken once.
        progress: called with how far the reading is.

    Raises:
        UserError: a file is missing, not JSON, or not COCO's, or two say different things.
    """
    if isinstance(source, str) and "," in source and not Path(source).exists():
        source = [part.strip() for part in source.split(",") if part.strip()]
    if isinstance(source, str | Path):
        return _load_instances(source, progress)
    if not isinstance(source, list | tuple):
        return source
    parts = [load_instances(part, progress) for part in source]
    if not parts:
        raise UserError("no file of COCO's instances is given")
    return _merge(parts) if len(parts) > 1 else parts[0]


def _merge(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The images and annotations of several files, each once."""
    merged: dict[str, list[Any]] = {}
    for key in _INSTANCES:
        items: dict[Any, Any] = {}
        for item in itertools.chain.from_iterable(part[key] for part in parts):
            number = item.get("id")
            if not isinstance(number, int | str):
                raise UserError(f"the instances have an item of {key} with the id {number!r:.40}")
            if items.setdefault(number, item) != item:
                raise UserError(
                    f"two files of instances have the id {number} in {key} for different things"
                )
        merged[key] = [*items.values()]
    return merged


def _load_instances(source: str | Path, progress: Progress | None) -> dict[str, Any]:
    reader = io.JsonReader(source, allow_nan=True)
    if reader.peek() != "{":
        raise UserError(
            f"{source} holds no COCO instances: it is not a JSON object{reader.instead()}"
        )
    content: dict[str, list[dict[str, Any]]] = {}
    keys: list[str] = []
    for key in reader.members():
        keys.append(key)
        if key not in _INSTANCES or reader.peek() != "[":
            reader.value()
            continue
        content[key] = []
        for count, item in enumerate(reader.items()):
            if not isinstance(item, Mapping):
                raise UserError(
                    f"{source} holds no COCO instances: {key}[{count}] is not a JSON object"
                )
            content[key].append({field: item[field] for field in _INSTANCES[key] if field in item})
            if progress and count % 256 == 0:
                progress("reading instances", reader.fraction)
    reader.end()
    missing = [key for key in _INSTANCES if key not in content]
    if missing:
        there = ", ".join(map(repr, keys[:8])) or "nothing"
        raise UserError(
            f"{source} holds no COCO instances: it has no list {missing[0]!r} (it has {there:.160})"
        )
    return content
