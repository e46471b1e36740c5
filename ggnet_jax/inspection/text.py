"""A description as text."""

import textwrap
from collections.abc import Iterator

from ggnet_jax.inspection.parts import Description, Section, Table

_WIDTH = 100
_ROWS = 60
"""Rows of a table that are printed; of more, the first and the last ones."""


def to_text(description: Description) -> str:
    """The description to read in a terminal."""
    lines = [f"{description.title}: {description.place}"]
    if description.remarks:
        lines += ["", "Worth a look"]
        for remark in description.remarks:
            lines += _wrapped(f"- {remark}", 2, 4)
    for section in description.sections:
        lines += ["", section.title, *_section(section)]
    return "\n".join(lines)


def _section(section: Section) -> Iterator[str]:
    for note in section.notes:
        yield from _wrapped(note, 2, 2)
    for number, table in enumerate(section.tables):
        if number:
            yield ""
        yield from _table(table)
    for heading, items in section.lists:
        yield f"  {heading}"
        yield from (f"    {item}" for item in items)


def _wrapped(text: str, first: int, rest: int) -> list[str]:
    """Lines of at most `_WIDTH` characters, long words whole."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * first, subsequent_indent=" " * rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _table(table: Table) -> Iterator[str]:
    marks = table.marks or [""] * len(table.rows)
    rows = [(*map(cell, row), mark) for row, mark in zip(table.rows, marks, strict=True)]
    hidden = len(rows) - _ROWS
    if hidden > 0:
        note = f"... {hidden:,} rows between; --output=FOLDER writes all"
        rows[_ROWS // 2 : -_ROWS // 2] = [(note, *[""] * len(table.header))]
    header = (*table.header, "")
    # The note of hidden rows may be as long as it is.
    told = [row for row in [header, *rows] if any(row[1:]) or row is header]
    widths = [max(len(row[column]) for row in told) for column in range(len(header))]
    for row in [header, *rows]:
        first, *rest, mark = row
        cells = [first.ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(rest, widths[1:-1], strict=True)]
        yield ("    " + "  ".join([*cells, mark])).rstrip()


def cell(value: object) -> str:
    """A table's cell as it is written."""
    return f"{value:,}" if isinstance(value, int) else str(value)
