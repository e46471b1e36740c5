"""What lies behind the figures: soft skies, grounds and a little scenery, never a person or object.

Coordinates are in image sides: (0, 0) is the top left corner and (1, 1) the bottom right one.
"""

import dataclasses
import math
import random

from PIL import Image

from data_pipelines.figures_hoi.shapes import (
    Color,
    Disc,
    Polygon,
    Shape,
    Stroke,
    block,
    paint,
    shade,
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Colors of a kind of place: sky and ground from top to bottom, and what it may hold."""

    sky: tuple[Color, Color]
    ground: tuple[Color, Color]
    hills: tuple[Color, ...]
    scenery: tuple[str, ...]


PLACES = (
    Place(  # park
        ((150, 200, 232), (216, 234, 240)), ((160, 200, 128), (128, 178, 104)),
        ((150, 192, 150), (168, 205, 150)), ("tree", "bush", "cloud", "fence"),
    ),
    Place(  # beach
        ((138, 204, 230), (228, 242, 240)), ((236, 218, 172), (220, 196, 146)),
        ((120, 190, 205), (135, 200, 212)), ("cloud", "palm", "sun"),
    ),
    Place(  # street
        ((190, 205, 222), (232, 234, 236)), ((176, 176, 180), (152, 152, 158)),
        ((200, 196, 200),), ("house", "house", "tree", "cloud"),
    ),
    Place(  # evening
        ((236, 172, 140), (250, 222, 186)), ((176, 166, 122), (150, 138, 102)),
        ((206, 160, 142), (190, 156, 132)), ("sun", "tree", "house", "bush"),
    ),
    Place(  # snow
        ((184, 204, 228), (226, 232, 242)), ((238, 241, 246), (216, 224, 236)),
        ((206, 216, 230), (222, 229, 240)), ("fir", "fir", "house"),
    ),
)  # fmt: skip


def background(rng: random.Random, pixels: int) -> Image.Image:
    """An RGB image of `pixels` x `pixels` with nobody in it."""
    place = rng.choice(PLACES)
    horizon = rng.uniform(0.56, 0.68)
    image = Image.new("RGB", (pixels, pixels))
    line = round(horizon * pixels)
    image.paste(_gradient(place.sky, pixels, line), (0, 0))
    image.paste(_gradient(place.ground, pixels, pixels - line), (0, line))
    paint(_scenery(place, horizon, rng), image, pixels)
    return image


def _gradient(colors: tuple[Color, Color], width: int, height: int) -> Image.Image:
    column = Image.new("RGB", (1, 2))
    column.putdata(colors)
    return column.resize((width, height), Image.Resampling.BILINEAR)


def _scenery(place: Place, horizon: float, rng: random.Random) -> list[Shape]:
    shapes: list[Shape] = []
    kinds = rng.sample(place.scenery, rng.randint(1, 3))  # one sun is enough
    for kind in sorted(kinds, key=("sun", "cloud").count, reverse=True):
        if kind in ("sun", "cloud"):
            shapes += _SCENERY[kind](rng.random(), rng.uniform(0.06, 0.3), place, rng)
    for color in place.hills:
        phase, height = rng.uniform(0, 6.3), rng.uniform(0.02, 0.07)
        crest = [
            complex(k / 12, horizon - height * (1.1 + math.sin(phase + k * 0.6))) for k in range(13)
        ]
        shapes.append(Polygon((*crest, complex(1, horizon), complex(0, horizon)), color))
    for kind in kinds:
        if kind not in ("sun", "cloud"):
            shapes += _SCENERY[kind](rng.random(), horizon + rng.uniform(0, 0.05), place, rng)
    for _ in range(rng.randint(3, 7)):  # tufts, stones, ripples
        at = complex(rng.random(), rng.uniform(horizon + 0.06, 1.0))
        color = shade(place.ground[1], rng.choice((0.9, 1.35)))
        shapes.append(Stroke((at, at + rng.uniform(0.015, 0.05)), 0.008, color))
    return shapes


def _sun(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    return [
        Disc(complex(x, y), 0.075, shade(place.sky[1], 1.6)),
        Disc(complex(x, y), 0.055, (255, 240, 190)),
    ]


def _cloud(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    color, r = shade(place.sky[1], 2.0), rng.uniform(0.03, 0.05)
    puffs = ((-1.5, 0.2, 0.75), (0, 0, 1.1), (1.5, 0.2, 0.8))
    return [Disc(complex(x + dx * r, y + dy * r), k * r, color, 0.75) for dx, dy, k in puffs]


def _tree(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    green = shade((140, 180, 128), rng.uniform(0.9, 1.15))
    h = rng.uniform(0.14, 0.24)
    shapes: list[Shape] = [Stroke((complex(x, y), complex(x, y - 0.6 * h)), 0.026, (168, 142, 120))]
    for dx, dy, r in ((-0.25, 0.75, 0.3), (0.25, 0.75, 0.3), (0, 1.0, 0.34)):
        shapes.append(Disc(complex(x + dx * h, y - dy * h), r * h, green))
    return shapes


def _fir(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    green, h = (150, 178, 170), rng.uniform(0.16, 0.26)
    shapes: list[Shape] = [Stroke((complex(x, y), complex(x, y - 0.2 * h)), 0.022, (168, 142, 120))]
    for k in range(3):
        low, half = y - (0.15 + 0.25 * k) * h, (0.34 - 0.08 * k) * h
        tip = complex(x, low - 0.42 * h)
        shapes.append(
            Polygon(
                (complex(x - half, low), tip, complex(x + half, low)), shade(green, 1 + 0.12 * k)
            )
        )
    return shapes


def _palm(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    h, lean = rng.uniform(0.2, 0.28), rng.uniform(-0.06, 0.06)
    top = complex(x + lean, y - h)
    shapes: list[Shape] = [Stroke((complex(x, y), top), 0.018, (186, 160, 128))]
    for angle in (-2.9, -2.2, -0.9, -0.2):
        leaf = top + 0.1 * complex(math.cos(angle), math.sin(angle))
        shapes.append(Stroke((top, leaf, leaf + 0.04j), 0.016, (142, 186, 142)))
    return shapes


def _bush(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    color = shade((142, 186, 128), rng.uniform(0.9, 1.1))
    return [Disc(complex(x + dx, y - 0.015), 0.035, color, 0.8) for dx in (-0.04, 0, 0.04)]


def _fence(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    wood = (206, 196, 178)
    posts = [x + 0.06 * k for k in range(5)]
    shapes: list[Shape] = [
        Stroke((complex(posts[0] - 0.02, y - dy), complex(posts[-1] + 0.02, y - dy)), 0.01, wood)
        for dy in (0.025, 0.055)
    ]
    return shapes + [Stroke((complex(p, y), complex(p, y - 0.075)), 0.014, wood) for p in posts]


def _house(x: float, y: float, place: Place, rng: random.Random) -> list[Shape]:
    wall = rng.choice(((226, 212, 196), (214, 202, 206), (204, 214, 216)))
    w, h = rng.uniform(0.07, 0.11), rng.uniform(0.12, 0.22)
    roof = (complex(x - 1.15 * w, y - h), complex(x, y - h - 0.07), complex(x + 1.15 * w, y - h))
    shapes: list[Shape] = [
        block(complex(x, y - h / 2), w, h / 2, wall),
        Polygon(roof, (196, 168, 160)),
    ]
    for dx in (-0.45, 0.45):
        window = complex(x + dx * w, y - 0.65 * h)
        shapes.append(block(window, 0.2 * w, 0.14 * h, (236, 236, 220)))
    return shapes


_SCENERY = {
    "sun": _sun, "cloud": _cloud, "tree": _tree, "fir": _fir, "palm": _palm, "bush": _bush,
    "fence": _fence, "house": _house,
}  # fmt: skip
