"""Numbers of a split; pure functions of its columns.

Cells are those of the network's output map, after the image has been fitted into its input
(`geometry.letterbox`), as in evaluation and, but for augmentation, in training.
"""

import dataclasses

import numpy as np

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.inference import geometry
from ggnet_jax.inspection.columns import Columns

Size = tuple[int, int]


def class_counts(columns: Columns, num_objects: int, num_verbs: int) -> np.ndarray:
    """[V, O] int64: relations of each verb and object."""
    obj = columns.classes[columns.relations[:, 1]]
    flat = columns.relations[:, 2] * num_objects + obj
    return np.bincount(flat, minlength=num_verbs * num_objects).reshape(num_verbs, num_objects)


def letterboxes(sizes: np.ndarray, input_size: Size) -> np.ndarray:
    """[n, 2, 3]: image pixels -> input pixels of images of `sizes` [n, 2]; NaN where unknown."""
    different, which = np.unique(sizes, axis=0, return_inverse=True)
    unknown = np.full((2, 3), np.nan)
    matrices = [
        geometry.letterbox(width, height, input_size) if width > 0 and height > 0 else unknown
        for width, height in different.tolist()
    ]
    return np.array(matrices).reshape(-1, 2, 3)[which.reshape(-1)]


def boxes_in_cells(columns: Columns, input_size: Size) -> np.ndarray:
    """[m, 4] float64: the boxes in cells, not clipped; NaN where an image's size is not known."""
    matrix = letterboxes(columns.sizes, input_size)[columns.box_image]
    corners = columns.boxes.reshape(-1, 2, 2).astype(np.float64)
    moved = corners * matrix[:, None, [0, 1], [0, 1]] + matrix[:, None, :, 2]
    return moved.reshape(-1, 4) / OUTPUT_STRIDE


def shorter_sides(columns: Columns, input_size: Size) -> np.ndarray:
    """[m] the shorter side of each box in cells."""
    boxes = boxes_in_cells(columns, input_size)
    return (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)


def center_cells(columns: Columns, input_size: Size) -> np.ndarray:
    """[m, 2] int64 (x, y): the cell of each box's center, as the targets have it.

    Boxes are clipped to the map and centers truncated; -1 where the image's size is not known.
    """
    height, width = input_size[0] // OUTPUT_STRIDE, input_size[1] // OUTPUT_STRIDE
    boxes = np.clip(boxes_in_cells(columns, input_size), 0, np.array([width, height] * 2) - 1)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.where(np.isnan(center), -1, center).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Collisions:
    """What the output map cannot tell apart.

    Attributes:
        pairs: human-object pairs in images of known size.
        pairs_shared: those whose interaction point lies in a cell with that of another pair.
        relations: relations in images of known size.
        relations_shared: those whose cell has the same verb of another pair.
        boxes: boxes in images of known size.
        boxes_shared: those whose center lies in a cell with that of another box of its class.
        example: image with the most shared pairs, None without any.
    """

    pairs: int
    pairs_shared: int
    relations: int
    relations_shared: int
    boxes: int
    boxes_shared: int
    example: int | None


def collisions(columns: Columns, input_size: Size) -> Collisions:
    """Count what shares a cell of the output map."""
    cells = center_cells(columns, input_size)
    known = cells[:, 0] >= 0
    width = input_size[1] // OUTPUT_STRIDE
    size = input_size[0] // OUTPUT_STRIDE * width
    flat = cells[:, 1] * width + cells[:, 0]
    boxes = np.stack([columns.box_image * size + flat, columns.classes], axis=1)[known]

    related = known[columns.relations[:, 0]] if len(known) else np.zeros(0, bool)
    relations = columns.relations[related]
    point = (cells[relations[:, 0]] + cells[relations[:, 1]]) // 2
    image = columns.box_image[relations[:, 0]]
    place = image * size + point[:, 1] * width + point[:, 0]
    pair = columns.pair_of_relation[related]
    first = np.unique(pair, return_index=True)[1]  # a relation of each pair
    pairs_shared = _shared(place[first, None])
    example = None
    if pairs_shared.any():
        example = int(np.bincount(image[first][pairs_shared]).argmax())
    return Collisions(
        len(first),
        int(pairs_shared.sum()),
        len(relations),
        int(_shared(np.stack([place, relations[:, 2]], axis=1)).sum()),
        len(boxes),
        int(_shared(boxes).sum()),
        example,
    )


