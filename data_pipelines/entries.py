"""Annotation entries in little memory."""

import json
import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from ggnet_jax.errors import UserError


class Entries(Sequence[Any]):
    """A sequence of JSON values that is kept as text; each is decoded when it is asked for.

    As Python objects the entries of a data set take about ten times as much, for the whole of a
    build, in which one after the other is needed.
    """

    def __init__(self, values: Iterable[Any] = ()):
        """Take the values one by one."""
        self._text = bytearray()
        self._ends = array("q", [0])
        self.extend(values)

    def extend(self, values: Iterable[Any]) -> None:
        """Append values; `Entries` without decoding them."""
        if isinstance(values, Entries):
            first = len(self._text)
            self._text += values._text
            self._ends.extend(first + end for end in values._ends[1:])
            return
        for value in values:
            try:
                self._text += json.dumps(value).encode("ascii")
            except RecursionError:
                raise UserError(f"annotation entry {len(self)} is nested too deeply") from None
            self._ends.append(len(self._text))

    def __eq__(self, other: object) -> bool:
        """Whether the values are those of another sequence."""
        if not isinstance(other, list | Entries):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # it can grow

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return json.loads(self._text[self._ends[index] : self._ends[index + 1]].decode("ascii"))

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))
