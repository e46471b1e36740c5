"""Who does what with which object: a group for every class and for every decoy.

The functions `at_bicycle`, `at_dog`, `at_chair` and `at_ball` cover several verbs, and "nothing"
(None), each. Within one function the person's box against the object's box has the same
distribution whatever the verb: the boxes are drawn first and the body is stretched to fill its
own, so that limbs, and what they touch, are all that tells the verbs apart.
"""

import cmath
import dataclasses
import random
from collections.abc import Callable

from data_pipelines.figures_hoi import objects
from data_pipelines.figures_hoi.figure import ANKLE, Outfit, Stance, fit
from data_pipelines.figures_hoi.groups import (
    Action,
    Group,
    hand_for,
    kite_position,
    peg,
    put_in_hand,
    string,
)
from data_pipelines.figures_hoi.objects import Object
from data_pipelines.figures_hoi.shapes import Extent, Placement, Ring, Shape, Stroke

Place = Callable[[complex], complex]

STEEL = (205, 215, 230)
IRON = (60, 65, 80)
LEASH = (225, 45, 45)
HAND = 0.06  # radius of a hand with its rim
BACK = 0.114  # of a trunk
GROUND = ANKLE * 1j
MOODS = 4  # ways to hold hands that touch nothing
WAVING = 2


def idle(rng: random.Random) -> Group:
    """Somebody who touches nothing."""
    group = Group()
    stance = _at_ease(_upright(rng), rng.randrange(MOODS))
    group.add_person(stance.pose(), Outfit.random(rng))
    return group


def loose(kind: str, rng: random.Random) -> Group:
    """An object that nobody uses."""
    group = Group()
    obj = objects.MAKERS[kind](rng)
    if kind == "umbrella":  # put down open, on its rim
        obj = obj.placed(Placement(turn=cmath.exp(1j * rng.uniform(1.9, 2.05))))
    if kind in ("umbrella", "cup", "sports_ball"):
        obj = obj.placed(Placement(-obj.extent()[3] * 1j))
    elif kind == "kite":
        _add_tied_kite(group, complex(rng.uniform(-0.3, 0.3), -rng.uniform(1.3, 1.55)), rng)
        return group
    group.add_object(obj)
    return group


def standing(action: Action, rng: random.Random) -> Group:
    """Somebody upright with something in the near hand."""
    group = Group()
    stance = _upright(rng)
    near = hand_for(action, stance.shoulder, stance.lean)
    far = near - 0.09 + 0.05j if action[0] == "fly" else stance.shoulder - 0.12 + 0.33j
    stance = dataclasses.replace(stance, near_hand=near, far_hand=far)
    person = group.add_person(stance.pose(), Outfit.random(rng))
    put_in_hand(group, person, action, rng)
    return group


def flying(rng: random.Random) -> Group:
    """Fly a kite; now and then somebody else waves on the other side of it."""
    group = standing(("fly", "kite"), rng)
    if rng.random() < 0.35:
        x1, _, x2, _ = group.entities[1].extent()
        _add_waving(group, x1 + x2, rng)
    return group


def by_kite(rng: random.Random) -> Group:
    """Somebody with an arm up under a kite that is tied to a peg."""
    group = Group()
    _add_waving(group, 0.0, rng)
    _add_tied_kite(group, kite_position(rng), rng)
    return group


def at_bicycle(verb: str | None, rng: random.Random, extra: Action | None = None) -> Group:
    """Ride, push, repair a bicycle, or stand by it with the hands elsewhere (None)."""
    bike = objects.bicycle(rng)
    crank, saddle = bike.points["crank"], bike.points["saddle"]
    grip = bike.points["bar"] + rng.uniform(0.02, 0.06)
    target = _box(rng, (-0.38, -0.31), (-1.0, -0.9), grip.real + HAND, (-0.05, -0.02))
    sway, mood = rng.uniform(-0.06, 0.06), rng.randrange(MOODS)
    pedals = rng.uniform(-0.05, 0.05) - 0.09j, rng.uniform(-0.02, 0.09) - 0.27j
    near, far = reversed(pedals) if rng.random() < 0.5 else pedals

    def stance(place: Place) -> Stance:
        near_hand, far_hand = place(grip), place(grip - 0.02j)
        if verb == "ride":
            axle = place(crank).real
            feet = (axle + near, axle + far)
            seat = place(complex(target[0] + BACK, saddle.imag - 0.06))  # far back on the saddle
            return Stance(seat, 0.4 + sway, *feet, near_hand, far_hand)
        if verb == "push":
            feet = (-0.36 + GROUND, -0.08 + GROUND)
            return Stance(-0.2 - 0.47j, 0.45 + sway, *feet, near_hand, far_hand)
        if verb == "repair":
            feet, near_hand = (-0.22 + GROUND, -0.34 + GROUND), place(crank + 0.05 - 0.1j)
            return Stance(-0.25 - 0.4j, 0.9 + sway, *feet, near_hand, far_hand)
        return _at_ease(_stand(-0.1, sway, 0.02, -0.16), mood)

    before = verb in ("push", None)  # they stand on its far side
    return _at(bike, verb, stance, target, rng, extra=extra, tool=crank, before=before)


