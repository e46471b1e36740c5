"""The objects of the rendered data set: how each is drawn and where hands and feet go.

Frame as for figures: x to the right (the way the object faces), y down, a standing person is about
1 tall. Objects that stand do so on y = 0 with x = 0 in their middle; a cup, ball, kite or dog in
somebody's arms is moved by a `Placement`. Every kind has colors of its own, so that a small
network can tell kinds apart at 128 pixels.
"""

import cmath
import dataclasses
import math
import random

from data_pipelines.figures_hoi.shapes import (
    Color,
    Disc,
    Extent,
    Placement,
    Polygon,
    Ring,
    Shape,
    Stroke,
    block,
    curve,
    extent,
    shade,
)

DARK = (38, 36, 42)


@dataclasses.dataclass(frozen=True)
class Object:
    """An object of some kind: its shapes and the named points that bodies touch."""

    kind: str
    shapes: tuple[Shape, ...]
    points: dict[str, complex] = dataclasses.field(default_factory=dict)

    def extent(self) -> Extent:
        """The box around it."""
        return extent(self.shapes)

    def placed(self, place: Placement) -> "Object":
        """The object somewhere else."""
        return Object(
            self.kind,
            tuple(shape.placed(place) for shape in self.shapes),
            {name: place(point) for name, point in self.points.items()},
        )


def _around(color: Color, rng: random.Random, spread: int = 14) -> Color:
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in color)
    return red, green, blue


def bicycle(rng: random.Random) -> Object:
    """Red, in profile, about 0.95 long and 0.58 high."""
    red = _around((205, 35, 45), rng)
    wheel = rng.uniform(0.185, 0.205)
    base = rng.uniform(0.265, 0.3)
    rear, front = complex(-base, -wheel), complex(base, -wheel)
    crank = complex(-0.03, -wheel + 0.005)
    saddle = complex(-0.16, -rng.uniform(0.45, 0.48))
    bar = complex(0.2, -rng.uniform(0.55, 0.6))
    stem = complex(0.195, -0.45)
    shapes: list[Shape] = []
    for hub in (rear, front):
        shapes.append(Ring(hub, wheel, 0.042, DARK))
        for k in range(4):
            spoke = 0.8 * wheel * cmath.exp(1j * math.pi * (k + 0.3) / 4)
            shapes.append(Stroke((hub - spoke, hub + spoke), 0.008, (150, 150, 155)))
        shapes.append(Disc(hub, 0.03, (150, 150, 155)))
    seat_tube = saddle + (0.02 + 0.03j)
    frame = (rear, crank, stem, saddle + (0.025 + 0.06j), rear)
    shapes += [
        Stroke(frame, 0.044, red),
        Stroke((crank, seat_tube), 0.044, red),
        Stroke((front, stem, bar - 0.03), 0.042, shade(red, 0.85)),
        Stroke((bar - 0.05, bar + 0.02), 0.036, DARK),
        Stroke((saddle - 0.07, saddle + 0.06), 0.046, DARK),
        Disc(crank, 0.052, (95, 95, 100)),
    ]
    return Object("bicycle", tuple(shapes), {"saddle": saddle, "bar": bar, "crank": crank})


def skateboard(rng: random.Random) -> Object:
    """Orange deck on pale wheels, about 0.6 long, on the ground."""
    deck = _around((255, 120, 0), rng, 8)
    half = rng.uniform(0.27, 0.31)
    y = -0.085
    points = (-half + (y - 0.03) * 1j, -0.75 * half + y * 1j, 0.75 * half + y * 1j)
    points += (half + (y - 0.03) * 1j,)
    shapes: list[Shape] = []
    for x in (-0.6 * half, 0.6 * half):
        shapes += [Disc(x - 0.042j, 0.042, DARK), Disc(x - 0.042j, 0.024, (245, 245, 235))]
    shapes += [
        Stroke(points, 0.062, shade(deck, 0.6)),
        Stroke(points, 0.042, deck),
    ]
    return Object("skateboard", tuple(shapes))


