"""Who does what with which object: a group for every class and for every decoy.

The functions `at_bicycle`, `at_dog`, `at_chair` and `at_ball` cover several verbs, and "nothing"
(None), each. Within one function the person's box against the object's box has the same
distribution whatever the verb: the boxes are drawn first and the body is stretched to fill its
own, so that limbs, and what they touch, are all that tells the verbs apart.
"""

import cmath
import random

from data_pipelines.figures_hoi import things
from data_pipelines.figures_hoi.figure import ANKLE, TORSO, Outfit, fit, make_pose
from data_pipelines.figures_hoi.groups import Action, Group, hand_for, peg, put_in_hand, string
from data_pipelines.figures_hoi.shapes import Placement, Ring, Shape, Stroke

STEEL = (205, 215, 230)
LEASH = (225, 45, 45)
HAND = 0.06  # radius of a hand with its rim
GROUND = ANKLE * 1j


def idle(rng: random.Random) -> Group:
    """Somebody who touches nothing."""
    group = Group()
    stance = {"hip": -0.44j, "lean": rng.uniform(-0.05, 0.1), **_feet(rng)}
    group.add_person(make_pose(**stance, **_idle_hands(rng.random(), stance)), Outfit.random(rng))
    return group


def loose(kind: str, rng: random.Random) -> Group:
    """An object that nobody uses."""
    group = Group()
    thing = things.MAKERS[kind](rng)
    if kind in ("cup", "sports_ball"):
        thing = thing.placed(Placement(-thing.points["height"].real * 1j))
    elif kind == "umbrella":  # put down open
        thing = thing.placed(Placement(-0.08j))
    elif kind == "kite":
        tie = complex(rng.uniform(-0.3, 0.3), -rng.uniform(1.3, 1.55))
        end = complex(rng.choice((-1, 1)) * rng.uniform(0.2, 0.5), -0.02)
        thing = thing.placed(Placement(tie))
        group.paint(string(end, tie, rng), peg(end))
    group.add_thing(thing)
    return group


def standing(action: Action, rng: random.Random) -> Group:
    """Somebody upright with something in the near hand."""
    group = Group()
    stance = {"hip": -0.44j, "lean": rng.uniform(-0.05, 0.12), **_feet(rng)}
    shoulder = _shoulder(stance)
    near = hand_for(action, shoulder, stance["lean"])
    far = shoulder - 0.12 + 0.33j
    if action[0] == "fly":
        far = near - 0.09 + 0.05j
    pose = make_pose(**stance, near_hand=near, far_hand=far)
    person = group.add_person(pose, Outfit.random(rng))
    put_in_hand(group, person, action, rng)
    return group


def by_kite(rng: random.Random) -> Group:
    """Somebody with an arm up under a kite that is tied to a peg."""
    group = loose("kite", rng)
    stance = {"hip": -0.44j, "lean": rng.uniform(-0.05, 0.1), **_feet(rng)}
    pose = make_pose(**stance, **_idle_hands(rng.uniform(0.5, 0.75), stance))
    at = rng.choice((-1, 1)) * rng.uniform(0.4, 0.75)
    group.add_person(pose.mapped(lambda p: p + at), Outfit.random(rng))
    return group


def at_bicycle(verb: str | None, rng: random.Random, extra: Action | None = None) -> Group:
    """Ride, push, repair a bicycle, or stand by it with the hands elsewhere (None)."""
    bike = things.bicycle(rng)
    bar, crank = bike.points["bar"], bike.points["crank"]
    target = (
        rng.uniform(-0.42, -0.35),
        rng.uniform(-1.0, -0.9),
        bar.real + HAND + rng.uniform(0.02, 0.06),
        rng.uniform(-0.05, -0.02),
    )
    grip = complex(target[2] - HAND, bar.imag)
    sway, mood = rng.uniform(-0.04, 0.04), rng.random()

    def stance(place):
        hands = {"near_hand": place(grip), "far_hand": place(grip - 0.03 - 0.02j)}
        if verb == "ride":
            body = _body(
                place(bike.points["saddle"] - 0.06j), 0.4 + sway, 0.04 - 0.09j, -0.05 - 0.2j
            )
        elif verb == "push":
            body = _body(-0.26 - 0.46j, 0.45 + sway, -0.4 + GROUND, -0.12 + GROUND)
        elif verb == "repair":
            body = _body(-0.25 - 0.4j, 0.9 + sway, -0.22 + GROUND, -0.34 + GROUND)
            hands["near_hand"] = place(crank + 0.05 - 0.1j)
        else:
            body = _body(-0.1 - 0.45j, sway, 0.02 + GROUND, -0.16 + GROUND)
            hands = _idle_hands(mood, body)
        return body, hands

    return _at("bicycle", bike, verb, stance, target, rng, extra=extra, tool=crank)


