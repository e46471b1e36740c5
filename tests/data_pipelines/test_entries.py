"""Entries kept as text are the entries."""

import itertools

import pytest

from data_pipelines.entries import Entries

VALUES = [
    {"file_name": "a\u00e9\U0001f600\ud800.jpg", "width": 10**400, "x": [1.5, -0.0, None, True]},
    [],
    None,
    "text",
    {"bbox": [float("inf"), 1e308, 0.1 + 0.2]},
]


@pytest.mark.parametrize("make", [list, iter, Entries])
def test_entries_are_the_values(make):
    entries = Entries(make(VALUES))
    assert list(entries) == VALUES
    assert len(entries) == 5
    assert entries[-1] == VALUES[-1] and entries[1:4] == VALUES[1:4]
    assert [entries[k] for k in range(5)] == VALUES
    with pytest.raises(IndexError):
        entries[5]


def test_entries_are_joined_and_filled_lazily():
    entries = Entries(itertools.islice(itertools.count(), 3))
    entries.extend(Entries(VALUES))
    entries.extend(Entries())
    entries.extend([7])
    assert list(entries) == [0, 1, 2, *VALUES, 7]
    assert list(Entries()) == []