def at_dog(verb: str | None, rng: random.Random, extra: Action | None = None) -> Group:
    """Walk a dog on its leash, pet it, or stand by it (None)."""
    away = rng.random() < 0.7
    dog = objects.dog(rng).placed(Placement(rng.uniform(0.43, 0.5) + 0.01j, flip=not away))
    height = dog.points["back" if away else "head"].imag
    reach = rng.uniform(0.3, 0.36)
    target = _box(rng, (-0.28, -0.2), (-1.0, -0.93), reach + HAND, (-0.01, 0.01))
    sway, mood = rng.uniform(-0.06, 0.06), rng.randrange(MOODS)

    def stance(place: Place) -> Stance:
        if verb == "pet":
            feet, hands = (-0.02 + GROUND, -0.2 + GROUND), (place(reach + height * 1j), 0.1 - 0.36j)
            return Stance(-0.13 - 0.43j, 0.75 + sway, *feet, *hands)
        body = _stand(-0.04, sway, 0.1, -0.16)
        if verb == "walk":
            leash = place(reach - 0.52j)
            far_hand = leash if extra else -0.2 - 0.44j
            return dataclasses.replace(body, near_hand=leash, far_hand=far_hand)
        return _at_ease(body, mood)

    return _at(dog, verb, stance, target, rng, extra=extra, leash=dog.points["collar"])


def at_chair(verb: str | None, rng: random.Random) -> Group:
    """Push a chair by its back, repair it, or stand by it (None)."""
    chair = objects.chair(rng).placed(Placement(0.52 + 0j))
    back = chair.points["back"] + 0.03
    target = _box(rng, (-0.3, -0.22), (-1.0, -0.92), back.real + HAND, (-0.01, 0.01))
    sway, mood = rng.uniform(-0.06, 0.06), rng.randrange(MOODS)

    def stance(place: Place) -> Stance:
        near_hand, far_hand = place(back), place(back - 0.01j)
        if verb == "push":
            feet = (-0.28 + GROUND, 0.02 + GROUND)
            return Stance(-0.18 - 0.44j, 0.4 + sway, *feet, near_hand, far_hand)
        if verb == "repair":
            feet, near_hand = (-0.1 + GROUND, -0.22 + GROUND), place(back.real - 0.03 - 0.3j)
            return Stance(-0.16 - 0.4j, 0.9 + sway, *feet, near_hand, far_hand)
        return _at_ease(_stand(-0.06, sway, 0.08, -0.16), mood)

    return _at(chair, verb, stance, target, rng, tool=chair.points["seat"] - 0.12)


def at_ball(verb: str | None, rng: random.Random) -> Group:
    """Kick a ball on the ground, or stand before it (None)."""
    ball = objects.sports_ball(rng)
    radius = ball.extent()[3]
    ball = ball.placed(Placement(complex(0.4 + radius, -radius - rng.uniform(0, 0.05))))
    target = _box(rng, (-0.36, -0.3), (-1.0, -0.94), rng.uniform(0.38, 0.41), (-0.01, 0.01))
    sway, mood = rng.uniform(-0.06, 0.06), rng.randrange(MOODS)

    def stance(place: Place) -> Stance:
        if verb == "kick":
            feet, hands = (0.28 - 0.13j, -0.14 + GROUND), (-0.34 - 0.6j, 0.16 - 0.62j)
            return Stance(-0.08 - 0.46j, -0.25 + sway, *feet, *hands)
        return _at_ease(_stand(-0.02, sway, 0.14, -0.16), mood)

    return _at(ball, verb, stance, target, rng, before=True)


