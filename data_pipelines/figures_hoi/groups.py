"""Groups: people and objects drawn together, and what a free hand can hold.

Frame as for figures; a group is placed, mirrored and scaled as a whole later.
"""

import dataclasses
import random

from data_pipelines.figures_hoi import things
from data_pipelines.figures_hoi.figure import NECK, Outfit, Pose, draw
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
STRING = (255, 255, 255)


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

    def paint(self, *layers) -> None:
        """Put layers of shapes on top."""
        self.layers.extend(tuple(layer) for layer in layers)

    def add_person(self, pose: Pose, outfit: Outfit, *between: tuple[Shape, ...]) -> int:
        """Add and paint a person, with layers between far limbs and trunk; returns its index."""
        drawn = draw(pose, outfit)
        self.paint(drawn.far, *between, drawn.near)
        self.entities.append(Entity("person", drawn.far + drawn.near, pose))
        return len(self.entities) - 1

    def add_thing(self, thing: things.Thing, *, paint: bool = True) -> int:
        """Add an object, and paint it unless that is done elsewhere; returns its index."""
        if paint:
            self.paint(thing.shapes)
        self.entities.append(Entity(thing.kind, thing.shapes))
        return len(self.entities) - 1

    def relate(self, person: int, verb: str, thing: int) -> None:
        """Say that a person does something with an object."""
        self.relations.append((person, thing, verb))

    def hand_shapes(self, person: int) -> tuple[Shape, ...]:
        """The fingers of the near hand, to be painted over what it holds."""
        return (self.entities[person].shapes[-2],)

    def extent(self) -> Extent:
        """The box around all entities."""
        return extent(shape for entity in self.entities for shape in entity.shapes)


# What a free hand can do, whatever the rest of the body is busy with.


def hand_for(action: Action, shoulder: complex, lean: float) -> complex:
    """Where the near hand goes for an action of one hand."""
    return (
        shoulder
        + {
            ("hold", "cup"): 0.29 + 0.12j,
            ("drink_with", "cup"): 0.16 + 0.12 * lean - (NECK - 0.07) * 1j,
            ("hold", "umbrella"): 0.2 + 0.1j,
            ("fly", "kite"): 0.26 - 0.14j,
        }[action]
    )


def put_in_hand(group: Group, person: int, action: Action, rng: random.Random) -> None:
    """Give the near hand of a person that has been painted the object of a one-handed action."""
    verb, kind = action
    hand = group.entities[person].pose.near_arm[2]
    if kind == "kite":
        tie = complex(rng.choice((-1, 1)) * rng.uniform(0.4, 0.75), -rng.uniform(1.4, 1.6))
        thing = things.kite(rng).placed(Placement(tie))
        group.paint(string(hand, tie, rng))
        reel = (Stroke((hand - 0.05, hand + 0.05), 0.055, (250, 225, 60)),)
        group.paint(reel)
    elif kind == "cup":
        # At the mouth the mug hides no more than the chin; held, it stands on the fist.
        offset = -0.01 + 0.0j if verb == "drink_with" else 0.03 - 0.07j
        thing = things.cup(rng).placed(Placement(hand + offset))
    else:
        thing = things.MAKERS[kind](rng).placed(Placement(hand + 0.02j))
    group.relate(person, verb, group.add_thing(thing))
    if kind != "kite":
        group.paint(group.hand_shapes(person))


def string(hand: complex, tie: complex, rng: random.Random) -> tuple[Shape, ...]:
    """A kite's string: slack, so that it stays away from the straight line to its end."""
    across = (tie - hand) * 1j / abs(tie - hand)
    across = across if across.imag > 0 else -across
    points = curve(hand, (hand + tie) / 2 + rng.uniform(0.35, 0.5) * across, tie, 12)
    return (Stroke(points, 0.018, STRING),)


def peg(at: complex) -> tuple[Shape, ...]:
    """What holds a kite that nobody flies."""
    return (
        Stroke((at - 0.06j, at + 0.02j), 0.04, (95, 70, 50)),
        Disc(at - 0.06j, 0.03, (95, 70, 50)),
    )
