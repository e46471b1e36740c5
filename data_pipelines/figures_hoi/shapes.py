"""The rendered data set's drawing primitives: strokes, discs, rings and polygons.

A point is a complex number x + iy, y pointing down, so that a similarity is one product and one
sum. Every shape knows its exact extent, which is how an entity's box is found without looking at a
pixel, and can be moved by a `Placement`. Lengths are in whatever unit the points are in.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

Color = tuple[int, int, int]
Extent = tuple[float, float, float, float]  # x1, y1, x2, y2


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mirror image about the y axis if `flip`, then a turn (|turn| = 1), a scale and a shift."""

    shift: complex = 0j
    scale: float = 1.0
    flip: bool = False
    turn: complex = 1.0

    def __call__(self, point: complex) -> complex:
        point = complex(-point.real, point.imag) if self.flip else point
        return self.shift + self.scale * self.turn * point


@dataclasses.dataclass(frozen=True)
class Stroke:
    """A line through the points with round ends and joints."""

    points: tuple[complex, ...]
    width: float
    color: Color

    def extent(self) -> Extent:
        """Bounding box."""
        return _around(self.points, self.width / 2)

    def placed(self, place: Placement) -> "Stroke":
        """The stroke somewhere else."""
        return Stroke(tuple(map(place, self.points)), self.width * place.scale, self.color)

    def draw(self, canvas: ImageDraw.ImageDraw, unit: float) -> None:
        """Draw with `unit` canvas pixels for a unit of length."""
        width = self.width * unit
        points = [(p.real * unit, p.imag * unit) for p in self.points]
        # Pillow's line reaches half a pixel past the width asked for; the caps are exact.
        canvas.line(points, fill=self.color, width=max(1, round(width - 0.5)))
        if width >= 3:
            for x, y in points:
                _ellipse(canvas, x, y, width / 2, width / 2, self.color)


@dataclasses.dataclass(frozen=True)
class Disc:
    """A filled ellipse with axes along x and y; `stretch` is its height over its width.

    The axes stay where they are when the disc is turned.
    """

    center: complex
    radius: float
    color: Color
    stretch: float = 1.0

    def extent(self) -> Extent:
        """Bounding box."""
        return _around((self.center,), self.radius, self.radius * self.stretch)

    def placed(self, place: Placement) -> "Disc":
        """The disc somewhere else."""
        return Disc(place(self.center), self.radius * place.scale, self.color, self.stretch)

    def draw(self, canvas: ImageDraw.ImageDraw, unit: float) -> None:
        """Draw with `unit` canvas pixels for a unit of length."""
        x, y, r = self.center.real * unit, self.center.imag * unit, self.radius * unit
        _ellipse(canvas, x, y, r, r * self.stretch, self.color)


@dataclasses.dataclass(frozen=True)
class Ring:
    """A circle drawn with a pen of some width, inside of `radius`."""

    center: complex
    radius: float
    width: float
    color: Color

    def extent(self) -> Extent:
        """Bounding box."""
        return _around((self.center,), self.radius)

    def placed(self, place: Placement) -> "Ring":
        """The ring somewhere else."""
        return Ring(
            place(self.center), self.radius * place.scale, self.width * place.scale, self.color
        )

    def draw(self, canvas: ImageDraw.ImageDraw, unit: float) -> None:
        """Draw with `unit` canvas pixels for a unit of length."""
        x, y, r = self.center.real * unit, self.center.imag * unit, self.radius * unit
        width = max(1, round(self.width * unit))
        canvas.ellipse(_corners(x, y, r, r), outline=self.color, width=width)


@dataclasses.dataclass(frozen=True)
class Polygon:
    """A filled polygon."""

    points: tuple[complex, ...]
    color: Color

    def extent(self) -> Extent:
        """Bounding box."""
        return _around(self.points, 0.0)

    def placed(self, place: Placement) -> "Polygon":
        """The polygon somewhere else."""
        return Polygon(tuple(map(place, self.points)), self.color)

    def draw(self, canvas: ImageDraw.ImageDraw, unit: float) -> None:
        """Draw with `unit` canvas pixels for a unit of length."""
        canvas.polygon([(p.real * unit, p.imag * unit) for p in self.points], fill=self.color)


Shape = Stroke | Disc | Ring | Polygon


def extent(shapes: Iterable[Shape]) -> Extent:
    """The box around all shapes; there must be at least one."""
    x1, y1, x2, y2 = zip(*(shape.extent() for shape in shapes), strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def paint(shapes: Iterable[Shape], image: Image.Image, unit: float) -> None:
    """Draw the shapes, first to last, `unit` pixels of the image for a unit of length."""
    canvas = ImageDraw.Draw(image)
    for shape in shapes:
        shape.draw(canvas, unit)


def block(center: complex, half_width: float, half_height: float, color: Color) -> Polygon:
    """An upright rectangle."""
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    x, y = center.real, center.imag
    return Polygon(
        tuple(complex(x + a * half_width, y + b * half_height) for a, b in corners), color
    )


def curve(start: complex, control: complex, end: complex, steps: int = 10) -> tuple[complex, ...]:
    """Points on the quadratic Bezier curve from `start` to `end`."""
    ts = [k / steps for k in range(steps + 1)]
    return tuple((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end for t in ts)


def shade(color: Color, factor: float) -> Color:
    """A darker (factor below 1) or lighter color; above 1 it moves towards white."""
    red, green, blue = (
        round(c * factor) if factor <= 1 else round(255 - (255 - c) / factor) for c in color
    )
    return red, green, blue


def _around(points: Sequence[complex], margin_x: float, margin_y: float | None = None) -> Extent:
    margin_y = margin_x if margin_y is None else margin_y
    xs, ys = [p.real for p in points], [p.imag for p in points]
    return min(xs) - margin_x, min(ys) - margin_y, max(xs) + margin_x, max(ys) + margin_y


def _corners(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
    # Pillow's ellipse covers both of its corner pixels: one pixel off the far side.
    return x - rx, y - ry, max(x + rx - 1, x - rx), max(y + ry - 1, y - ry)


def _ellipse(
    canvas: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, color: Color
) -> None:
    canvas.ellipse(_corners(x, y, rx, ry), fill=color)
