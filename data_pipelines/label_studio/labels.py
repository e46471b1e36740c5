"""Names in an export and names in a class list: spelled alike or nearly so."""

import difflib
from collections.abc import Iterable, Sequence

from ggnet_jax.vocabularies import same_name

PERSON = "person"


class Names:
    """The names of a class list.

    Attributes:
        names: as the class list has them.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        self._exact = {name: index for index, name in enumerate(names)}
        alike: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            alike.setdefault(same_name(name), []).append(index)
        self._normalized = {name: found[0] for name, found in alike.items() if len(found) == 1}

    def index(self, label: str) -> int | None:
        """The index of the name that a label is, None if it is none."""
        return self._exact.get(label, self._normalized.get(same_name(label)))

    def nearest(self, label: str) -> str:
        """The name that is likeliest meant by a label that is none; '' if none is like it."""
        alike = {same_name(name): name for name in self.names}
        found = difflib.get_close_matches(same_name(label), alike, 1, 0.6)
        return alike[found[0]] if found else ""


def derived(labels: Iterable[str]) -> list[str]:
    """A class list of the labels that occur: the person first, then in alphabetical order."""
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(same_name(label), label)
    if PERSON in first:
        first[PERSON] = PERSON
    return sorted(first.values(), key=lambda name: (name != PERSON, same_name(name)))


def is_person(label: str) -> bool:
    """Whether a label is the person's."""
    return same_name(label) == PERSON
