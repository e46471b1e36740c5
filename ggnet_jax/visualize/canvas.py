"""An image to draw on, in the image's own pixels.

Small images are enlarged so that text and points are legible, very large ones are reduced.
Everything is drawn at twice the final size and reduced at the end, since Pillow draws
lines without anti-aliasing.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageEnhance

from ggnet_jax.io import write_file
from ggnet_jax.visualize import fonts

# Okabe and Ito's colors, told apart with any common color blindness; the palest come last.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2", "#F0E442")
INK = "#1A1A1A"
PAPER = "#FFFFFF"
OVERSAMPLING = 2
PAD = 6.0  # around the text of a tag, final pixels
LEADING = 1.25  # line height over letter height


def text_color(background: str) -> str:
    """Black or white, whichever reads better on the background (relative luminance)."""
    red, green, blue = (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.42 else PAPER


def fit(size: tuple[int, int], bounds: tuple[float, float]) -> float:
    """The factor that makes an image of (width, height) as large as such bounds allow."""
    return min(bounds[0] / size[0], bounds[1] / size[1])


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(width, height) in whole pixels after scaling, at least one each."""
    width, height = size
    return max(1, round(width * scale)), max(1, round(height * scale))


def save_drawing(drawing: Image.Image, path: str | Path) -> None:
    """Write a drawing as a PNG that is at every moment absent, old or new, never half.

    Raises:
        UserError: it cannot be written.
    """
    buffer = BytesIO()
    drawing.save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def _part(image: Image.Image, view: tuple[int, int, int, int]) -> Image.Image:
    """The part of an image in whole pixels (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = view
    limit = Image.MAX_IMAGE_PIXELS
    if limit and (x2 - x1) * (y2 - y1) > limit:  # Pillow would take it for an attack
        return Image.fromarray(np.asarray(image)[y1:y2, x1:x2])
    return image.crop(view)


def to_pillow(image: Image.Image | np.ndarray) -> Image.Image:
    """A Pillow image of any mode, or uint8 [H, W, 3], as a Pillow image in RGB."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image))
    return image if image.mode == "RGB" else image.convert("RGB")  # a copy may take a gigabyte


