"""Figure 4 of the paper: how the network looked at an interaction, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.inference import geometry
from ggnet_jax.inference.interactions import Heatmaps, Interaction
from ggnet_jax.visualize import fonts
from ggnet_jax.visualize.canvas import (
    INK,
    OVERSAMPLING,
    PAPER,
    Canvas,
    fit,
    scaled,
    to_pillow,
)
from ggnet_jax.visualize.drawing import Pair, draw_interactions, group_pairs

GAP = 12  # between panels, final pixels
TITLE = 17.0  # letter height of row titles
CAPTION = 14.0  # and of the line under a panel
POINTS_MAP = "plasma"  # dark blue to yellow: also ordered for color-blind eyes and in gray
HEAT_MAP = "inferno"


def draw_summary(
    image: Image.Image | np.ndarray,
    interactions: Sequence[Interaction],
    *,
    strongest: int = 2,
    width: int = 1080,
    note: str = "",
) -> Image.Image:
    """All interactions over the image and, below, the ActPoints of the strongest ones.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        interactions: by descending score, in the image's pixels.
        strongest: the best interaction of so many pairs gets a row of panels: the interaction
            point, then the ActPoints after every gaze step.
        width: of the figure, in pixels.
        note: written into a corner of the image.
    """
    image = to_pillow(image)
    top = draw_interactions(image, interactions, bounds=(width, 800), note=note)
    parts = [_centered(top, width)]
    for pair in group_pairs(interactions)[:strongest]:
        steps = range(len(pair.best.act_points) + 1)
        panels = [_point_panel(image, pair, step) for step in steps]
        parts.append(_row(image, pair, panels, width, columns=max(3, len(panels))))
    return _stack(parts, width)


def draw_explanation(
    image: Image.Image | np.ndarray,
    interactions: Sequence[Interaction],
    heatmaps: Sequence[Heatmaps],
    *,
    strongest: int = 2,
    width: int = 1280,
) -> Image.Image:
    """Two rows of panels for each of the strongest pairs.

    The upper row: the interaction point after the glance, the ActPoints after each gaze step,
    and the matching (APM): arrows from the interaction point to where it expects the person and
    the object, rings around the centers it was matched to. Below: the heatmap of the verb
    after the glance and each gaze step, all on one scale.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        interactions: by descending score, in the image's pixels.
        heatmaps: one for each interaction, for its verb. Interactions beyond the end of this
            list are not explained.
        strongest: the best interaction of so many pairs is explained.
        width: of the figure, in pixels.
    """
    image = to_pillow(image)
    maps = {id(one): heat for one, heat in zip(interactions, heatmaps, strict=False)}
    parts = []
    for pair in group_pairs([one for one in interactions if id(one) in maps])[:strongest]:
        columns = max(3, len(pair.best.act_points) + 2)  # without a gaze step all is one row
        panels = _explained(image, pair, maps[id(pair.best)])
        parts.append(_row(image, pair, panels, width, columns=columns))
    if not parts:
        return draw_interactions(image, interactions)
    return _stack(parts, width)


@dataclass(frozen=True)
class Drawn:
    """One panel of `draw_explanation`, for those who write the line under it themselves.

    Attributes:
        image: the drawing alone.
        caption: what it shows.
        colors: of the numbers that its colors mean, from the least to the largest, "#RRGGBB";
            empty if they mean none.
        limits: the least and the largest of these numbers.
        quantity: what they are; empty if the caption says so.
    """

    image: Image.Image
    caption: str
    colors: tuple[str, ...] = ()
    limits: tuple[float, float] = (0.0, 0.0)
    quantity: str = ""


def explain_interaction(
    image: Image.Image | np.ndarray,
    pair: Pair,
    heatmaps: Heatmaps,
    *,
    bounds: tuple[int, int] = (480, 480),
) -> list[Drawn]:
    """The panels that `draw_explanation` shows of a pair, one by one.

    Args:
        image: Pillow image or uint8 [H, W, 3].
        pair: whose best interaction is explained, in the pair's color.
        heatmaps: of that interaction's verb.
        bounds: (width, height) that each drawing fills as far as the image's shape allows.
    """
    image = to_pillow(image)
    size = scaled(image.size, fit(image.size, bounds))
    drawn = []
    for panel in _explained(image, pair, heatmaps):
        one = Drawn(_draw(image, panel, size), panel.caption)
        if panel.bar:
            name, low, high, quantity = panel.bar
            colors = tuple(_colors(name, np.linspace(0, 1, 9), 0, 1))
            one = Drawn(one.image, one.caption, colors, (low, high), quantity)
        drawn.append(one)
    return drawn


def _explained(image: Image.Image, pair: Pair, heatmaps: Heatmaps) -> "list[_Panel]":
    """Point, ActPoints, matching, and the heatmaps."""
    panels = [_point_panel(image, pair, step) for step in range(len(pair.best.act_points) + 1)]
    panels.append(_matching_panel(image, pair))
    return panels + [_heat_panel(pair.best, heatmaps, step) for step in range(len(heatmaps.maps))]


def heat_over_image(
    heat: np.ndarray, size: tuple[int, int], input_size: tuple[int, int], scale: float
) -> np.ndarray:
    """Warp a map [h, w] onto an image of (width, height) pixels drawn at `scale`: [h', w']."""
    to_input = geometry.letterbox(*size, input_size)
    # final pixel -> image pixel -> input pixel -> cell, and half pixels as Pillow counts them
    to_image = np.array([[1 / scale, 0, 0.5 / scale - 0.5], [0, 1 / scale, 0.5 / scale - 0.5]])
    matrix = np.vstack([to_input, [0, 0, 1]]) @ np.vstack([to_image, [0, 0, 1]])
    matrix = matrix[:2] / OUTPUT_STRIDE
    matrix[:, 2] += 0.5 - 0.5 * matrix[:, :2].sum(1)
    warped = Image.fromarray(np.asarray(heat, np.float32)).transform(
        scaled(size, scale),
        Image.Transform.AFFINE,
        tuple(matrix.ravel()),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(warped)


@dataclass(frozen=True)
class _Panel:
    """One drawing of a row.

    Attributes:
        draw: draws it at whatever scale its canvas has.
        caption: the line under it.
        bar: of colors that mean numbers: color map, least, largest, what they are.
        fade: of the image, see `Canvas`.
        view: the part of the image to show; all of it if None.
    """

    draw: Callable[[Canvas], None]
    caption: str
    bar: tuple[str, float, float, str] | None = None
    fade: float = 0.75
    view: tuple[int, int, int, int] | None = None


def _point_panel(image: Image.Image, pair: Pair, step: int) -> _Panel:
    """The interaction point after the glance (step 0), or the ActPoints of a gaze step."""
    one = pair.best
    if step == 0:

        def draw(canvas: Canvas) -> None:
            _boxes(canvas, pair)
            canvas.cross(canvas.inside(one.interaction_point), PAPER, 13)

        return _Panel(draw, "glance: the interaction point", view=_view(image, one))
    positions, weights = one.act_points[step - 1]
    every = np.concatenate([w for _, w in one.act_points])
    low, high = float(every.min()), float(every.max())
    size = np.array(image.size)
    outside = int(((positions < -0.5) | (positions > size - 0.5)).any(-1).sum())
    caption = f"gaze step {step}: {len(weights)} ActPoints"
    caption += f", {outside} outside" if outside else ""

    def draw(canvas: Canvas) -> None:
        _boxes(canvas, pair)
        radius = _radius(canvas, [p for p, _ in one.act_points])
        colors = _colors(POINTS_MAP, weights, low, high)
        for k in np.argsort(weights):  # the heaviest on top
            relative = float(weights[k] - low) / max(high - low, 1e-9)
            canvas.dot(positions[k], colors[k], radius * (0.7 + 0.4 * relative))
        canvas.cross(canvas.inside(one.interaction_point), PAPER, 7, width=2.0)

    return _Panel(draw, caption, (POINTS_MAP, low, high, "weight"), view=_view(image, one))


def _matching_panel(image: Image.Image, pair: Pair) -> _Panel:
    """Where the interaction point expects the person and the object, and what it was given."""
    one = pair.best

    def draw(canvas: Canvas) -> None:
        _boxes(canvas, pair)
        start = canvas.inside(one.interaction_point)
        for target, match in (
            (one.human_target, one.human_point),
            (one.object_target, one.object_point),
        ):
            canvas.ring(canvas.inside(match), PAPER, 11)
            canvas.arrow(start, canvas.inside(target), pair.color)
        canvas.cross(start, PAPER, 9)

    return _Panel(draw, "matching: arrows predict, rings mark the match", view=_view(image, one))


def _heat_panel(one: Interaction, heat: Heatmaps, step: int) -> _Panel:
    """The verb's heatmap over the image in gray."""
    top = float(max(heat.maps.max(), 1e-6))
    here = heat.maps[step]

    def draw(canvas: Canvas) -> None:
        values = heat_over_image(here, canvas.source.size, heat.input_size, canvas.scale) / top
        colors = matplotlib.colormaps[HEAT_MAP](np.clip(values, 0, 1))[..., :3]
        canvas.overlay((colors * 255).astype(np.uint8), 0.35 + 0.55 * np.clip(values, 0, 1) ** 0.5)
        canvas.cross(canvas.inside(one.interaction_point), PAPER, 9)

    name = "glance" if step == 0 else f"gaze step {step}"
    caption = f'{name}: "{one.verb}", peak {here.max():.2f}'
    return _Panel(draw, caption, (HEAT_MAP, 0, top, ""), fade=1.0)