def sports_ball(rng: random.Random) -> Object:
    """Bright yellow-green with a dark seam; origin in its middle."""
    color = _around((212, 240, 40), rng, 8)
    r = rng.uniform(0.12, 0.135)
    turn = cmath.exp(1j * rng.uniform(0, math.pi))
    seam = [
        tuple(turn * p for p in curve(s * r * (0.75 + 0.5j), s * 0.1 * r, s * r * (0.75 - 0.5j), 6))
        for s in (-1, 1)
    ]
    shapes = [
        Disc(0j, r, shade(color, 0.45)),
        Disc(0j, r - 0.016, color),
        Stroke(seam[0], 0.02, shade(color, 0.4)),
        Stroke(seam[1], 0.02, shade(color, 0.4)),
    ]
    return Object("sports_ball", tuple(shapes))


def kite(rng: random.Random) -> Object:
    """A magenta and yellow diamond with a tail; origin where the string is tied."""
    pink = _around((235, 30, 150), rng, 10)
    yellow = (255, 225, 40)
    w, up, down = rng.uniform(0.17, 0.19), 0.2, 0.27
    turn = cmath.exp(1j * rng.uniform(-0.35, 0.35))
    top, right, bottom, left = (turn * p for p in (-up * 1j, complex(w), down * 1j, complex(-w)))
    rim = tuple(1.09 * p for p in (top, right, bottom, left))
    end = bottom + complex(rng.uniform(-0.12, 0.12), 0.16)
    tail = curve(bottom, bottom + complex(rng.choice((-0.12, 0.12)), 0.08), end, 6)
    shapes = [
        Stroke(tail, 0.022, shade(pink, 0.7)),
        *(Disc(p, 0.026, yellow) for p in tail[3::3]),
        Polygon(rim, shade(pink, 0.5)),
        Polygon((top, right, 0j), pink),
        Polygon((bottom, left, 0j), pink),
        Polygon((top, left, 0j), yellow),
        Polygon((bottom, right, 0j), yellow),
    ]
    return Object("kite", tuple(shapes))


def umbrella(rng: random.Random) -> Object:
    """Open, violet and white; origin at the handle, the canopy's top 0.75 above."""
    violet = _around((110, 60, 215), rng, 10)
    radius = rng.uniform(0.33, 0.37)
    rim = -0.5
    top = complex(0, rim - 0.78 * radius)
    dome = [
        complex(radius * math.cos(a), rim - 0.78 * radius * math.sin(a))
        for a in (math.pi * k / 12 for k in range(13))
    ]
    scallops = [complex((2 * k / 6 - 1) * radius, rim - 0.045 * (k % 2)) for k in range(7)]
    left, right = complex(-radius / 3, rim), complex(radius / 3, rim)
    gore = [*curve(top, left + 0.12 * top, left, 4), rim * 1j - 0.045j]
    gore += curve(right, right + 0.12 * top, top, 4)
    shapes = [
        Stroke((0.03j, top - 0.02j), 0.034, (70, 60, 60)),
        Stroke(curve(0.03j, 0.09j + 0.02, 0.05 + 0.05j, 4), 0.034, (70, 60, 60)),
        Polygon((*dome, *scallops), violet),
        Polygon(tuple(gore), (238, 232, 250)),
        Stroke(tuple(dome), 0.018, shade(violet, 0.6)),
    ]
    return Object("umbrella", tuple(shapes))


def cup(rng: random.Random) -> Object:
    """A big white mug with a cyan band; origin where a hand holds it."""
    cyan = _around((0, 195, 225), rng, 8)
    w, h = 0.088, rng.uniform(0.095, 0.105)
    rim = shade(cyan, 0.4)
    shapes = [
        Ring(complex(w + 0.02, 0), 0.06, 0.03, rim),
        block(0j, w, h, rim),
        block(0j, w - 0.016, h - 0.016, cyan),
        block(0j, w - 0.016, 0.35 * h, (250, 250, 250)),
    ]
    return Object("cup", tuple(shapes))


