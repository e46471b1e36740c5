"""A picture to draw on, in the picture's own pixels.

Small pictures are enlarged so that text and points are legible, very large ones are reduced.
Everything is drawn at twice the final size and reduced at the end, since Pillow draws
lines without anti-aliasing.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

# Okabe and Ito's colours, told apart with any common colour blindness; the palest come last.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#F0E442")
INK = "#1A1A1A"
PAPER = "#FFFFFF"
OVERSAMPLING = 2


@cache
def font(size: float) -> ImageFont.FreeTypeFont:
    """The one typeface of all figures, at a height in drawing pixels; it comes with Pillow."""
    return ImageFont.load_default(size=size)


def text_colour(background: str) -> str:
    """Black or white, whichever reads better on the background (relative luminance)."""
    red, green, blue = (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.42 else PAPER


def fit(width: int, height: int, bounds: tuple[int, int]) -> float:
    """The factor that makes a picture as large as (width, height) bounds allow."""
    return min(bounds[0] / width, bounds[1] / height)


class Canvas:
    """Draws on a copy of a picture; coordinates are the picture's, sizes final pixels.

    Args:
        picture: any Pillow picture, or uint8 [H, W, 3].
        scale: final pixels a picture pixel.
        fade: 0 leaves the colours, 1 gives a pale grey picture on which marks stand out.
        view: the part of the picture to show, whole pixels (x1, y1, x2, y2); all of it if None.
    """

    def __init__(
        self,
        picture: Image.Image | np.ndarray,
        scale: float,
        *,
        fade: float = 0.0,
        view: tuple[int, int, int, int] | None = None,
    ):
        if not isinstance(picture, Image.Image):
            picture = Image.fromarray(np.asarray(picture))
        picture = picture.convert("RGB")
        self.view = (0, 0, *picture.size) if view is None else view
        self.picture = picture.crop(self.view)
        self.scale = scale
        self.size = tuple(max(1, round(side * scale)) for side in self.picture.size)
        large = tuple(side * OVERSAMPLING for side in self.size)
        self.image = self.picture.resize(large, Image.Resampling.BICUBIC)
        if fade:
            self.image = ImageEnhance.Color(self.image).enhance(1 - fade)
            self.image = Image.blend(self.image, Image.new("RGB", large, PAPER), 0.45 * fade)
        self.draw = ImageDraw.Draw(self.image)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels [..., 2] -> final pixels; a picture pixel is a square around its point."""
        return (np.asarray(points, np.float64) - self.view[:2] + 0.5) * self.scale - 0.5

    def inside(self, point) -> np.ndarray:
        """A point of the picture, moved to the edge of what is shown if it lies outside."""
        return np.clip(point, self.view[:2], np.array(self.view[2:]) - 1.0)

    def _large(self, points: np.ndarray) -> np.ndarray:
        return (self.place(points) + 0.5) * OVERSAMPLING - 0.5

    def overlay(self, colours: np.ndarray, alpha: np.ndarray) -> None:
        """Blend uint8 colours [h, w, 3] with opacity [h, w] in [0, 1], stretched over the whole."""
        size = self.image.size
        tint = Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR)
        mask = Image.fromarray((np.clip(alpha, 0, 1) * 255).astype(np.uint8))
        self.image.paste(tint, mask=mask.resize(size, Image.Resampling.BILINEAR))

    def box(self, box, colour: str, *, width: float = 3.0, dashed: bool = False, grow: float = 0.0):
        """A rectangle with a dark halo, kept inside the picture; `grow` moves its sides outward."""
        corners = self._large(np.reshape(box, (2, 2)))
        corners = corners + np.array([[-1.0], [1.0]]) * grow * OVERSAMPLING
        limit = np.array(self.image.size) - 1.0
        inset = width * OVERSAMPLING / 2
        (x1, y1), (x2, y2) = np.clip(corners, inset, np.maximum(limit - inset, inset))
        sides = [
            ((x1, y1), (x2, y1)),
            ((x2, y1), (x2, y2)),
            ((x2, y2), (x1, y2)),
            ((x1, y2), (x1, y1)),
        ]
        for ink, extra in ((INK, 2.0), (colour, 0.0)):
            for start, end in sides:
                self._stroke(start, end, ink, width + extra, dashed=dashed and not extra)

    def line(self, start, end, colour: str, *, width: float = 3.0, dashed: bool = False) -> None:
        """A line with a dark halo."""
        ends = self._large(np.array([start, end], np.float64))
        self._stroke(*ends, INK, width + 2.0)
        self._stroke(*ends, colour, width, dashed=dashed)

    def arrow(self, start, end, colour: str, *, width: float = 3.0, head: float = 14.0) -> None:
        """A line that ends in a filled arrow head at `end`."""
        first, last = self._large(np.array([start, end], np.float64))
        along = last - first
        length = float(np.hypot(*along))
        if length < 1.0:
            return
        along = along / length
        head = min(head * OVERSAMPLING, length)
        across = np.array([-along[1], along[0]]) * head * 0.42
        neck = last - along * head * 0.8
        for ink, extra in ((INK, 2.0), (colour, 0.0)):
            self._stroke(first, neck, ink, width + extra)
            rim = extra * OVERSAMPLING / 2
            tip = [
                last + along * rim,
                last - along * (head + rim) + across * (1 + rim / head),
                last - along * (head + rim) - across * (1 + rim / head),
            ]
            self.draw.polygon([tuple(p) for p in tip], fill=ink)

    def dot(self, point, colour: str, radius: float, *, rim: str = INK) -> None:
        """A filled circle with a thin rim, radius in final pixels."""
        x, y = self._large(point)
        for ink, r in ((rim, radius + 1.2), (colour, radius)):
            r *= OVERSAMPLING
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def ring(self, point, colour: str, radius: float, *, width: float = 3.5) -> None:
        """A circle with a dark halo, open in the middle."""
        x, y = self._large(point)
        for ink, extra in ((INK, 1.2), (colour, 0.0)):
            r = (radius + extra) * OVERSAMPLING
            line = round((width + 2 * extra) * OVERSAMPLING)
            self.draw.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=line)

    def square(self, point, colour: str, radius: float) -> None:
        """A filled square with a thin rim; marks objects where circles mark people."""
        x, y = self._large(point)
        for ink, r in ((INK, radius + 1.2), (colour, radius)):
            r *= OVERSAMPLING
            self.draw.rectangle((x - r, y - r, x + r, y + r), fill=ink)

    def cross(self, point, colour: str, radius: float, *, width: float = 3.5) -> None:
        """A plus sign with a dark halo: the interaction point."""
        x, y = self._large(point)
        for ink, extra in ((INK, 2.5), (colour, 0.0)):
            reach = (radius + extra / 2) * OVERSAMPLING
            self._stroke((x - reach, y), (x + reach, y), ink, width + extra)
            self._stroke((x, y - reach), (x, y + reach), ink, width + extra)

    def tag(self, corner, lines: list[str], colour: str, *, size: float) -> None:
        """Text on a filled plate, its upper left corner given in final pixels."""
        width, height = tag_size(lines, size)
        x, y = np.asarray(corner, np.float64) * OVERSAMPLING
        w, h, pad = width * OVERSAMPLING, height * OVERSAMPLING, PAD * OVERSAMPLING
        self.draw.rounded_rectangle(
            (x, y, x + w, y + h), radius=4 * OVERSAMPLING, fill=colour, outline=INK, width=2
        )
        ink = text_colour(colour)
        for i, line in enumerate(lines):
            at = (x + pad, y + pad / 2 + i * size * LEADING * OVERSAMPLING)
            self.draw.text(at, line, fill=ink, font=font(size * OVERSAMPLING))

    def _stroke(self, start, end, colour: str, width: float, *, dashed: bool = False) -> None:
        """A plain line in drawing pixels with round ends, `width` in final pixels."""
        start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
        thick = width * OVERSAMPLING
        length = float(np.hypot(*(end - start)))
        dash = 4.5 * thick if dashed else max(length, 1.0)
        pieces = max(1, round(length / dash))
        pieces += 1 - pieces % 2  # dashes at both ends
        for piece in range(0, pieces, 2):
            a = start + (end - start) * piece / pieces
            b = start + (end - start) * (piece + 1) / pieces
            self.draw.line((*a, *b), fill=colour, width=max(1, round(thick)))
            for x, y in (a, b):
                r = thick / 2
                if r > 1.5 and not dashed:
                    self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def finish(self) -> Image.Image:
        """The drawing at its final size."""
        return self.image.resize(self.size, Image.Resampling.LANCZOS)


PAD = 6.0  # around the text of a tag, final pixels
LEADING = 1.25  # line height over letter height


def tag_size(lines: list[str], size: float) -> tuple[float, float]:
    """Width and height of a tag in final pixels."""
    face = font(size * OVERSAMPLING)
    width = max(face.getlength(line) for line in lines) / OVERSAMPLING
    return width + 2 * PAD, len(lines) * size * LEADING + PAD