def on_skateboard(verb: str, rng: random.Random, extra: Action | None = None) -> Group:
    """Ride a skateboard, or sit on it."""
    board = objects.skateboard(rng)
    sway = rng.uniform(-0.06, 0.06)
    if verb == "ride":
        feet, hands = (0.15 - 0.16j, -0.17 - 0.16j), (0.38 - 0.62j, -0.32 - 0.76j)
        stance = Stance(-0.02 - 0.47j, 0.3 + sway, *feet, *hands, elbows=(1, -1))
    else:
        feet, hands = (0.36 + GROUND, 0.3 + GROUND), (0.16 - 0.36j, 0.2 - 0.36j)
        stance = Stance(-0.08 - 0.2j, 0.1 + sway, *feet, *hands)
    return _plain(board, verb, stance, rng, extra=extra, behind=True)


def on_chair(rng: random.Random, extra: Action | None = None) -> Group:
    """Sit on a chair."""
    feet, hands = (0.27 + GROUND, 0.21 + GROUND), (0.17 - 0.42j, 0.2 - 0.42j)
    stance = Stance(-0.05 - 0.35j, rng.uniform(-0.1, 0.1), *feet, *hands)
    return _plain(objects.chair(rng), "sit_on", stance, rng, extra=extra, behind=True)


def throwing(rng: random.Random) -> Group:
    """Throw a ball: one arm far back over the head, the other ahead."""
    hand = complex(-0.26, -1.0 + rng.uniform(-0.04, 0.04))
    ball = objects.sports_ball(rng).placed(Placement(hand - 0.03 - 0.13j))
    feet, hands = (0.17 + GROUND, -0.2 + GROUND), (hand, 0.36 - 0.82j)
    lean = -0.12 + rng.uniform(-0.06, 0.06)
    stance = Stance(-0.45j, lean, *feet, *hands, elbows=(-1, 1))
    return _plain(ball, "throw", stance, rng)


def holding(kind: str, rng: random.Random) -> Group:
    """Hold something with both arms before the trunk."""
    stance = _upright(rng)
    at = stance.shoulder + complex(rng.uniform(0.24, 0.28), rng.uniform(0.1, 0.16))
    obj = objects.MAKERS[kind](rng)
    near, far = -0.03 + 0.09j, 0.1 + 0.06j
    if kind == "skateboard":  # upright before the chest
        turn = cmath.exp(1j * rng.uniform(-1.75, -1.4))
        obj = obj.placed(Placement(at + 0.05 + 0.06j + 0.085j * turn, turn=turn))
        near, far = 0.02 + 0.07j, 0.04 - 0.05j
    elif kind == "dog":
        obj = obj.placed(Placement(at + 0.02 + 0.23j))
        near, far = -0.02 + 0.06j, 0.1 + 0.04j
    else:
        obj = obj.placed(Placement(at + 0.04))
    stance = dataclasses.replace(stance, near_hand=at + near, far_hand=at + far)
    return _plain(obj, "hold", stance, rng)


# What the functions above share.


def _at(
    obj: Object,
    verb: str | None,
    stance: Callable[[Place], Stance],
    target: Extent,
    rng: random.Random,
    *,
    extra: Action | None = None,
    tool: complex = 0j,
    leash: complex = 0j,
    before: bool = False,
) -> Group:
    """A person stretched to fill a box at an object, with the props of the verb.

    Args:
        obj: in place; painted between the limbs, or before the person.
        verb: what is done, None for nothing.
        stance: as `fit` takes it.
        target: the person's box.
        rng: source of everything random.
        extra: what the near hand does besides.
        tool: where a wrench points.
        leash: where a leash ends.
        before: paint the object over the person.
    """
    group = Group()
    outfit = Outfit.random(rng)
    steps = [complex(rng.uniform(-0.03, 0.03), 0) for _ in range(2)]

    def varied(place: Place) -> Stance:
        body = stance(place)
        body = dataclasses.replace(
            body, near_foot=body.near_foot + steps[0], far_foot=body.far_foot + steps[1]
        )
        return body if extra is None else _with(extra, body)

    pose = fit(varied, target, outfit)
    person = group.add_person(pose, outfit, *(() if before else (obj.shapes,)))
    index = group.add_object(obj, paint=before)
    if before:
        group.paint(group.drawn[person].arm)
    if verb is not None:
        group.relate(person, verb, index)
    hand = pose.near_arm[2]
    if verb == "repair":
        group.paint(_wrench(hand, tool), group.drawn[person].hand)
    if verb == "walk":
        hold = hand if extra is None else pose.far_arm[2]
        group.paint((Stroke((hold, (hold + leash) / 2 + 0.08j, leash), 0.022, LEASH),))
    if extra is not None:
        put_in_hand(group, person, extra, rng)
    return group


