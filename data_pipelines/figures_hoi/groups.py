"""Groups: people and objects drawn together, and what a free hand can hold.

Frame as for figures; a group is placed, mirrored and scaled as a whole later.
"""

import dataclasses
import random
from collections.abc import Sequence

from data_pipelines.figures_hoi import objects
from data_pipelines.figures_hoi.figure import NECK, Drawn, Outfit, Pose, draw
from data_pipelines.figures_hoi.shapes import (
    Disc,
    Extent,
    Placement,
    Shape,
    Stroke,
    curve,
    extent,
)

Action = tuple[str, str]  # verb, kind of object
STRING = (84, 58, 92)


@dataclasses.dataclass(frozen=True)
class Entity:
    """A person or an object: everything of it that is drawn, and a person's pose."""

    kind: str
    shapes: tuple[Shape, ...]
    pose: Pose | None = None

    def extent(self) -> Extent:
        """The box around it."""
        return extent(self.shapes)


@dataclasses.dataclass
class Group:
    """People, objects and what they do, as layers of shapes to be painted in order.

    Props (strings, leashes, tools) are painted but belong to no entity and to no box.
    """

    entities: list[Entity] = dataclasses.field(default_factory=list)
    layers: list[tuple[Shape, ...]] = dataclasses.field(default_factory=list)
    relations: list[tuple[int, int, str]] = dataclasses.field(default_factory=list)
    drawn: dict[int, Drawn] = dataclasses.field(default_factory=dict)  # by person

    def paint(self, *layers: Sequence[Shape]) -> None:
        """Put layers of shapes on top."""
        self.layers.extend(tuple(layer) for layer in layers)

    def add_person(
        self,
        pose: Pose,
        outfit: Outfit,
        *between: tuple[Shape, ...],
        place: Placement | None = None,
    ) -> int:
        """Add and paint a person, with layers between far limbs and trunk; returns its index."""
        drawn = draw(pose, outfit)
        if place is not None:
            drawn = drawn.placed(place)
        index = len(self.entities)
        self.paint(drawn.far, *between, drawn.trunk, drawn.arm)
        self.entities.append(Entity("person", drawn.shapes, drawn.pose))
        self.drawn[index] = drawn
        return index

    def add_object(self, obj: objects.Object, *, paint: bool = True) -> int:
        """Add an object, and paint it unless that is done elsewhere; returns its index."""
        if paint:
            self.paint(obj.shapes)
        self.entities.append(Entity(obj.kind, obj.shapes))
        return len(self.entities) - 1

    def relate(self, person: int, verb: str, obj: int) -> None:
        """Say that a person does something with an object."""
        self.relations.append((person, obj, verb))

    def extent(self) -> Extent:
        """The box around all that is painted, props too."""
        return extent(shape for layer in self.layers for shape in layer)


# What a free hand can do, whatever the rest of the body is busy with.


def hand_for(action: Action, shoulder: complex, lean: float) -> complex:
    """Where the near hand goes for an action of one hand."""
    return (
        shoulder
        + {
            ("hold", "cup"): 0.29 + 0.12j,
            ("drink_with", "cup"): 0.16 + 0.12 * lean - (NECK - 0.07) * 1j,
            ("hold", "umbrella"): 0.2 + 0.1j,
            ("fly", "kite"): 0.24 + 0.16j,
        }[action]
    )


def put_in_hand(group: Group, person: int, action: Action, rng: random.Random) -> None:
    """Give the near hand of a person that has been painted the object of a one-handed action."""
    verb, kind = action
    hand = group.drawn[person].pose.near_arm[2]
    if kind == "kite":
        tie = kite_position(rng)
        obj = objects.kite(rng).placed(Placement(tie))
        x1, y1, x2, y2 = group.entities[person].extent()
        midpoint = (complex(x1 + x2, y1 + y2) / 2 + tie) / 2  # the evidence shall lie elsewhere
        reel = Stroke((hand - 0.05, hand + 0.05), 0.06, (250, 225, 60))
        group.paint(string(hand, tie, midpoint, rng), (reel,))
    elif kind == "cup":
        # At the mouth the mug hides no more than the chin; held, it stands on the fist.
        offset = -0.01 + 0.0j if verb == "drink_with" else 0.03 - 0.07j
        obj = objects.cup(rng).placed(Placement(hand + offset))
    else:
        obj = objects.MAKERS[kind](rng).placed(Placement(hand + 0.02j))
    group.relate(person, verb, group.add_object(obj))
    if kind != "kite":
        group.paint(group.drawn[person].hand)


def kite_position(rng: random.Random) -> complex:
    """Where a kite hangs for somebody who stands at x = 0."""
    return complex(rng.choice((-1, 1)) * rng.uniform(0.45, 0.85), -rng.uniform(1.4, 1.6))


def string(start: complex, tie: complex, avoid: complex, rng: random.Random) -> tuple[Shape, ...]:
    """A kite's string that the wind bends away from the point `avoid`."""
    middle = (start + tie) / 2
    across = (tie - start) * 1j / abs(tie - start)
    if ((middle - avoid) * across.conjugate()).real < 0:
        across = -across
    points = curve(start, middle + rng.uniform(0.42, 0.58) * across, tie, 14)
    return (Stroke(points, 0.018, STRING),)


def peg(at: complex) -> tuple[Shape, ...]:
    """What holds a kite that nobody flies."""
    return (
        Stroke((at - 0.06j, at + 0.02j), 0.04, (95, 70, 50)),
        Disc(at - 0.06j, 0.03, (95, 70, 50)),
    )