class Canvas:
    """Draws on a copy of an image; coordinates are the image's, sizes final pixels.

    Args:
        image: in RGB.
        scale: final pixels per image pixel.
        fade: 0 leaves the colors, 1 gives a pale gray image on which marks stand out.
        view: the part of the image to show, whole pixels (x1, y1, x2, y2); all of it if None.
    """

    def __init__(
        self,
        image: Image.Image,
        scale: float,
        *,
        fade: float = 0.0,
        view: tuple[int, int, int, int] | None = None,
    ):
        self.view = (0, 0, *image.size) if view is None else view
        whole = self.view == (0, 0, *image.size)
        self.source = image if whole else _part(image, self.view)
        self.scale = scale
        self.size = scaled(self.source.size, scale)
        large = self.size[0] * OVERSAMPLING, self.size[1] * OVERSAMPLING
        self._drawing = self.source.resize(large, Image.Resampling.BICUBIC)
        if fade:
            self._drawing = ImageEnhance.Color(self._drawing).enhance(1 - fade)
            self._drawing = Image.blend(self._drawing, Image.new("RGB", large, PAPER), 0.45 * fade)
        self._draw = ImageDraw.Draw(self._drawing)

    def place(self, points: ArrayLike) -> np.ndarray:
        """Image pixels [..., 2] -> final pixels; an image pixel is a square around its point."""
        return (np.asarray(points, np.float64) - self.view[:2] + 0.5) * self.scale - 0.5

    def inside(self, point: ArrayLike) -> np.ndarray:
        """A point of the image, moved to the edge of what is shown if it lies outside."""
        return np.clip(point, self.view[:2], np.array(self.view[2:]) - 1.0)

    def _enlarge(self, points: ArrayLike) -> np.ndarray:
        """Image pixels [..., 2] -> drawing pixels, of which there are more than final ones."""
        return (self.place(points) + 0.5) * OVERSAMPLING - 0.5

    def overlay(self, colors: np.ndarray, alpha: np.ndarray) -> None:
        """Blend uint8 colors [h, w, 3] with opacity [h, w] in [0, 1], stretched over the whole."""
        size = self._drawing.size
        tint = Image.fromarray(colors).resize(size, Image.Resampling.BILINEAR)
        mask = Image.fromarray((np.clip(alpha, 0, 1) * 255).astype(np.uint8))
        self._drawing.paste(tint, mask=mask.resize(size, Image.Resampling.BILINEAR))

    def box(
        self,
        box: ArrayLike,
        color: str,
        *,
        width: float = 3.0,
        dashed: bool = False,
        grow: float = 0.0,
    ) -> None:
        """A rectangle with a dark halo, kept inside the image; `grow` moves its sides outward."""
        corners = self._enlarge(np.reshape(box, (2, 2)))
        corners = corners + np.array([[-1.0], [1.0]]) * grow * OVERSAMPLING
        limit = np.array(self._drawing.size) - 1.0
        inset = width * OVERSAMPLING / 2
        (x1, y1), (x2, y2) = np.clip(corners, inset, np.maximum(limit - inset, inset))
        sides = [
            ((x1, y1), (x2, y1)),
            ((x2, y1), (x2, y2)),
            ((x2, y2), (x1, y2)),
            ((x1, y2), (x1, y1)),
        ]
        for ink, extra in ((INK, 2.0), (color, 0.0)):
            for start, end in sides:
                self._stroke(start, end, ink, width + extra, dashed=dashed and not extra)

    def line(self, start: ArrayLike, end: ArrayLike, color: str, *, width: float = 3.0) -> None:
        """A line with a dark halo."""
        first, last = self._enlarge(start), self._enlarge(end)
        self._stroke(first, last, INK, width + 2.0)
        self._stroke(first, last, color, width)

    def arrow(self, start: ArrayLike, end: ArrayLike, color: str) -> None:
        """A line that ends in a filled arrow head at `end`."""
        width, head = 3.0, 14.0
        first, last = self._enlarge(start), self._enlarge(end)
        along = last - first
        length = float(np.hypot(*along))
        if length < 1.0:
            return
        along = along / length
        head = min(head * OVERSAMPLING, length)
        across = np.array([-along[1], along[0]]) * head * 0.42
        neck = last - along * head * 0.8
        for ink, extra in ((INK, 2.0), (color, 0.0)):
            self._stroke(first, neck, ink, width + extra)
            rim = extra * OVERSAMPLING / 2
            tip = [
                last + along * rim,
                last - along * (head + rim) + across * (1 + rim / head),
                last - along * (head + rim) - across * (1 + rim / head),
            ]
            self._draw.polygon([tuple(p) for p in tip], fill=ink)

    def dot(self, point: ArrayLike, color: str, radius: float) -> None:
        """A filled circle with a thin rim, radius in final pixels."""
        x, y = self._enlarge(point)
        for ink, r in ((INK, radius + 1.2), (color, radius)):
            r *= OVERSAMPLING
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def ring(self, point: ArrayLike, color: str, radius: float) -> None:
        """A circle with a dark halo, open in the middle."""
        x, y = self._enlarge(point)
        for ink, extra in ((INK, 1.2), (color, 0.0)):
            r = (radius + extra) * OVERSAMPLING
            line = round((3.5 + 2 * extra) * OVERSAMPLING)
            self._draw.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=line)

    def square(self, point: ArrayLike, color: str, radius: float) -> None:
        """A filled square with a thin rim; marks objects where circles mark people."""
        x, y = self._enlarge(point)
        for ink, r in ((INK, radius + 1.2), (color, radius)):
            r *= OVERSAMPLING
            self._draw.rectangle((x - r, y - r, x + r, y + r), fill=ink)

    def cross(self, point: ArrayLike, color: str, radius: float, *, width: float = 3.5) -> None:
        """A plus sign with a dark halo: the interaction point."""
        x, y = self._enlarge(point)
        for ink, extra in ((INK, 2.5), (color, 0.0)):
            reach = (radius + extra / 2) * OVERSAMPLING
            self._stroke((x - reach, y), (x + reach, y), ink, width + extra)
            self._stroke((x, y - reach), (x, y + reach), ink, width + extra)

    def tag(self, corner: ArrayLike, lines: list[str], color: str, *, size: float) -> None:
        """Text on a filled plate, its upper left corner given in final pixels."""
        width, height = tag_size(lines, size)
        x, y = np.asarray(corner, np.float64) * OVERSAMPLING
        w, h, pad = width * OVERSAMPLING, height * OVERSAMPLING, PAD * OVERSAMPLING
        self._draw.rounded_rectangle(
            (x, y, x + w, y + h), radius=4 * OVERSAMPLING, fill=color, outline=INK, width=2
        )
        ink = text_color(color)
        for i, line in enumerate(lines):
            at = (x + pad, y + pad / 2 + i * size * LEADING * OVERSAMPLING)
            fonts.write(self._draw, at, line, fill=ink, size=size * OVERSAMPLING)

    def _stroke(
        self,
        start: ArrayLike,
        end: ArrayLike,
        color: str,
        width: float,
        *,
        dashed: bool = False,
    ) -> None:
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
            self._draw.line((*a, *b), fill=color, width=max(1, round(thick)))
            for x, y in (a, b):
                r = thick / 2
                if r > 1.5 and not dashed:
                    self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def finish(self) -> Image.Image:
        """The drawing at its final size."""
        return self._drawing.resize(self.size, Image.Resampling.LANCZOS)


def tag_size(lines: list[str], size: float) -> tuple[float, float]:
    """Width and height of a tag in final pixels."""
    width = max(fonts.length(line, size * OVERSAMPLING) for line in lines) / OVERSAMPLING
    return width + 2 * PAD, len(lines) * size * LEADING + PAD
