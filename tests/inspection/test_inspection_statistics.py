"""Numbers of a split against counting it image by image, and against what training makes of it."""

import dataclasses
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from data_pipelines.padding import pad
from ggnet_jax.inference import geometry
from ggnet_jax.inspection import statistics
from ggnet_jax.inspection.choice import varied_images
from ggnet_jax.inspection.columns import Columns
from ggnet_jax.training.targets import Annotations, render_targets

OBJECTS, VERBS = 4, 5
SIZE = (64, 160)  # of the network's input, height and width


def split(
    seed, images=30, most_boxes=9, most_relations=7, sizes=((300, 200), (120, 260), (90, 90))
):
    """Random annotations; some images are empty."""
    rng = np.random.default_rng(seed)
    chosen = np.array(sizes)[rng.integers(0, len(sizes), images)]
    boxes, classes, owner, relations = [], [], [], []
    for image, (width, height) in enumerate(chosen):
        number = int(rng.integers(0, most_boxes))
        first = len(owner)
        corner = rng.uniform(0, 0.8, (number, 2)) * (width, height)
        side = rng.uniform(0.005, 0.4, (number, 2)) * (width, height)
        boxes.append(np.concatenate([corner, corner + side], axis=1))
        classes.append(rng.integers(0, OBJECTS, number))
        owner += [image] * number
        for _ in range(int(rng.integers(0, most_relations)) if number else 0):
            triple = (*(first + rng.integers(0, number, 2)), rng.integers(0, VERBS))
            if triple not in relations:
                relations.append(triple)
    return Columns(
        [f"{k}.jpg" for k in range(images)],
        chosen,
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(classes),
        np.array(owner),
        np.array(relations),
        rng.integers(0, 2**60, images),
    )


def test_classes_are_counted():
    columns = split(0)
    counts = statistics.class_counts(columns, OBJECTS, VERBS)
    plain = Counter((verb, columns.classes[obj]) for _, obj, verb in columns.relations.tolist())
    assert {pair: counts[pair] for pair in plain} == plain and counts.sum() == plain.total()


def test_boxes_lie_in_cells_as_the_letterbox_says():
    columns = split(1)
    boxes = statistics.boxes_in_cells(columns, SIZE)
    for box, image, found in zip(columns.boxes, columns.box_image, boxes, strict=True):
        matrix = geometry.letterbox(*columns.sizes[image], SIZE)
        expected = geometry.apply(matrix, box.reshape(2, 2)).ravel() / 4
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sizes_that_are_not_known_have_no_cells():
    columns = split(2)
    sizes = columns.sizes.copy()
    sizes[::2] = 0
    columns = dataclasses.replace(columns, sizes=sizes)
    known = (columns.box_image % 2).astype(bool)
    assert (np.isfinite(statistics.shorter_sides(columns, SIZE)) == known).all()
    found = statistics.collisions(columns, SIZE)
    assert found.boxes == known.sum()
    assert found.relations == known[columns.relations[:, 0]].sum()