def _radius(canvas: Canvas, steps: Sequence[np.ndarray]) -> float:
    """Of ActPoints in final pixels: large, unless they lie so close that they would hide."""
    gaps = []
    for positions in steps:
        points = canvas.place(positions)
        distance = np.hypot(*np.moveaxis(points[:, None] - points[None], -1, 0))
        gaps.append(np.partition(distance + np.diag(np.full(len(points), np.inf)), 0)[:, 0])
    return float(np.clip(0.6 * np.median(np.concatenate(gaps)), 3.5, min(canvas.size) / 40 + 3.5))


def _view(image: Image.Image, one: Interaction) -> tuple[int, int, int, int]:
    """The part of an image around a pair and its ActPoints, of the image's own shape."""
    size = np.array(image.size, np.float64)
    points = [np.reshape(one.human_box, (2, 2)), np.reshape(one.object_box, (2, 2))]
    points += [positions for positions, _ in one.act_points]
    points = np.clip(np.concatenate(points), 0, size)
    first, last = points.min(0), points.max(0)
    fraction = max(float(((last - first) / size).max()) * 1.25, 0.3)
    if fraction > 0.8:
        return (0, 0, *image.size)
    extent = np.maximum(np.round(size * fraction), 1)
    corner = np.clip(np.round((first + last - extent) / 2), 0, size - extent)
    x1, y1, x2, y2 = (int(v) for v in (*corner, *(corner + extent)))
    return x1, y1, x2, y2