def _shared(rows: np.ndarray) -> np.ndarray:
    """[k] bool: whether a row of [k, c] occurs more than once."""
    if not len(rows):
        return np.zeros(0, bool)
    _, which, number = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return number[which.reshape(-1)] > 1


@dataclasses.dataclass(frozen=True)
class Dropped:
    """What does not fit into a batch's fixed numbers.

    Attributes:
        images_boxes: images with more than `max_boxes`.
        boxes: boxes that are left out.
        relations_of_boxes: relations that are left out with them.
        images_relations: images with more than `max_relations` of the rest.
        relations: relations that are left out for their number.
        most_boxes: boxes of the image that has the most.
        most_relations: alike.
    """

    images_boxes: int
    boxes: int
    relations_of_boxes: int
    images_relations: int
    relations: int
    most_boxes: int
    most_relations: int


def dropped(columns: Columns, max_boxes: int, max_relations: int) -> Dropped:
    """Count what `data.max_boxes` and `data.max_relations` leave out of training.

    As the input pipeline does: the largest boxes are kept, and the relations between those.
    """
    n = len(columns.file_names)
    boxes = np.bincount(columns.box_image, minlength=n)
    relations = np.bincount(columns.relation_image, minlength=n)
    most = int(boxes.max(initial=0)), int(relations.max(initial=0))
    first = np.cumsum(boxes) - boxes
    kept = np.ones(len(columns.boxes), bool)
    sides = columns.boxes[:, 2:] - columns.boxes[:, :2]
    area = sides[:, 0] * sides[:, 1]
    over = np.flatnonzero(boxes > max_boxes)
    for image in over.tolist():
        rows = np.arange(first[image], first[image] + boxes[image])
        kept[rows[np.argsort(-area[rows], kind="stable")[max_boxes:]]] = False
    left = kept[columns.relations[:, :2]].all(axis=1)
    rest = np.bincount(columns.relation_image[left], minlength=n)
    return Dropped(
        len(over),
        int((~kept).sum()),
        int((~left).sum()),
        int((rest > max_relations).sum()),
        int(np.maximum(rest - max_relations, 0).sum()),
        *most,
    )


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Images that two splits share.

    Attributes:
        names: file names that are in both.
        same: [(name in the first, name in the second)] of images of the same content; None where
            the images were not read.
    """

    names: tuple[str, ...]
    same: tuple[tuple[str, str], ...] | None


def overlap(first: Columns, second: Columns) -> Overlap:
    """Compare the file names and the contents of two splits."""
    there = set(second.file_names)
    names = tuple(name for name in first.file_names if name in there)
    if first.hashes is None or second.hashes is None:
        return Overlap(names, None)
    _, a, b = np.intersect1d(first.hashes, second.hashes, return_indices=True)
    order = np.argsort(a)
    pairs = zip(a[order].tolist(), b[order].tolist(), strict=True)
    return Overlap(names, tuple((first.file_names[i], second.file_names[j]) for i, j in pairs))


def repeated(columns: Columns) -> list[tuple[str, str]]:
    """Images of a split that have the content of an earlier one: (earlier, later) names."""
    if columns.hashes is None:
        return []
    _, first, which = np.unique(columns.hashes, return_index=True, return_inverse=True)
    earlier = first[which.reshape(-1)]
    later = np.flatnonzero(earlier != np.arange(len(earlier)))
    return [(columns.file_names[earlier[i]], columns.file_names[i]) for i in later.tolist()]


def border_share(sizes: np.ndarray, input_size: Size) -> float:
    """The share of the network's input that is black border, a mean over images of known size."""
    known = sizes[(sizes > 0).all(axis=1)].astype(np.float64)
    if not len(known):
        return float("nan")
    height, width = input_size
    scale = np.minimum(width / known[:, 0], height / known[:, 1])
    return float(np.mean(1 - known.prod(axis=1) * scale**2 / (width * height)))


def better_shape(sizes: np.ndarray, input_size: Size, divisor: int) -> tuple[Size, float]:
    """The input size of at most the area of `input_size` that leaves the least border.

    Args:
        sizes: [n, 2] (width, height).
        input_size: (H, W) to compare with.
        divisor: of both sides.

    Returns:
        (H, W) and its `border_share`; of sizes with as little border the largest.
    """
    area = input_size[0] * input_size[1]
    best = input_size, border_share(sizes, input_size)
    for height in range(divisor, area // divisor + 1, divisor):
        width = area // height // divisor * divisor
        if not 0.9 * area <= height * width <= area:
            continue
        share = border_share(sizes, (height, width))
        if share < best[1]:
            best = (height, width), share
    return best