def chair(rng: random.Random) -> Object:
    """Wooden, its back on the left, the seat 0.27 high."""
    wood = _around((150, 85, 35), rng, 10)
    dark = shade(wood, 0.7)
    half = 0.2
    seat, back = -0.27, -rng.uniform(0.62, 0.68)
    shapes = [
        Stroke((complex(-half + 0.05, seat), complex(-half + 0.05, -0.03)), 0.04, shade(wood, 0.5)),
        Stroke((complex(half - 0.05, seat), complex(half - 0.05, -0.03)), 0.04, shade(wood, 0.5)),
        Stroke((complex(-half - 0.03, back), complex(-half, seat)), 0.052, dark),
        Stroke((complex(-half, seat), complex(-half, -0.02)), 0.05, dark),
        Stroke((complex(half, seat), complex(half, -0.02)), 0.05, dark),
        Stroke(
            (complex(-half - 0.03, back + 0.03), complex(-half - 0.015, back + 0.16)), 0.09, wood
        ),
        Stroke((complex(-half, seat), complex(half, seat)), 0.068, dark),
        Stroke((complex(-half, seat - 0.005), complex(half, seat - 0.005)), 0.05, wood),
    ]
    points = {"seat": complex(0, seat), "back": complex(-half - 0.03, back)}
    return Object("chair", tuple(shapes), points)


def dog(rng: random.Random) -> Object:
    """Gray-and-white husky in profile, facing right, about 0.55 long and 0.45 high."""
    coat = _around((98, 108, 122), rng, 8)
    pale = (236, 236, 232)
    rim = shade(coat, 0.55)
    body = (-0.15 - 0.23j, 0.11 - 0.24j)
    head = 0.2 - 0.36j
    legs = [-0.17, -0.1, 0.07, 0.14]
    tail = curve(-0.18 - 0.27j, -0.3 - 0.28j, -0.26 - rng.uniform(0.4, 0.44) * 1j, 6)
    shapes: list[Shape] = [Stroke(tail, 0.055, rim)]
    for k, x in enumerate(legs):
        color = shade(coat, 0.7) if k % 2 else pale
        shapes.append(Stroke((complex(x, -0.2), complex(x, -0.035)), 0.062, rim))
        shapes.append(Stroke((complex(x, -0.2), complex(x, -0.035)), 0.046, color))
    shapes += [
        Stroke(body, 0.19, rim),
        Stroke((0.12 - 0.26j, head), 0.14, rim),
        Stroke(body, 0.165, coat),
        Stroke((-0.12 - 0.19j, 0.08 - 0.2j), 0.07, pale),
        Stroke((0.12 - 0.26j, head), 0.115, coat),
        Disc(head, 0.098, rim),
        Stroke((head + 0.03 + 0.02j, head + 0.11 + 0.035j), 0.085, rim),
        Disc(head, 0.085, coat),
        Stroke((head + 0.03 + 0.02j, head + 0.11 + 0.035j), 0.066, pale),
        Disc(head + 0.145 + 0.02j, 0.024, DARK),
        Disc(head + 0.035 - 0.025j, 0.017, DARK),
        Polygon((head - 0.07 - 0.04j, head - 0.05 - 0.16j, head + 0.01 - 0.08j), rim),
        Stroke((0.07 - 0.29j, 0.17 - 0.25j), 0.035, (225, 45, 45)),
    ]
    points = {"collar": 0.1 - 0.29j, "back": -0.07 - 0.32j, "head": head - 0.08j}
    return Object("dog", tuple(shapes), points)


MAKERS = {
    maker.__name__: maker
    for maker in (bicycle, skateboard, sports_ball, kite, umbrella, cup, chair, dog)
}