def _boxes(canvas: Canvas, pair: Pair) -> None:
    """The boxes of a pair, thinner than in the main drawing."""
    canvas.box(pair.best.object_box, pair.color, width=2, dashed=True)
    canvas.box(pair.best.human_box, pair.color, width=2)


def _colors(name: str, values: np.ndarray, low: float, high: float) -> list[str]:
    """Values from `low` to `high` in a color map of matplotlib's, as "#RRGGBB"."""
    relative = (np.asarray(values) - low) / max(high - low, 1e-9)
    table = matplotlib.colormaps[name](np.clip(relative, 0, 1))
    return ["#" + "".join(f"{round(255 * v):02X}" for v in row[:3]) for row in table]


def _tile(image: Image.Image, panels: Sequence[_Panel], width: int, *, columns: int) -> Image.Image:
    """Draw panels in rows of `columns`, each with its caption and color bar underneath."""
    room = (width - GAP * (columns + 1)) // columns
    scale = fit(image.size, (room, room * 1.3))
    size = round(scale * image.width), round(scale * image.height)
    cells = []
    for panel in panels:
        cells.append(_captioned(_draw(image, panel, size), panel, room))
    rows = -(-len(cells) // columns)
    height = cells[0].height
    sheet = Image.new("RGB", (width, rows * (height + GAP)), PAPER)
    for i, cell in enumerate(cells):
        row, column = divmod(i, columns)
        sheet.paste(cell, (GAP + column * (room + GAP), row * (height + GAP)))
    return sheet


def _draw(image: Image.Image, panel: _Panel, size: tuple[int, int]) -> Image.Image:
    """A panel's drawing of (width, height) pixels."""
    view = panel.view or (0, 0, *image.size)
    scale = max(size[0] / (view[2] - view[0]), size[1] / (view[3] - view[1]))
    canvas = Canvas(image, scale, fade=panel.fade, view=view)
    panel.draw(canvas)
    return canvas.finish().crop((0, 0, *size))


def _captioned(drawing: Image.Image, panel: _Panel, room: int) -> Image.Image:
    """A drawing with the text that tells what it is and, if colors mean numbers, which."""
    below = int(CAPTION * 2.9)
    cell = Image.new("RGB", (room, drawing.height + below), PAPER)
    left = (room - drawing.width) // 2
    cell.paste(drawing, (left, 0))
    _text(cell, panel.caption, (left, drawing.height + 4), CAPTION, room - left)
    if panel.bar:
        name, low, high, what = panel.bar
        y = drawing.height + 4 + int(CAPTION * 1.4)
        bar = matplotlib.colormaps[name](np.linspace(0, 1, 110))[None, :, :3]
        strip = Image.fromarray((bar * 255).astype(np.uint8)).resize((110, 11))
        first = f"{low:.2f}" if low else "0"
        _text(cell, first, (left, y - 2), CAPTION - 1, 40)
        start = left + round(fonts.length(first, CAPTION - 1)) + 6
        cell.paste(strip, (start, y + 2))
        _text(cell, f"{high:.2f}  {what}", (start + 116, y - 2), CAPTION - 1, 120)
    return cell


def _row(
    image: Image.Image, pair: Pair, panels: Sequence[_Panel], width: int, *, columns: int
) -> Image.Image:
    """Panels under a title in the pair's color: what was found, and what its score is made of."""
    one = pair.best
    tiles = _tile(image, panels, width, columns=columns)
    title = int(TITLE * 2)
    row = Image.new("RGB", (width, title + tiles.height), PAPER)
    draw = ImageDraw.Draw(row)
    draw.rounded_rectangle((GAP, 8, GAP + 14, 22), radius=3, fill=pair.color, outline=INK)
    verb, obj = (name.replace("_", " ") for name in (one.verb, one.object))  # as in the label
    text = (
        f"{one.label}  =  {verb} {one.verb_score:.2f}  x  person {one.human_score:.2f}"
        f"  x  {obj} {one.object_score:.2f}"
    )
    _text(row, text, (GAP + 22, 5), TITLE, width - GAP - 22)
    row.paste(tiles, (0, title))
    return row


def _text(image: Image.Image, text: str, at: tuple[int, int], size: float, room: float) -> None:
    """Dark text, drawn smaller if it would not fit into `room` pixels."""
    size *= min(1.0, room / max(fonts.length(text, size), 1.0))
    patch = Image.new("RGB", (image.width * OVERSAMPLING, int(size * 1.6 * OVERSAMPLING)), PAPER)
    fonts.write(ImageDraw.Draw(patch), (0, 0), text, fill=INK, size=size * OVERSAMPLING)
    patch = patch.resize((image.width, int(size * 1.6)), Image.Resampling.LANCZOS)
    image.paste(patch.crop((0, 0, max(1, int(min(room, image.width - at[0]))), patch.height)), at)


def _centered(image: Image.Image, width: int) -> Image.Image:
    """An image in the middle of a wider, white one, with a gap under it."""
    sheet = Image.new("RGB", (width, image.height + GAP), PAPER)
    sheet.paste(image, ((width - image.width) // 2, 0))
    return sheet


def _stack(parts: Sequence[Image.Image], width: int) -> Image.Image:
    """Images under each other."""
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)), PAPER)
    y = 0
    for part in parts:
        sheet.paste(part, (0, y))
        y += part.height
    return sheet
