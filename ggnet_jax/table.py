"""Tables of text, for a terminal."""

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other: the first to the left, the others, which are numbers, to the right.

    Args:
        rows: cells of the table's lines, as many in each.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