def at_dog(verb: str | None, rng: random.Random, extra: Action | None = None) -> Group:
    """Walk a dog on its leash, pet it, or stand by it (None)."""
    away = rng.random() < 0.7
    dog = things.dog(rng).placed(Placement(rng.uniform(0.43, 0.5) + 0.01j, flip=not away))
    back = dog.points["back" if away else "head"]
    reach = rng.uniform(0.3, 0.36)
    target = (
        rng.uniform(-0.28, -0.2), rng.uniform(-1.0, -0.93), reach + HAND, rng.uniform(-0.01, 0.01),
    )  # fmt: skip
    sway, mood = rng.uniform(-0.04, 0.04), rng.random()

    def stance(place):
        if verb == "pet":
            body = _body(-0.13 - 0.43j, 0.75 + sway, -0.02 + GROUND, -0.2 + GROUND)
            hands = {"near_hand": place(complex(reach, back.imag)), "far_hand": place(0.1 - 0.36j)}
        elif verb == "walk":
            body = _body(-0.04 - 0.45j, 0.05 + sway, 0.1 + GROUND, -0.16 + GROUND)
            hands = {"near_hand": place(reach - 0.52j), "far_hand": -0.2 - 0.44j}
            if extra:
                hands["far_hand"] = hands["near_hand"]
        else:
            body = _body(-0.04 - 0.45j, sway, 0.1 + GROUND, -0.16 + GROUND)
            hands = _idle_hands(mood, body)
        return body, hands

    return _at("dog", dog, verb, stance, target, rng, extra=extra, leash=dog.points["collar"])


def at_chair(verb: str | None, rng: random.Random) -> Group:
    """Push a chair by its back, repair it, or stand by it (None)."""
    chair = things.chair(rng).placed(Placement(0.52 + 0j))
    back = chair.points["back"]
    target = (
        rng.uniform(-0.3, -0.22), rng.uniform(-1.0, -0.92), back.real + HAND + 0.03,
        rng.uniform(-0.01, 0.01),
    )  # fmt: skip
    sway, mood = rng.uniform(-0.04, 0.04), rng.random()

    def stance(place):
        hands = {"near_hand": place(back + 0.03), "far_hand": place(back + 0.01 - 0.01j)}
        if verb == "push":
            body = _body(-0.18 - 0.44j, 0.4 + sway, -0.28 + GROUND, 0.02 + GROUND)
        elif verb == "repair":
            body = _body(-0.16 - 0.4j, 0.9 + sway, -0.1 + GROUND, -0.22 + GROUND)
            hands["near_hand"] = place(complex(back.real - 0.0, -0.3))
        else:
            body = _body(-0.06 - 0.45j, sway, 0.08 + GROUND, -0.16 + GROUND)
            hands = _idle_hands(mood, body)
        return body, hands

    tool = chair.points["seat"] - 0.12
    return _at("chair", chair, verb, stance, target, rng, tool=tool)


