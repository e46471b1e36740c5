"""Whole images: which groups meet, where they stand, their boxes, and the rendering.

A scene depends on (seed, split, index) alone and lives in a unit square, so that it is the same
scene at any number of pixels. Splits draw from different random streams.
"""

import dataclasses
import functools
import io
import random
from typing import Any, cast

from PIL import Image

from data_pipelines.figures_hoi import backgrounds, plan
from data_pipelines.figures_hoi.groups import Entity, Group
from data_pipelines.figures_hoi.shapes import (
    Color,
    Disc,
    Extent,
    Placement,
    Shape,
    extent,
    paint,
    shade,
)
from ggnet_jax import vocabularies
from ggnet_jax.vocabularies import Vocabulary

SPLITS = ("train", "test")
LARGEST, SMALLEST = 0.62, 0.36  # height of a person in image sides
WIDTH = 1.04  # that groups may fill together: a crowd is cut by the image's sides
HEIGHT = 0.93
SHADOW = 0.14  # height of a shadow over its width


@dataclasses.dataclass(frozen=True)
class Scene:
    """People, objects and relations in the unit square.

    Attributes:
        seed: of the background.
        entities: people and objects, placed.
        layers: everything to paint, back to front.
        shadows: (x1, x2, y) of the patches where something stands on the ground.
        relations: (person, object, verb), the first two indices into `entities`.
    """

    seed: str
    entities: tuple[Entity, ...]
    layers: tuple[tuple[Shape, ...], ...]
    shadows: tuple[tuple[float, float, float], ...]
    relations: tuple[tuple[int, int, str], ...]


def compose(seed: int, split: str, index: int) -> Scene:
    """The scene of one image.

    Raises:
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; use one of {', '.join(SPLITS)}")
    key = f"figures {seed} {split} {index}"
    rng = random.Random(key)
    groups = plan.groups(seed, split, index, rng)
    scale = _scale(groups, rng)
    while scale < SMALLEST and len(groups) > 1:
        groups.pop()  # the first groups matter most
        scale = _scale(groups, rng)
    rng.shuffle(groups)
    boxes = [group.extent() for group in groups]
    gaps = [rng.random() for _ in range(len(groups) + 1)]
    free = (1.0 - scale * _width(groups)) / sum(gaps)
    placed = []
    x = free * gaps[0]
    for group, (x1, y1, x2, _), gap in zip(groups, boxes, gaps[1:], strict=True):
        flip = rng.random() < 0.5
        ground = rng.uniform(max(0.87, 0.02 - scale * y1), 0.97)
        shift = complex(x - scale * (-x2 if flip else x1), ground)
        placed.append((group, Placement(shift, scale * rng.uniform(0.93, 1.0), flip)))
        x += scale * (x2 - x1) + free * gap
    placed.sort(key=lambda item: item[1].shift.imag)  # who stands farther down stands nearer
    return _assemble(key, placed)


def _width(groups: list[Group]) -> float:
    return sum(x2 - x1 for x1, _, x2, _ in (group.extent() for group in groups))


def _scale(groups: list[Group], rng: random.Random) -> float:
    """The size that the groups have side by side."""
    height = max(-group.extent()[1] for group in groups)
    return min(LARGEST * rng.uniform(0.85, 1.0), WIDTH / _width(groups), HEIGHT / height)


def _assemble(key: str, placed: list[tuple[Group, Placement]]) -> Scene:
    entities, layers, shadows, relations = [], [], [], []
    for group, place in placed:
        first = len(entities)
        for entity in group.entities:
            pose = entity.pose.mapped(place) if entity.pose else None
            shapes = tuple(shape.placed(place) for shape in entity.shapes)
            entities.append(Entity(entity.kind, shapes, pose))
            if entity.extent()[3] > -0.08:
                x1, _, x2, _ = extent(shapes)
                shadows.append((x1, x2, place.shift.imag))
        layers.extend(tuple(shape.placed(place) for shape in layer) for layer in group.layers)
        relations.extend((h + first, o + first, verb) for h, o, verb in group.relations)
    return Scene(key, tuple(entities), tuple(layers), tuple(shadows), tuple(relations))


def render(scene: Scene, size: int) -> Image.Image:
    """Draw a scene as an RGB image of `size` x `size`, smoothed by drawing it larger first."""
    over = 4 if size <= 128 else 3 if size <= 256 else 2
    image = backgrounds.background(random.Random("behind " + scene.seed), size * over)
    shadows = []
    for x1, x2, y in scene.shadows:
        at = (round(min(max((x1 + x2) / 2, 0), 0.99) * image.width), round(y * image.height))
        tint = shade(cast(Color, image.getpixel(at)), 0.8)
        shadows.append(Disc(complex((x1 + x2) / 2, y), 0.52 * (x2 - x1), tint, SHADOW))
    paint(shadows, image, size * over)
    for layer in scene.layers:
        paint(layer, image, size * over)
    return image.reduce(over)


def encode(image: Image.Image) -> bytes:
    """PNG bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def box(entity: Entity, size: int) -> Extent:
    """An entity's box at `size` pixels: the pixel (0, 0) lies at (0, 0); clipped to the image."""
    edges = (edge * size - 0.5 for edge in extent(entity.shapes))
    x1, y1, x2, y2 = (round(min(max(edge, 0.0), size - 1.0), 2) for edge in edges)
    return x1, y1, x2, y2


def entry(scene: Scene, split: str, index: int, size: int) -> dict[str, Any]:
    """The scene's annotation in PPDM's format."""
    words = vocabulary()
    objects = dict(zip(words.objects, words.object_ids, strict=True))
    verbs = dict(zip(words.verbs, words.verb_ids, strict=True))
    return {
        "file_name": f"figures_{split}_{index:06d}.png",
        "img_id": index,
        "width": size,
        "height": size,
        "annotations": [
            {"bbox": list(box(entity, size)), "category_id": objects[entity.kind]}
            for entity in scene.entities
        ],
        "hoi_annotation": [
            {"subject_id": person, "object_id": obj, "category_id": verbs[verb]}
            for person, obj, verb in scene.relations
        ],
    }


@functools.cache
def vocabulary() -> Vocabulary:
    """The set's own vocabulary."""
    return vocabularies.load("figures_hoi")
