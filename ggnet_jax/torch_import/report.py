"""The report of an import: every parameter and where it came from."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

from ggnet_jax.table import align
from ggnet_jax.torch_import.entries import COUNTERS


@dataclasses.dataclass(frozen=True)
class Report:
    """Every parameter under its PyTorch name: loaded, missing or skipped.

    Attributes:
        loaded: went from the file into the network.
        missing: of the network, but not in the file or of another shape there; (name, reason). They
            keep their initial values.
        skipped: of the file, but not taken; (name, reason).
        notes: what else the user should know.
    """

    loaded: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """A line for every part of the network, then every name that was not simply loaded."""
        columns = {
            "loaded": self.loaded,
            "skipped": [name for name, _ in self.skipped],
            "missing": [name for name, _ in self.missing],
        }
        counts = {title: Counter(map(_part, names)) for title, names in columns.items()}
        parts = list(dict.fromkeys(_part(name) for names in columns.values() for name in names))
        rows = [[part, *(str(counts[title][part]) for title in columns)] for part in parts]
        rows.append(["all", *(str(len(names)) for names in columns.values())])
        lines = [align([["part", *columns], *rows])]
        for title, entries in (("skipped", self.skipped), ("missing", self.missing)):
            for reason, names in _by_reason(entries).items():
                lines.append(f"{title}, {reason}: {', '.join(names)}")
        return "\n".join([*lines, *self.notes])


def _part(name: str) -> str:
    return name.split(".")[0]


def _by_reason(entries: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names by reason; hundreds of counters of batch norms are one entry."""
    grouped: dict[str, list[str]] = {}
    counters: Counter[tuple[str, str]] = Counter()
    for name, reason in entries:
        names, last = grouped.setdefault(reason, []), name.rpartition(".")[2]
        if last in COUNTERS:
            counters[reason, last] += 1
        else:
            names.append(name)
    for (reason, last), number in counters.items():
        grouped[reason].insert(0, f"{number} {last}")
    return grouped