def _plain(
    obj: Object,
    verb: str,
    stance: Stance,
    rng: random.Random,
    *,
    extra: Action | None = None,
    behind: bool = False,
) -> Group:
    """A person in a given stance with an object behind them, or between trunk and near arm."""
    group = Group()
    if extra is not None:
        stance = _with(extra, stance)
    if behind:
        group.paint(obj.shapes)
    person = group.add_person(stance.pose(), Outfit.random(rng))
    if not behind:
        group.paint(obj.shapes, group.drawn[person].arm)
    group.relate(person, verb, group.add_object(obj, paint=False))
    if extra is not None:
        put_in_hand(group, person, extra, rng)
    return group


def _with(extra: Action, stance: Stance) -> Stance:
    hand = hand_for(extra, stance.shoulder, stance.lean)
    return dataclasses.replace(stance, near_hand=hand, elbows=(1, stance.elbows[1]))


def _box(rng: random.Random, left: tuple, top: tuple, right: float, bottom: tuple) -> Extent:
    return rng.uniform(*left), rng.uniform(*top), right, rng.uniform(*bottom)


def _stand(x: float, lean: float, near_foot: float, far_foot: float) -> Stance:
    """Upright with the hip at x and the hands nowhere in particular."""
    return Stance(x - 0.45j, lean, near_foot + GROUND, far_foot + GROUND, x - 0.4j, x - 0.4j)


def _upright(rng: random.Random) -> Stance:
    step = rng.choice((0.06, 0.15)) * rng.uniform(0.7, 1.0) * rng.choice((-1, 1))
    return _stand(0.0, rng.uniform(-0.06, 0.1), step - 0.03, -step - 0.03)


def _at_ease(stance: Stance, mood: int) -> Stance:
    """The stance with hands that touch nothing: hanging, on the hips, waving, akimbo."""
    near, far, elbows = (
        (0.08 + 0.33j, -0.12 + 0.33j, (1, 1)),
        (0.04 + 0.25j, 0.02 + 0.26j, (1, -1)),
        (0.2 - 0.24j, -0.1 + 0.33j, (1, 1)),
        (-0.2 + 0.27j, 0.2 + 0.26j, (1, 1)),
    )[mood]
    near_hand, far_hand = stance.shoulder + near, stance.shoulder + far
    return dataclasses.replace(stance, near_hand=near_hand, far_hand=far_hand, elbows=elbows)


def _add_tied_kite(group: Group, at: complex, rng: random.Random) -> None:
    """A kite in the air whose string ends at a peg in the ground."""
    end = complex(at.real + rng.choice((-1, 1)) * rng.uniform(0.2, 0.45), -0.02)
    group.paint(string(end, at, (at - 0.5j) / 2, rng), peg(end))
    group.add_object(objects.kite(rng).placed(Placement(at)))


def _add_waving(group: Group, x: float, rng: random.Random) -> None:
    stance = _at_ease(_upright(rng), WAVING)
    group.add_person(stance.pose(), Outfit.random(rng), place=Placement(complex(x), flip=x > 0))


def _wrench(hand: complex, towards: complex) -> tuple[Shape, ...]:
    along = (towards - hand) / max(abs(towards - hand), 1e-6)
    handle, jaw = (hand - 0.05 * along, hand + 0.15 * along), hand + 0.185 * along
    return (
        Stroke(handle, 0.055, IRON),
        Ring(jaw, 0.06, 0.045, IRON),
        Stroke(handle, 0.034, STEEL),
        Ring(jaw, 0.05, 0.026, STEEL),
    )
