"""The parts of a description, and how its numbers are written."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ggnet_jax.inspection.columns import Split


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under a header.

    Attributes:
        header: of the columns; the first column is text, the others are numbers.
        rows: cells as text, or numbers, which are written with separators.
        marks: a word on a row, "rare"; '' for none. Empty where no row can have one.
        bars: numbers of each row that a page shows as a bar; None for no bars.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    marks: Sequence[str] = ()
    bars: Sequence[float] | None = None


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the description.

    Attributes:
        title: of it.
        notes: sentences before the tables.
        tables: of numbers.
        lists: (heading, items) after them.
    """

    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    lists: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclasses.dataclass(frozen=True)
class Description:
    """All of it.

    Attributes:
        title: the data set.
        place: how many classes it has, and where it lies.
        remarks: what deserves a look before training, most pressing first.
        sections: the numbers.
    """

    title: str
    place: str
    remarks: tuple[str, ...]
    sections: tuple[Section, ...]


def split_title(split: Split) -> str:
    """'training (train)', 'test'."""
    return split.role if split.role == split.name else f"{split.role} ({split.name})"


def ratio(number: int, total: int) -> str:
    """A mean with two decimals; '-' of nothing."""
    return f"{number / total:.2f}" if total else "-"


def percent(number: int, total: int) -> str:
    """'12 %', '0.35 %'."""
    share = 100 * number / total if total else 0.0
    return f"{share:.0f} %" if share >= 10 or not number else f"{share:.2g} %"


def part_of(number: int, total: int) -> str:
    """'3 of 12 (25 %)'; '-' of nothing."""
    return f"{number:,} of {total:,} ({percent(number, total)})" if total else "-"


def counted(number: int, what: str, several: str = "") -> str:
    """'1 class', '2 classes'."""
    ending = "es" if what.endswith(("s", "x")) else "s"
    several = several or (what[:-1] + "ies" if what.endswith("y") else what + ending)
    return f"{number:,} {what if number == 1 else several}"


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
