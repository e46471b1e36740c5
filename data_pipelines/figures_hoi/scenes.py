"""Whole pictures: which groups meet, where they stand, their boxes, and the rendering.

A scene depends on (seed, split, index) alone and lives in a unit square, so that it is the same
scene at any number of pixels. Splits draw from different random streams.
"""

import dataclasses
import functools
import io
import random
from typing import Any

from PIL import Image

from data_pipelines.figures_hoi import backgrounds, plan
from data_pipelines.figures_hoi.groups import Entity, Group
from data_pipelines.figures_hoi.shapes import Extent, Placement, Shape, extent, paint
from ggnet_jax import vocabularies
from ggnet_jax.vocabularies import Vocabulary

SPLITS = ("train", "test")
LARGEST, SMALLEST = 0.6, 0.37  # height of a person in picture sides
WIDTH = 1.0  # that groups may fill together


@dataclasses.dataclass(frozen=True)
class Scene:
    """People, objects and relations in the unit square.

    Attributes:
      seed: of the background.
      entities: people and objects, placed.
      layers: everything to paint, back to front.
      relations: (person, object, verb), the first two indices into `entities`.
      flips: for every entity, whether its group was mirrored.
    """

    seed: str
    entities: tuple[Entity, ...]
    layers: tuple[tuple[Shape, ...], ...]
    relations: tuple[tuple[int, int, str], ...]
    flips: tuple[bool, ...]


def compose(seed: int, split: str, index: int) -> Scene:
    """The scene of one picture.

    Raises:
      ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; use one of {', '.join(SPLITS)}")
    key = f"figures {seed} {split} {index}"
    rng = random.Random(key)
    groups = plan.groups(seed, split, index, rng)
    boxes = [group.extent() for group in groups]
    scale = LARGEST * rng.uniform(0.85, 1.0)
    while True:
        # The last groups go first if the others would become too small to be seen.
        width = sum(box[2] - box[0] for box in boxes)
        height = max(-box[1] for box in boxes)
        scale = min(scale, WIDTH / width, 0.93 / height)
        if scale >= SMALLEST or len(groups) == 1:
            break
        groups.pop()
        boxes.pop()
        scale = LARGEST * rng.uniform(0.85, 1.0)
    order = list(range(len(groups)))
    rng.shuffle(order)
    gaps = [rng.random() for _ in range(len(groups) + 1)]
    free = 1.0 - scale * sum(box[2] - box[0] for box in boxes)
    x = free * gaps[0] / sum(gaps)
    placed = []
    for position, which in enumerate(order):
        group, (x1, _, x2, _) = groups[which], boxes[which]
        flip = rng.random() < 0.5
        ground = rng.uniform(max(0.87, 0.93 * (scale * -boxes[which][1]) / 0.93), 0.97)
        left = -x2 if flip else x1
        placed.append((ground, group, Placement(complex(x - scale * left, ground), scale, flip)))
        x += scale * (x2 - x1) + free * gaps[position + 1] / sum(gaps)
    placed.sort(key=lambda item: item[0])  # who stands farther down stands nearer
    return _assemble(key, placed)


def _assemble(key: str, placed: list[tuple[float, Group, Placement]]) -> Scene:
    entities, layers, relations, flips = [], [], [], []
    for _, group, place in placed:
        # Entities share their shapes with layers: each shape is moved once.
        @functools.cache
        def moved(shape: Shape, place: Placement = place) -> Shape:
            return shape.placed(place)

        first = len(entities)
        for entity in group.entities:
            pose = entity.pose.mapped(place) if entity.pose else None
            entities.append(Entity(entity.kind, tuple(map(moved, entity.shapes)), pose))
            flips.append(place.flip)
        layers.extend(tuple(map(moved, layer)) for layer in group.layers)
        relations.extend((h + first, o + first, verb) for h, o, verb in group.relations)
    return Scene(key, tuple(entities), tuple(layers), tuple(relations), tuple(flips))


def render(scene: Scene, size: int) -> Image.Image:
    """Draw a scene as an RGB picture of `size` x `size`, smoothed by drawing it larger first."""
    over = 4 if size <= 128 else 3 if size <= 256 else 2
    image = backgrounds.background(random.Random("behind " + scene.seed), size * over)
    for layer in scene.layers:
        paint(layer, image, size * over)
    return image.reduce(over)


def encode(image: Image.Image) -> bytes:
    """PNG bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def box(entity: Entity, size: int) -> Extent:
    """An entity's box at `size` pixels: the pixel (0, 0) lies at (0, 0); clipped to the picture."""
    edges = (edge * size - 0.5 for edge in extent(entity.shapes))
    return tuple(round(min(max(edge, 0.0), size - 1.0), 2) for edge in edges)


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
            {"subject_id": person, "object_id": thing, "category_id": verbs[verb]}
            for person, thing, verb in scene.relations
        ],
    }


@functools.cache
def vocabulary() -> Vocabulary:
    """The set's own vocabulary."""
    return vocabularies.load("figures_hoi")
