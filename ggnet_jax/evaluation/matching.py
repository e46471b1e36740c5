"""Which prediction is matched to which ground truth, for a whole data set at once.

Predictions and ground truth are columns; only rows with the same key (the same image and
class, say) can match, so that no protocol loops over images.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

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


def candidates(
    left: np.ndarray, right: np.ndarray, block: int = _BLOCK
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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


def first_free(i: np.ndarray, j: np.ndarray, num_left: int, num_right: int) -> np.ndarray:
    """[num_left] the first match of a left row, in their order, that was still free; -1 for none.

    Args:
        i, j: matching (left, right) rows, ordered by i; those of one i by preference.
        num_left, num_right: how many rows there are.
    """
    found = np.full(num_left, -1)
    # Which rows are free depends on all matches before, so this one step is sequential. Two rows
    # that match each other alone are settled at once; the loop sees the few others.
    alone = (np.bincount(i, minlength=num_left)[i] == 1) & (
        np.bincount(j, minlength=num_right)[j] == 1
    )
    found[i[alone]] = j[alone]
    taken = bytearray(num_right)
    served = -1
    winners, prizes = [], []
    for row, match in zip(i[~alone].tolist(), j[~alone].tolist(), strict=True):
        if row != served and not taken[match]:
            taken[match] = 1
            served = row
            winners.append(row)
            prizes.append(match)
    found[winners] = prizes
    return found


def first_of_each(rows: np.ndarray, what: np.ndarray, num_rows: int) -> np.ndarray:
    """[num_rows] bool: the rows that are the first to claim some ground truth.

    Args:
        rows: [k] row numbers, ascending.
        what: [k] the ground truth that each of them claims.
        num_rows: how many rows there are.
    """
    found = np.zeros(num_rows, bool)
    found[rows[np.unique(what, return_index=True)[1]]] = True
    return found
