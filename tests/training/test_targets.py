"""Target drawing against a slow NumPy version with loops, and on cases worked by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.training.targets import Annotations, gaussian_radius, render_targets

H, W = 24, 32
NUM_OBJECTS, NUM_VERBS = 4, 5


def annotations(boxes, classes, relations, slots=4):
    """One image, padded: filling slots hold rubbish that must not be drawn."""
    n, r = len(boxes), len(relations)
    padded = np.full((1, slots, 4), 7.0, np.float32)
    padded[0, :n] = boxes
    labels = np.full((1, slots), 1)
    labels[0, :n] = classes
    triples = np.zeros((1, slots, 3), int)
    if r:
        triples[0, :r] = relations
    index = np.arange(slots)[None]
    return Annotations(padded, labels, index < n, triples, index < r)


def render(one, verbs_of_object=None, **options):
    known = np.zeros((NUM_OBJECTS, NUM_VERBS), bool) if verbs_of_object is None else verbs_of_object
    return render_targets(
        one,
        map_size=(H, W),
        num_verbs=NUM_VERBS,
        num_objects=NUM_OBJECTS,
        verbs_of_object=jnp.asarray(known),
        **options,
    )


def slow_gaussian(shape, x, y, radius, divisor):
    """The definition, cell by cell."""
    sigma = (2 * radius + 1) / divisor
    plane = np.zeros(shape)
    for i, j in np.ndindex(*shape):
        if abs(i - y) <= radius and abs(j - x) <= radius:
            plane[i, j] = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma**2))
    return plane


@pytest.mark.parametrize(
    ("width", "height", "radius"),
    # min over the roots (b +- sqrt(b^2 - 4ac)) / 2 by hand; the third equation decides:
    # (-1.4 s + sqrt(1.96 s^2 + 3.36 p)) / 2 with s = w + h, p = w * h.
    [(10, 10, 2), (1, 1, 0), (30, 2, 1), (20, 20, 5), (7, 0, 0), (0, 0, 0), (40, 30, 9)],
)
def test_radius_by_hand(width, height, radius):
    s, p = width + height, width * height
    by_hand = int((-1.4 * s + np.sqrt(1.96 * s**2 + 3.36 * p)) / 2)
    assert max(by_hand, 0) == radius
    assert int(gaussian_radius(jnp.array([float(width), float(height)]))) == radius


def test_object_heatmap_sizes_and_offsets():
    boxes = [[2.2, 3.0, 12.9, 15.5], [10.0, 2.0, 30.0, 21.0], [-5.0, -4.0, 9.0, 8.0]]
    targets = render(annotations(boxes, [0, 2, 0], []))
    expected = np.zeros((H, W, NUM_OBJECTS))
    for (x1, y1, x2, y2), label in zip(np.clip(boxes, 0, [31, 23, 31, 23]), [0, 2, 0], strict=True):
        radius = int(gaussian_radius(jnp.ceil(jnp.array([x2 - x1, y2 - y1]))))
        plane = slow_gaussian((H, W), int((x1 + x2) / 2), int((y1 + y2) / 2), radius, 6)
        expected[..., label] = np.maximum(expected[..., label], plane)
    np.testing.assert_allclose(targets.object_heatmap[0], expected, atol=1e-6)
    np.testing.assert_array_equal(targets.object_heatmap[0] > 0, expected > 0)
    assert targets.box_valid.tolist() == [[True, True, True, False]]
    # (2.2 + 12.9) / 2 = 7.55, (3 + 15.5) / 2 = 9.25
    assert int(targets.box_cell[0, 0]) == 9 * W + 7
    np.testing.assert_allclose(targets.box_size[0, 0], [10.7, 12.5], atol=1e-5)
    np.testing.assert_allclose(targets.center_offset[0, 0], [0.55, 0.25], atol=1e-5)
    np.testing.assert_allclose(targets.box_size[0, 2], [9, 8], atol=1e-5)  # clipped first


def test_a_box_without_area_keeps_its_place_and_its_relations():
    boxes = [[2.0, 2.0, 10.0, 10.0], [40.0, 5.0, 50.0, 9.0]]  # the second lies outside
    targets = render(annotations(boxes, [0, 1], [[0, 1, 3]]))
    assert targets.box_valid.tolist() == [[True, False, False, False]]
    assert float(targets.object_heatmap[..., 1].max()) == 0
    # Its clipped center is (31, 7); the midpoint of (6, 6) and (31, 7) is (18, 6).
    assert float(targets.glance_mask[0, 6, 18, 3]) == 1
    np.testing.assert_array_equal(targets.human_offset[0, 0], [12, 0])
    np.testing.assert_array_equal(targets.object_offset[0, 0], [-13, -1])


def test_hard_negatives_are_the_other_verbs_known_for_the_object():
    known = np.zeros((NUM_OBJECTS, NUM_VERBS), bool)
    known[2, [0, 1, 3]] = True
    boxes = [[2.0, 2.0, 8.0, 12.0], [14.0, 6.0, 22.0, 14.0]]
    targets = render(annotations(boxes, [0, 2], [[0, 1, 1]]), known)
    point = (8, 11)  # (y, x): midpoint of (5, 7) and (18, 10)
    np.testing.assert_array_equal(targets.glance_mask[0][point], [-1, 1, 0, -1, 0])
    hard = -slow_gaussian((H, W), point[1], point[0], 3, 6)
    np.testing.assert_allclose(targets.glance_mask[0, ..., 0], hard, atol=1e-6)
    np.testing.assert_allclose(
        targets.gaze_mask[0, ..., 3], -slow_gaussian((H, W), point[1], point[0], 3, 2), atol=1e-6
    )
    radius = int(gaussian_radius(jnp.array([13.0, 3.0])))
    np.testing.assert_allclose(
        targets.gaze_mask[0, ..., 1],
        slow_gaussian((H, W), point[1], point[0], radius, 8),
        atol=1e-6,
    )


def test_order_does_not_matter_and_positives_push_hard_negatives_away():
    """Two verbs on one object, then a neighbor within reach: all known to the object class."""
    known = np.ones((NUM_OBJECTS, NUM_VERBS), bool)
    boxes = [[2.0, 2.0, 8.0, 12.0], [14.0, 6.0, 22.0, 14.0], [16.0, 6.0, 24.0, 14.0]]
    relations = [[0, 1, 1], [0, 1, 2], [0, 2, 4]]
    masks = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        one = annotations(boxes, [0, 2, 2], [relations[i] for i in order])
        masks.append(np.asarray(render(one, known).glance_mask[0]))
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])
    for verb in (1, 2, 4):  # labeled positive within reach of every patch
        assert masks[0][..., verb].min() == 0
        assert masks[0][..., verb].max() == 1
    for verb in (0, 3):
        assert masks[0][..., verb].min() == -1


def test_no_relation_draws_nothing():
    known = np.ones((NUM_OBJECTS, NUM_VERBS), bool)
    targets = render(annotations([[2.0, 2.0, 8.0, 12.0]], [0], []), known)
    assert not np.any(targets.glance_mask) and not np.any(targets.gaze_mask)
    assert not np.any(targets.relation_valid)


def test_a_patch_in_the_corner_stays_in_the_image():
    known = np.ones((NUM_OBJECTS, NUM_VERBS), bool)
    targets = render(annotations([[0, 0, 1, 1], [0, 0, 1, 1]], [0, 1], [[0, 1, 0]]), known)
    expected = -slow_gaussian((H, W), 0, 0, 3, 6)
    np.testing.assert_allclose(targets.glance_mask[0, ..., 1], expected, atol=1e-6)


def test_gaze_targets_can_equal_the_glance():
    one = annotations([[2.0, 2.0, 8.0, 12.0], [14.0, 6.0, 22.0, 14.0]], [0, 2], [[0, 1, 1]])
    targets = render(one, np.ones((NUM_OBJECTS, NUM_VERBS), bool), sharp_gaze_targets=False)
    np.testing.assert_array_equal(targets.glance_mask, targets.gaze_mask)