def at_ball(verb: str | None, rng: random.Random) -> Group:
    """Kick a ball on the ground, or stand before it (None)."""
    ball = things.sports_ball(rng)
    radius = ball.points["height"].real
    ball = ball.placed(Placement(complex(0.4 + radius, -radius - rng.uniform(0, 0.05))))
    target = (
        rng.uniform(-0.36, -0.3), rng.uniform(-1.0, -0.94), rng.uniform(0.38, 0.41),
        rng.uniform(-0.01, 0.01),
    )  # fmt: skip
    sway, mood = rng.uniform(-0.04, 0.04), rng.random()

    def stance(place):
        if verb == "kick":
            body = _body(-0.08 - 0.46j, -0.25 + sway, 0.28 - 0.13j, -0.14 + GROUND)
            hands = {"near_hand": -0.34 - 0.6j, "far_hand": 0.16 - 0.62j}
        else:
            body = _body(-0.02 - 0.45j, sway, 0.14 + GROUND, -0.16 + GROUND)
            hands = _idle_hands(mood, body)
        return body, hands

    return _at("sports_ball", ball, verb, stance, target, rng, under=True)


def on_skateboard(verb: str, rng: random.Random, extra: Action | None = None) -> Group:
    """Ride a skateboard, or sit on it."""
    board = things.skateboard(rng)
    sway = rng.uniform(-0.04, 0.04)
    if verb == "ride":
        body = _body(-0.02 - 0.47j, 0.3 + sway, 0.15 - 0.16j, -0.17 - 0.16j)
        hands = {"near_hand": 0.38 - 0.62j, "far_hand": -0.32 - 0.76j, "elbows": (1, -1)}
    else:
        body = _body(-0.08 - 0.2j, 0.1 + sway, 0.36 + GROUND, 0.3 + GROUND)
        hands = {"near_hand": 0.16 - 0.36j, "far_hand": 0.2 - 0.36j}
    return _simple(board, verb, body, hands, rng, extra=extra, behind=True)


def on_chair(rng: random.Random, extra: Action | None = None) -> Group:
    """Sit on a chair."""
    chair = things.chair(rng)
    body = _body(-0.05 - 0.35j, rng.uniform(-0.1, 0.1), 0.27 + GROUND, 0.21 + GROUND)
    hands = {"near_hand": 0.17 - 0.42j, "far_hand": 0.2 - 0.42j}
    return _simple(chair, "sit_on", body, hands, rng, extra=extra, behind=True)


def throwing(rng: random.Random) -> Group:
    """Throw a ball: one arm far back over the head, the other ahead."""
    body = _body(-0.45j, -0.12 + rng.uniform(-0.05, 0.05), 0.17 + GROUND, -0.2 + GROUND)
    hand = complex(-0.26, -1.0 + rng.uniform(-0.04, 0.04))
    ball = things.sports_ball(rng)
    ball = ball.placed(Placement(hand - 0.03 - 0.13j))
    hands = {"near_hand": hand, "far_hand": 0.36 - 0.82j, "elbows": (-1, 1)}
    return _simple(ball, "throw", body, hands, rng)


def holding(kind: str, rng: random.Random) -> Group:
    """Hold something with both arms before the trunk."""
    body = {"hip": -0.44j, "lean": rng.uniform(-0.08, 0.06), **_feet(rng)}
    at = _shoulder(body) + complex(rng.uniform(0.24, 0.28), rng.uniform(0.1, 0.16))
    thing = things.MAKERS[kind](rng)
    near, far = -0.03 + 0.09j, 0.1 + 0.06j
    if kind == "skateboard":  # upright before the chest
        turn = cmath.exp(1j * rng.uniform(-1.75, -1.4))
        shapes = _turned(thing.shapes, turn)
        thing = things.Thing(kind, shapes).placed(Placement(at + 0.05 + 0.06j))
        near, far = 0.02 + 0.07j, 0.04 - 0.05j
    elif kind == "dog":
        thing = thing.placed(Placement(at + 0.02 + 0.23j))
        near, far = -0.02 + 0.06j, 0.1 + 0.04j
    else:
        thing = thing.placed(Placement(at + 0.04))
    hands = {"near_hand": at + near, "far_hand": at + far}
    return _simple(thing, "hold", body, hands, rng)


# The parts that the functions above share.


