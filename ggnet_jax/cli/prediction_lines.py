"""The file that predictions are written into, line by line."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError


class PredictionLines:
    """The file of predictions, a JSON line for each image or frame until all are done.

    It has its name only then. What there is when a run ends early stays in the draft.
    """

    def __init__(self, path: Path, what: str = "image"):
        self._path, self._what = path, what
        self._draft = path.with_name(path.name + io.DRAFT)
        self._count = 0

    def __enter__(self) -> "PredictionLines":
        if self._path.is_dir():
            raise UserError(f"cannot write {self._path}: it is a folder")
        try:
            self._file = open(self._draft, "w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {self._draft}: {error.strerror}") from error
        return self

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write the next entry."""
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self._draft}: {error.strerror}") from error
        self._count += 1

    def entries(self) -> Iterator[Any]:
        """The entries so far."""
        return io.read_log(self._draft)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk, already raised
            self._file.close()
        try:
            if kind is not None and self._count:
                number = f"{self._count} {self._what}{'s' if self._count > 1 else ''}"
                kept = f"the predictions for {number} are in {self._draft}"
                if kind is KeyboardInterrupt:
                    raise KeyboardInterrupt(kept)
                print(kept, file=sys.stderr)
            elif kind is None and self._path.suffix == ".jsonl":
                os.replace(self._draft, self._path)
            else:
                self._draft.unlink(missing_ok=True)
        except OSError as problem:
            raise UserError(f"cannot write {self._path}: {problem.strerror}") from problem
