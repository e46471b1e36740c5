"""Which prediction is matched to which ground truth, for a whole data set at once.

Predictions and ground truth are columns; only rows with the same key (the same image and
class, say) can match, so that no protocol loops over images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

Matches = tuple[np.ndarray, np.ndarray]
"""Rows on the left and rows on the right, [k] each."""

_BLOCK = 1 << 19  # candidate pairs handled at once: about 100 MB of temporaries at the widest


def by_descending_score(
    group: np.ndarray, score: np.ndarray, ties: Callable[[], Sequence[np.ndarray]]
) -> np.ndarray:
    """The order [m] of rows by group, then descending score.

    Args:
        group: [m] integers.
        score: [m] floats.
        ties: gives the columns that order rows of equal group and score, the most significant
            first; called only if there are such rows. They hold what a row says and not its place
            in the file, so that every figure is the same for a shuffled file.
    """
    order = np.lexsort((-score, group))
    sorted_group, sorted_score = group[order], score[order]
    tied = (sorted_group[1:] == sorted_group[:-1]) & (sorted_score[1:] == sorted_score[:-1])
    if tied.any():
        order = np.lexsort((*reversed(ties()), -score, group))
    return order


def candidates(left: np.ndarray, right: np.ndarray, block: int = _BLOCK) -> Iterator[Matches]:
    """All (i, j) with left[i] == right[j], in blocks, ordered by i, then j.

    Args:
        left: [m] integer keys in any order.
        right: [n] integer keys in ascending order.
        block: how many pairs a block holds at most (those of one i are never split).

    Yields:
        i and j, two integer arrays of equal length.
    """
    low = np.searchsorted(right, left, side="left")
    count = np.searchsorted(right, left, side="right") - low
    total = np.cumsum(count)
    start = 0
    while start < len(left):
        done = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, done + block, side="right")))
        part = count[start:stop]
        i = np.repeat(np.arange(start, stop), part)
        first = np.repeat(low[start:stop] - (total[start:stop] - part - done), part)
        yield i, first + np.arange(len(i))
        start = stop


def first_free(blocks: Iterable[Matches], num_left: int, num_right: int) -> np.ndarray:
    """[num_left] bool: whether a left row, in their order, got its first match that was still free.

    Args:
        blocks: matching (left, right) rows, ordered by left over all blocks; those of one left row
            by preference and in one block.
        num_left, num_right: how many rows there are.
    """
    found, taken = np.zeros(num_left, bool), np.zeros(num_right, bool)
    for i, j in blocks:
        free = ~taken[j]
        i, j = i[free], j[free]
        # Which rows are free depends on all matches before, so this one step is sequential. Two
        # rows that match each other alone are settled at once; the loop sees the few others.
        alone = _once(i) & _once(j)
        found[i[alone]] = taken[j[alone]] = True
        served = -1
        winners, theirs = [], set()
        for row, match in zip(i[~alone].tolist(), j[~alone].tolist(), strict=True):
            if row != served and match not in theirs:
                theirs.add(match)
                served = row
                winners.append(row)
        found[winners] = True
        taken[list(theirs)] = True
    return found


def first_of_each(blocks: Iterable[Matches], num_left: int, num_right: int) -> np.ndarray:
    """[num_left] bool: the left rows that are the first to claim some right row.

    Args:
        blocks: (left, right) rows, ordered by left over all blocks.
        num_left, num_right: how many rows there are.
    """
    found, taken = np.zeros(num_left, bool), np.zeros(num_right, bool)
    for i, j in blocks:
        free = ~taken[j]
        claimed, first = np.unique(j[free], return_index=True)
        found[i[free][first]] = taken[claimed] = True
    return found


def _once(rows: np.ndarray) -> np.ndarray:
    """[k] bool: whether a row number occurs only once."""
    _, inverse, count = np.unique(rows, return_inverse=True, return_counts=True)
    return count[inverse] == 1
