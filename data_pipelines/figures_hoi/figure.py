"""People with limbs: a skeleton, what it wears, and the shapes that draw it.

Frame: the figure faces right, x grows to the right, y down, its ground is y = 0 and a person who
stands upright is about 1 tall. `near` limbs are drawn over the body, `far` ones behind it.
"""

import dataclasses
import math
import random
from collections.abc import Callable

from data_pipelines.figures_hoi.shapes import (
    Color,
    Disc,
    Extent,
    Placement,
    Polygon,
    Shape,
    Stroke,
    extent,
    shade,
)

TORSO = 0.30
NECK = 0.15
HEAD = 0.108  # radius
LEG = 0.225  # thigh and shin
ARM = 0.185  # upper and lower arm
ANKLE = -0.045  # height of the ankle of a foot on the ground
LINE = 0.014  # dark rim around every limb
FIT_STEPS = 9

SKINS = ((255, 219, 180), (241, 194, 150), (224, 172, 120), (182, 120, 78), (141, 85, 54))
HAIRS = ((45, 34, 30), (94, 58, 34), (196, 148, 72), (150, 60, 40), (120, 120, 125))
SHIRTS = (
    (232, 72, 72), (52, 120, 210), (250, 190, 50), (60, 165, 95), (150, 95, 190),
    (245, 130, 60), (240, 240, 235), (230, 110, 160), (60, 60, 75),
)  # fmt: skip
TROUSERS = ((45, 62, 105), (72, 72, 82), (120, 90, 62), (35, 85, 80), (165, 150, 120), (95, 45, 70))
SHOES = ((60, 40, 35), (245, 245, 240), (190, 50, 50), (30, 30, 40))


@dataclasses.dataclass(frozen=True)
class Outfit:
    """What one person looks like in any pose."""

    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    long_hair: bool
    cap: bool

    @classmethod
    def random(cls, rng: random.Random) -> "Outfit":
        """Draw one."""
        return cls(
            skin=rng.choice(SKINS),
            hair=rng.choice(HAIRS),
            shirt=rng.choice(SHIRTS),
            trousers=rng.choice(TROUSERS),
            shoes=rng.choice(SHOES),
            long_hair=rng.random() < 0.35,
            cap=rng.random() < 0.2,
        )


Limb = tuple[complex, complex, complex]  # root, middle joint, end


@dataclasses.dataclass(frozen=True)
class Pose:
    """The joints of a figure."""

    head: complex
    shoulder: complex
    hip: complex
    near_arm: Limb
    far_arm: Limb
    near_leg: Limb
    far_leg: Limb

    def joints(self) -> tuple[complex, ...]:
        """All joints in a fixed order, for whoever wants to tell poses apart."""
        limbs = (self.near_arm, self.far_arm, self.near_leg, self.far_leg)
        return (self.head, self.shoulder, self.hip, *(p for limb in limbs for p in limb))

    def mapped(self, move: Callable[[complex], complex]) -> "Pose":
        """Every joint moved by a function of a point."""
        fields = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            fields[field.name] = tuple(map(move, value)) if type(value) is tuple else move(value)
        return Pose(**fields)


@dataclasses.dataclass(frozen=True)
class Stance:
    """A pose in few numbers; arms and legs that are too short for it grow.

    Attributes:
        hip: position.
        lean: angle of the trunk from upright, forwards, in radians.
        near_foot: position of the ankle.
        far_foot: alike.
        near_hand: position.
        far_hand: alike.
        elbows: near, far: +1 where the elbow points down and back, -1 up and forwards.
    """

    hip: complex
    lean: float
    near_foot: complex
    far_foot: complex
    near_hand: complex
    far_hand: complex
    elbows: tuple[int, int] = (1, 1)

    @property
    def shoulder(self) -> complex:
        """Upper end of the trunk."""
        return self.hip + TORSO * _upwards(self.lean)

    def pose(self) -> Pose:
        """The whole skeleton."""
        shoulder = self.shoulder
        near_arm, far_arm = shoulder + (-0.015 + 0.015j), shoulder + (0.03 + 0.01j)
        return Pose(
            head=shoulder + NECK * _upwards(0.5 * self.lean),
            shoulder=shoulder,
            hip=self.hip,
            near_arm=_limb(near_arm, self.near_hand, ARM, self.elbows[0]),
            far_arm=_limb(far_arm, self.far_hand, ARM, self.elbows[1]),
            near_leg=_limb(self.hip - 0.02, self.near_foot, LEG, -1),
            far_leg=_limb(self.hip + 0.025, self.far_foot, LEG, -1),
        )


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A pose and its shapes: limbs behind the trunk, trunk with head and near leg, near arm."""

    pose: Pose
    far: tuple[Shape, ...]
    trunk: tuple[Shape, ...]
    arm: tuple[Shape, ...]
    hand: tuple[Shape, ...]  # what closes over a held object; part of `arm`

    def placed(self, place: Placement) -> "Drawn":
        """The figure somewhere else."""
        parts = (self.far, self.trunk, self.arm, self.hand)
        moved = (tuple(shape.placed(place) for shape in part) for part in parts)
        return Drawn(self.pose.mapped(place), *moved)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """All of them, in the order of painting."""
        return self.far + self.trunk + self.arm


def draw(pose: Pose, outfit: Outfit) -> Drawn:
    """The shapes of a figure in the pose's frame."""
    dim = 0.8  # limbs on the far side lie in the shade
    far = [
        *_leg(pose.far_leg, shade(outfit.trousers, dim), shade(outfit.shoes, dim)),
        *_arm(pose.far_arm, shade(outfit.shirt, dim), shade(outfit.skin, 0.9)),
    ]
    trunk = (pose.shoulder, pose.hip)
    waist = 0.25 * pose.shoulder + 0.75 * pose.hip
    body = [
        Stroke(trunk, 0.2 + 2 * LINE, shade(outfit.shirt, 0.6)),
        Disc(pose.hip, 0.1, outfit.trousers),
        *_leg(pose.near_leg, outfit.trousers, outfit.shoes),
        Stroke((pose.shoulder, waist), 0.2, outfit.shirt),
        *_head(pose, outfit),
    ]
    arm = _arm(pose.near_arm, shade(outfit.shirt, 1.25), outfit.skin)
    return Drawn(pose, tuple(far), tuple(body), tuple(arm), (arm[3],))