def targets_of(columns, size, boxes=10, relations=10):
    """What training makes of every image, and the images one by one."""
    images = [columns.select(np.array([k])) for k in range(len(columns.file_names))]
    padded = Annotations(
        np.zeros((len(images), boxes, 4), np.float32),
        np.zeros((len(images), boxes), np.int32),
        np.zeros((len(images), boxes), bool),
        np.zeros((len(images), relations, 3), np.int32),
        np.zeros((len(images), relations), bool),
    )
    for row, one in enumerate(images):
        n, r = len(one.boxes), len(one.relations)
        matrix = geometry.letterbox(*one.sizes[0], size)
        corners = geometry.apply(matrix, one.boxes.reshape(-1, 2, 2)) / 4
        padded.boxes[row, :n] = corners.reshape(-1, 4)
        padded.classes[row, :n], padded.box_valid[row, :n] = one.classes, True
        padded.relations[row, :r], padded.relation_valid[row, :r] = one.relations, True
    render = partial(
        render_targets,
        map_size=(size[0] // 4, size[1] // 4),
        num_verbs=VERBS,
        num_objects=OBJECTS,
        verbs_of_object=np.ones((OBJECTS, VERBS), bool),
    )
    return images, jax.jit(render)(padded)


def test_collisions_are_those_of_the_targets():
    columns = split(3, images=80, sizes=((16, 24), (40, 10)))  # few cells: many collisions
    size = (32, 64)
    images, drawn = targets_of(columns, size)
    pairs_shared = relations_shared = boxes_shared = 0
    for row, one in enumerate(images):
        place = np.asarray(drawn.relation_cell)[row]
        triples = one.relations.tolist()
        pairs = {(human, obj): place[k] for k, (human, obj, _) in enumerate(triples)}
        cells = Counter(pairs.values())
        pairs_shared += sum(cells[cell] > 1 for cell in pairs.values())
        same = Counter((place[k], verb) for k, (_, _, verb) in enumerate(triples))
        relations_shared += sum(same[place[k], verb] > 1 for k, (_, _, verb) in enumerate(triples))
        centers = list(zip(np.asarray(drawn.box_cell)[row], one.classes.tolist(), strict=False))
        number = Counter(centers)
        boxes_shared += sum(number[center] > 1 for center in centers)
    found = statistics.collisions(columns, size)
    assert pairs_shared and relations_shared and boxes_shared
    assert (found.pairs_shared, found.relations_shared, found.boxes_shared) == (
        pairs_shared,
        relations_shared,
        boxes_shared,
    )
    assert found.relations == len(columns.relations) and found.boxes == len(columns.boxes)
    assert found.pairs == len({tuple(row[:2]) for row in columns.relations.tolist()})


def test_what_is_dropped_is_what_the_input_pipeline_drops():
    columns = split(5)
    counts = np.bincount(columns.relations[:, 2], minlength=VERBS)
    boxes = relations = 0
    for image in range(len(columns.file_names)):
        one = columns.select(np.array([image]))
        sides = one.boxes[:, 2:] - one.boxes[:, :2]
        padded = pad(
            one.boxes,
            one.classes,
            one.relations,
            max_boxes=4,
            max_relations=2,
            area=sides[:, 0] * sides[:, 1],
            verb_counts=counts,
        )
        boxes += len(one.boxes) - int(np.sum(padded["box_valid"]))
        relations += len(one.relations) - int(np.sum(padded["relation_valid"]))
    found = statistics.dropped(columns, 4, 2)
    assert boxes and found.boxes == boxes
    assert found.relations_of_boxes and found.relations
    assert found.relations_of_boxes + found.relations == relations
    keep = statistics.dropped(columns, found.most_boxes, found.most_relations)
    assert keep.boxes == keep.relations_of_boxes == keep.relations == 0


def test_images_of_two_splits_are_told_by_name_and_by_content():
    first, second = split(6, images=6), split(7, images=5)
    hashes = second.hashes.copy()
    hashes[2] = first.hashes[4]  # the same image under another name
    second = dataclasses.replace(
        second, hashes=hashes, file_names=["x.jpg", "0.jpg", "y.jpg", "z.jpg", "9.jpg"]
    )
    shared = statistics.overlap(first, second)
    assert shared.names == ("0.jpg",) and shared.same == (("4.jpg", "y.jpg"),)
    blind = dataclasses.replace(second, hashes=None)
    assert statistics.overlap(first, blind).same is None
    twice = dataclasses.replace(first, hashes=first.hashes[[0, 1, 0, 3, 1, 0]])
    assert statistics.repeated(twice) == [
        ("0.jpg", "2.jpg"),
        ("1.jpg", "4.jpg"),
        ("0.jpg", "5.jpg"),
    ]
    assert statistics.repeated(blind) == []


def test_nothing_at_all_is_counted_too():
    empty = Columns(
        ["a.jpg"], np.array([[8, 8]]), np.zeros((0, 4), np.float32), np.zeros(0, int),
        np.zeros(0, int), np.zeros((0, 3), int),
    )  # fmt: skip
    assert statistics.class_counts(empty, OBJECTS, VERBS).sum() == 0
    assert statistics.collisions(empty, SIZE).pairs == 0
    assert statistics.dropped(empty, 1, 1).most_boxes == 0
    assert varied_images(empty, 3) == [0]
    assert len(empty.select(np.array([0])).boxes) == 0


def test_the_border_is_what_the_image_does_not_cover():
    sizes = np.array([[200, 100], [100, 100], [0, 0]])
    assert statistics.border_share(sizes[:1], (64, 128)) == pytest.approx(0)
    assert statistics.border_share(sizes, (64, 128)) == pytest.approx(0.25)
    better, share = statistics.better_shape(np.array([[1280, 720]]), (512, 512), 32)
    assert share < 0.05 < statistics.border_share(np.array([[1280, 720]]), (512, 512))
    assert better[1] > better[0] and better[0] * better[1] <= 512 * 512


def test_every_verb_is_among_the_images_to_look_at():
    columns = split(8, images=50)
    chosen = varied_images(columns, 12)
    assert chosen == sorted(set(chosen)) and len(chosen) == 12
    shown = columns.relations[np.isin(columns.relation_image, chosen), 2]
    assert set(shown.tolist()) == set(columns.relations[:, 2].tolist())
    assert varied_images(columns, 500) == list(range(50))