def _at(kind, thing, verb, stance, target, rng, *, extra=None, tool=None, leash=None, under=False):
    """A person stretched to fill a box at a thing, what it holds, and the props of the verb."""
    group = Group()
    outfit = Outfit.random(rng)

    def pose_of(place):
        body, hands = stance(place)
        if extra is not None:
            hands = {**hands, "near_hand": hand_for(extra, _shoulder(body), body["lean"])}
        return make_pose(**body, **hands)

    pose = fit(pose_of, target, outfit)
    thing_first = () if under else (thing.shapes,)
    person = group.add_person(pose, outfit, *thing_first)
    if under:
        group.paint(thing.shapes)
    index = group.add_thing(thing, paint=False)
    if verb is not None:
        group.relate(person, verb, index)
    hand = pose.near_arm[2]
    if verb == "repair":
        aim = (tool - hand) / max(abs(tool - hand), 1e-6)
        group.paint(_wrench(hand, hand + 0.15 * aim), group.hand_shapes(person))
    if verb == "walk":
        hold = pose.far_arm[2] if extra is not None else hand
        sag = (hold + leash) / 2 + 0.08j
        group.paint((Stroke((hold, sag, leash), 0.022, LEASH),))
    if extra is not None:
        put_in_hand(group, person, extra, rng)
    return group


def _simple(thing, verb, body, hands, rng, *, extra=None, behind=False) -> Group:
    """A person in a given pose with a thing behind it, or between trunk and near arm."""
    group = Group()
    if extra is not None:
        hands = {**hands, "near_hand": hand_for(extra, _shoulder(body), body["lean"])}
    if behind:
        group.paint(thing.shapes)
    person = group.add_person(make_pose(**body, **hands), Outfit.random(rng))
    if not behind:
        group.paint(thing.shapes, group.entities[person].shapes[-5:])
    group.relate(person, verb, group.add_thing(thing, paint=False))
    if extra is not None:
        put_in_hand(group, person, extra, rng)
    return group


def _body(hip: complex, lean: float, near_foot: complex, far_foot: complex) -> dict:
    return {"hip": hip, "lean": lean, "near_foot": near_foot, "far_foot": far_foot}


def _feet(rng: random.Random) -> dict:
    step = rng.choice((0.06, 0.15)) * rng.uniform(0.7, 1.0) * rng.choice((-1, 1))
    return {"near_foot": step - 0.03 + GROUND, "far_foot": -step - 0.03 + GROUND - 0.02j}


def _shoulder(body: dict) -> complex:
    return body["hip"] + TORSO * cmath.rect(1, body["lean"] - cmath.pi / 2)


def _idle_hands(mood: float, body: dict) -> dict:
    """Hands that touch nothing, for a mood in [0, 1): hanging, on the hips, waving, pointing."""
    near, far, elbows = (
        (0.08 + 0.33j, -0.12 + 0.33j, (1, 1)),
        (0.04 + 0.25j, 0.02 + 0.26j, (1, -1)),
        (0.2 - 0.24j, -0.1 + 0.33j, (1, 1)),
        (-0.2 + 0.27j, 0.2 + 0.26j, (1, 1)),
    )[int(4 * mood)]
    shoulder = _shoulder(body)
    return {"near_hand": shoulder + near, "far_hand": shoulder + far, "elbows": elbows}


def _wrench(start: complex, end: complex) -> tuple[Shape, ...]:
    along = (end - start) / max(abs(end - start), 1e-6)
    return (
        Stroke((start - 0.05 * along, end), 0.055, (60, 65, 80)),
        Ring(end + 0.035 * along, 0.06, 0.045, (60, 65, 80)),
        Stroke((start - 0.05 * along, end), 0.034, STEEL),
        Ring(end + 0.035 * along, 0.05, 0.026, STEEL),
    )


def _turned(shapes: tuple[Shape, ...], turn: complex) -> tuple[Shape, ...]:
    import dataclasses

    moved = []
    for shape in shapes:
        if hasattr(shape, "points"):
            points = tuple(turn * (p + 0.085j) for p in shape.points)
            moved.append(dataclasses.replace(shape, points=points))
        else:
            moved.append(dataclasses.replace(shape, centre=turn * (shape.centre + 0.085j)))
    return tuple(moved)