def fit(
    stance: Callable[[Callable[[complex], complex]], Stance], target: Extent, outfit: Outfit
) -> Pose:
    """Stretch a pose until the drawn figure fills a box, its hands staying where told.

    The body is stretched along x and y, which makes different actions share one distribution of
    boxes. A point of the outside world that the figure must touch (a handlebar, say) has to lie
    inside of the box.

    Args:
        stance: called with `place`, builds the stance; it calls `place(point)` on every position
            that belongs to the outside world.
        target: the box.
        outfit: what is worn, as hair and shoes count for the box.

    Returns:
        A pose whose drawing fills `target` to about a thousandth.
    """
    scale, shift = (1.0, 1.0), (0.0, 0.0)

    def inverse(p: complex) -> complex:
        return complex((p.real - shift[0]) / scale[0], (p.imag - shift[1]) / scale[1])

    def forward(p: complex) -> complex:
        return complex(p.real * scale[0] + shift[0], p.imag * scale[1] + shift[1])

    for _ in range(FIT_STEPS):
        pose = stance(inverse).pose().mapped(forward)
        box = extent(draw(pose, outfit).shapes)
        # Widths of limbs do not stretch, touching hands do not move: approach in steps.
        ratio = [(target[k + 2] - target[k]) / (box[k + 2] - box[k]) for k in (0, 1)]
        shift = tuple(ratio[k] * (shift[k] - box[k]) + target[k] for k in (0, 1))
        scale = tuple(ratio[k] * scale[k] for k in (0, 1))
    return stance(inverse).pose().mapped(forward)


def _upwards(angle: float) -> complex:
    return complex(math.sin(angle), -math.cos(angle))


def _limb(root: complex, end: complex, length: float, bend: int) -> Limb:
    """Two equal bones from root to end; bend tells the side of the middle joint."""
    reach = end - root
    distance = abs(reach)
    if distance < 1e-6:
        return root, root + length * 1j, end
    side = math.sqrt(max(length**2 - distance**2 / 4, 0.0))
    return root, root + reach / 2 + bend * side * (reach / distance) * 1j, end


def _arm(limb: Limb, sleeve: Color, skin: Color) -> list[Shape]:
    root, elbow, hand = limb
    half = elbow + 0.25 * (hand - elbow)
    return [
        Stroke(limb, 0.075 + 2 * LINE, shade(sleeve, 0.55)),
        Disc(hand, 0.046 + LINE, shade(skin, 0.55)),
        Stroke((elbow, hand), 0.062, skin),
        Disc(hand, 0.046, skin),
        Stroke((root, elbow, half), 0.075, sleeve),
    ]


def _leg(limb: Limb, cloth: Color, shoe: Color) -> list[Shape]:
    foot = limb[2]
    toe = foot + (0.07 + 0.012j)
    return [
        Stroke(limb, 0.092 + 2 * LINE, shade(cloth, 0.6)),
        Stroke((foot, toe), 0.066 + LINE, shade(shoe, 0.55)),
        Stroke(limb, 0.092, cloth),
        Stroke((foot + 0.012j, toe), 0.062, shoe),
    ]


def _head(pose: Pose, outfit: Outfit) -> list[Shape]:
    head = pose.head
    up = head - pose.shoulder
    up /= max(abs(up), 1e-6)
    ahead = up * 1j  # the way the face looks
    hair = shade(outfit.shirt, 0.75) if outfit.cap else outfit.hair
    shapes: list[Shape] = [
        Stroke((pose.shoulder, head), 0.07, shade(outfit.skin, 0.85)),
        Disc(head, HEAD + LINE, shade(outfit.hair, 0.8)),
        Disc(head, HEAD, outfit.skin),
    ]
    if outfit.long_hair:
        nape = head - 0.085 * ahead
        shapes.append(Stroke((nape + 0.03 * up, nape - 0.10 * up), 0.06, outfit.hair))
    # The crown: the part of the head's circle above a line that drops towards the nape.
    arc = [math.radians(a) for a in range(22, 233, 21)]
    crown = [head + (HEAD + LINE * 0.6) * (math.sin(a) * up + math.cos(a) * ahead) for a in arc]
    shapes.append(Polygon(tuple(crown), hair))
    if outfit.cap:
        brim = head + 0.045 * up
        shapes.append(Stroke((brim + 0.06 * ahead, brim + 0.145 * ahead), 0.028, shade(hair, 0.8)))
    shapes.append(Disc(head + 0.055 * ahead - 0.015 * up, 0.016, (35, 30, 30)))
    return shapes
