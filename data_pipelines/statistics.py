"""What the input pipeline must know of a split without reading it."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass
class Statistics:
    """Counts of a split.

    Attributes:
        boxes: how many images have how many boxes.
        relations: how many images have how many relations.
        pairs: number of relations of each (object, verb).
    """

    boxes: Counter[int] = dataclasses.field(default_factory=Counter)
    relations: Counter[int] = dataclasses.field(default_factory=Counter)
    pairs: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Number of examples."""
        return self.boxes.total()

    def add(self, classes: np.ndarray, relations: np.ndarray) -> None:
        """Count one image's boxes ([n] object indices) and relations ([m, 3])."""
        self.boxes[len(classes)] += 1
        self.relations[len(relations)] += 1
        self.pairs.update((int(classes[obj]), int(verb)) for _, obj, verb in relations)

    def merge(self, other: "Statistics") -> None:
        """Add another split's counts."""
        self.boxes.update(other.boxes)
        self.relations.update(other.relations)
        self.pairs.update(other.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `Statistics.from_dict` is the inverse."""
        return {
            "pictures": self.images,  # the key that prepared data sets have had from the beginning
            "boxes": sorted(map(list, self.boxes.items())),
            "relations": sorted(map(list, self.relations.items())),
            "pairs": sorted([*pair, number] for pair, number in self.pairs.items()),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Statistics":
        """The inverse of `to_dict`."""
        return cls(
            boxes=Counter({int(k): int(n) for k, n in fields["boxes"]}),
            relations=Counter({int(k): int(n) for k, n in fields["relations"]}),
            pairs=Counter({(int(o), int(v)): int(n) for o, v, n in fields["pairs"]}),
        )
