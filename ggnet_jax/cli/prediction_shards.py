"""Predictions of many images in files of a thousand lines, whole or absent.

A shard under way has lines in a draft, `NAME.unfinished`. Whoever comes after a process that was
killed cuts a torn last line off and goes on behind it, so that no image is done twice.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from ggnet_jax import io
from ggnet_jax.errors import UserError

SHARD_SIZE = 1000  # images
JOB = "predictions.job.json"
"""What the shards of a folder are of; written before the first of them."""


class Todo(NamedTuple):
    """An image that has no line yet, and the shard that its line belongs into."""

    shard: int
    path: Path


class Shards:
    """The files `predictions-00000-of-00012.jsonl` of a list of images, in its order."""

    def __init__(self, folder: Path, paths: Sequence[Path], *, size: int = SHARD_SIZE):
        """See which lines there are, and cut off torn ones.

        Args:
            folder: where they lie.
            paths: the images.
            size: of a shard, in images.

        Raises:
            UserError: a shard is not of these images.
        """
        self._parts = [paths[start : start + size] for start in range(0, len(paths), size)]
        count = len(self._parts)
        self.files = [folder / f"predictions-{i:05d}-of-{count:05d}.jsonl" for i in range(count)]
        self.failed = 0
        self._done = [self._lines(shard) for shard in range(count)]
        self._open: int | None = None
        self._draft: IO[str] | None = None

    @property
    def done(self) -> int:
        """Images that have their line."""
        return sum(self._done)

    def todo(self) -> list[Todo]:
        """The others, in order."""
        return [
            Todo(shard, path)
            for shard, (part, done) in enumerate(zip(self._parts, self._done, strict=True))
            for path in part[done:]
        ]

    def add(self, todo: Todo, line: Mapping[str, Any]) -> None:
        """Write an image's line; all of a shard in the order of `todo()`.

        Raises:
            UserError: it cannot be written.
        """
        file = self.files[todo.shard]
        try:
            if self._draft is None or self._open != todo.shard:
                self.close()
                self._draft, self._open = open(_draft_of(file), "a", encoding="utf-8"), todo.shard
            self._draft.write(json.dumps(line) + "\n")
            self._draft.flush()
            self._done[todo.shard] += 1
            self.failed += "error" in line
            if self._done[todo.shard] == len(self._parts[todo.shard]):
                os.fsync(self._draft.fileno())
                self.close()
                os.replace(_draft_of(file), file)
        except OSError as error:
            raise UserError(f"cannot write {_draft_of(file)}: {error.strerror}") from error

    def close(self) -> None:
        """Close the draft; what is in it stays."""
        if self._draft is not None:
            with contextlib.suppress(OSError):  # of a full disk, already raised
                self._draft.close()
            self._draft = None

    def entries(self) -> Iterator[Any]:
        """Every line of the whole shards."""
        for file in self.files:
            yield from io.read_log(file)

    def _lines(self, shard: int) -> int:
        """How many lines a shard has; all if it is whole."""
        file, part = self.files[shard], self._parts[shard]
        whole = file.exists()
        if not whole:
            file = _draft_of(file)
            if not file.exists():
                return 0
            io.repair_log(file)
        names = []
        for entry in io.read_log(file):
            names.append(entry.get("file_name") if isinstance(entry, dict) else None)
            self.failed += isinstance(entry, dict) and "error" in entry
        expected = [str(path) for path in part[: len(names)]]
        same = names in (expected, [Path(name).name for name in expected])
        if not same or len(names) != file.read_bytes().count(b"\n"):  # not JSON, then
            raise UserError(f"{file} is not of these images; remove it, and they are done again")
        if whole and len(names) < len(part):
            raise UserError(
                f"{file} has {len(names)} lines for {len(part)} images; remove it, and they are "
                "done again"
            )
        return len(names)


def _draft_of(file: Path) -> Path:
    return file.with_name(file.name + io.DRAFT)


def check_job(folder: Path, job: Mapping[str, Any]) -> None:
    """Raise a UserError if a folder has the predictions of another job; else note this one's.

    Args:
        folder: of the shards.
        job: all that decides what their lines are.
    """
    file = folder / JOB
    if not file.exists():
        strays = sorted(folder.glob("predictions-*-of-*.jsonl*"))
        if strays:
            raise UserError(f"{strays[0]} is of a job that {JOB} should tell; remove it first")
        io.write_json(file, job, depth=1)
        return
    before = io.read_json(file)
    for name, value in job.items():
        old = before.get(name) if isinstance(before, dict) else None
        if old != value:
            others = {"images": "other images", "dtype": "another --dtype"}
            what = others.get(name, f"{name} {old}, not {value}")
            raise UserError(
                f"{folder} has predictions that were begun with {what}; give another --output, or "
                "remove that folder"
            )


def job_of(folder: Path) -> Mapping[str, Any]:
    """What `check_job` noted; empty where there is nothing."""
    file = folder / JOB
    found = io.read_json(file) if file.exists() else {}
    return found if isinstance(found, dict) else {}
