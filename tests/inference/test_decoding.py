"""Decoding on maps with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ggnet_jax.inference.decoding import BoxDetections, decode
from ggnet_jax.models.outputs import Outputs
from ggnet_jax.training.targets import Annotations, render_targets

H, W = 16, 24
NUM_OBJECTS, NUM_VERBS = 4, 3


def logit(p):
    return np.log(p / (1 - p))


def empty_maps():
    """Maps without a peak worth mentioning: background falls towards the corner, so no ties."""
    slope = -9.0 - 1e-3 * np.arange(H * W).reshape(1, H, W, 1)
    return {
        "object_logits": np.repeat(slope, NUM_OBJECTS, -1).astype(np.float32),
        "box_size": np.full((1, H, W, 2), 4.0, np.float32),
        "center_offset": np.full((1, H, W, 2), 0.5, np.float32),
        "interaction": np.repeat(slope, NUM_VERBS, -1).astype(np.float32),
        "human_offset": np.zeros((1, H, W, NUM_VERBS, 2), np.float32),
        "object_offset": np.zeros((1, H, W, NUM_VERBS, 2), np.float32),
    }


def scene(*, humans, objects, interactions):
    """Maps with peaks: humans (x, y, p), objects (x, y, class, p), interactions (x, y, verb, p,
    human center, object center)."""
    maps = empty_maps()
    for x, y, p in humans:
        maps["object_logits"][0, y, x, 0] = logit(p)
    for x, y, label, p in objects:
        maps["object_logits"][0, y, x, label] = logit(p)
    for x, y, verb, p, human, obj in interactions:
        maps["interaction"][0, y, x, verb] = logit(p)
        maps["human_offset"][0, y, x, verb] = np.subtract((x, y), human)
        maps["object_offset"][0, y, x, verb] = np.subtract((x, y), obj)
    return outputs_of(maps)


def outputs_of(maps):
    return Outputs(
        maps["object_logits"], maps["box_size"], maps["center_offset"],
        (np.zeros_like(maps["interaction"]), maps["interaction"]),
        maps["human_offset"], maps["object_offset"], (),
    )  # fmt: skip


def found(detections, above=1e-3):
    """(human cell, object cell, class, verb) of what scores above the background."""
    return [
        tuple(
            int(getattr(detections, name)[0, i])
            for name in ("human_cell", "object_cell", "object_class", "verb")
        )
        for i in range(detections.score.shape[1])
        if detections.valid[0, i] and detections.score[0, i] > above
    ]


def cell(x, y):
    return y * W + x


def test_two_people_two_objects_each_to_its_own():
    outputs = scene(
        humans=[(4, 4, 0.9), (15, 5, 0.8)],
        objects=[(8, 4, 2, 0.7), (20, 9, 3, 0.6)],
        interactions=[(6, 4, 1, 0.9, (4, 4), (8, 4)), (17, 7, 2, 0.5, (15, 5), (20, 9))],
    )
    detections = decode(outputs)
    assert found(detections) == [(cell(4, 4), cell(8, 4), 2, 1), (cell(15, 5), cell(20, 9), 3, 2)]
    assert float(detections.score[0, 0]) == pytest.approx(0.9 * 0.7 * 0.9, rel=1e-4)
    assert float(detections.verb_score[0, 1]) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(detections.human_box[0, 0], [2.5, 2.5, 6.5, 6.5], atol=1e-5)
    assert int(detections.interaction_cell[0, 1]) == cell(17, 7)


def test_matching_weighs_distance_against_score():
    """score / ((|dx| + 1)(|dy| + 1)): 0.3 on the spot beats 0.8 at (1, 1), 0.9 at (1, 0) wins."""

    def human_of(other_x, other_y, p):
        outputs = scene(
            humans=[(6, 6, 0.3), (other_x, other_y, p)],
            objects=[(14, 6, 1, 0.9)],
            interactions=[(10, 6, 0, 0.9, (6, 6), (14, 6))],
        )
        maps_peaks = found(decode(outputs))
        return maps_peaks[0][0]

    assert human_of(9, 9, 0.8) == cell(6, 6)
    assert human_of(8, 6, 0.95) == cell(8, 6)  # 0.95 / 3 > 0.3
    assert human_of(8, 6, 0.85) == cell(6, 6)  # 0.85 / 3 < 0.3


def test_only_allowed_pairs_are_matched():
    outputs = scene(
        humans=[(4, 4, 0.9)],
        objects=[(8, 4, 2, 0.9), (8, 5, 3, 0.5)],
        interactions=[(6, 4, 1, 0.9, (4, 4), (8, 4))],
    )
    pairs = np.ones((NUM_VERBS, NUM_OBJECTS), bool)
    assert found(decode(outputs, valid_pairs=pairs))[0][2] == 2
    pairs[1, 2] = False
    assert found(decode(outputs, valid_pairs=pairs))[0][2] == 3
    pairs[1] = False  # nothing is allowed for the verb: no interaction, not object 0
    assert found(decode(outputs, valid_pairs=pairs)) == []


def test_equal_triplets_keep_the_best():
    outputs = scene(
        humans=[(4, 4, 0.9)],
        objects=[(10, 4, 2, 0.9)],
        interactions=[(7, 4, 1, 0.9, (4, 4), (10, 4)), (7, 8, 1, 0.8, (4, 4), (10, 4)),
                      (7, 12, 0, 0.7, (4, 4), (10, 4))],
    )  # fmt: skip
    detections = decode(outputs)
    assert [verb for *_, verb in found(detections)] == [1, 0]
    assert int(detections.interaction_cell[0, 0]) == cell(7, 4)


def test_a_person_may_be_the_object():
    outputs = scene(
        humans=[(4, 4, 0.9), (12, 4, 0.8)],
        objects=[],
        interactions=[(8, 4, 1, 0.9, (4, 4), (12, 4))],
    )
    assert found(decode(outputs)) == [(cell(4, 4), cell(12, 4), 0, 1)]


def test_one_shared_regressor_serves_all_verbs():
    outputs = scene(
        humans=[(4, 4, 0.9)], objects=[(8, 4, 2, 0.7)],
        interactions=[(6, 4, 2, 0.9, (4, 4), (8, 4))],
    )  # fmt: skip
    shared = outputs._replace(
        human_offset=outputs.human_offset[..., 2:, :],
        object_offset=outputs.object_offset[..., 2:, :],
    )
    assert found(decode(shared)) == found(decode(outputs)) != []


def test_external_detections_replace_the_object_branch():
    outputs = scene(
        humans=[(4, 4, 0.9)], objects=[(8, 4, 2, 0.7)],
        interactions=[(6, 4, 1, 0.9, (4, 4), (8, 4))],
    )  # fmt: skip
    boxes = np.array([[[2, 2, 6.5, 6], [7, 3, 9, 5], [6, 2, 10, 6.0]]], np.float32)
    external = BoxDetections(
        boxes, np.array([[0, 3, 1]]), np.array([[0.5, 0.4, 0.9]], np.float32),
        np.array([[True, True, False]]),
    )  # fmt: skip
    detections = decode(outputs, detections=external)
    assert int(detections.object_class[0, 0]) == 3
    np.testing.assert_array_equal(detections.human_box[0, 0], boxes[0, 0])
    assert float(detections.score[0, 0]) == pytest.approx(0.9 * 0.5 * 0.4, rel=1e-4)


def test_works_under_jit_for_any_batch_and_small_maps():
    one = scene(
        humans=[(4, 4, 0.9)], objects=[(8, 4, 2, 0.7)],
        interactions=[(6, 4, 1, 0.9, (4, 4), (8, 4))],
    )  # fmt: skip
    batch = jax.tree.map(lambda a: np.concatenate([a, np.zeros_like(a), a]), one)
    detections = jax.jit(lambda o: decode(o, top_k=7))(batch)
    assert detections.score.shape == (3, 7)
    single = decode(one, top_k=7)
    np.testing.assert_allclose(detections.score[2], single.score[0], rtol=1e-6)
    tiny = jax.tree.map(lambda a: a[:, :2, :2], one)
    assert decode(tiny, top_k=100).score.shape[1] == 2 * 2 * NUM_VERBS


def test_drawing_then_decoding_gives_the_annotation_back():
    """Targets as if they were perfect predictions: every relation returns, boxes to rounding."""
    rng = np.random.default_rng(0)
    cells = [(4, 4), (12, 3), (19, 5), (5, 11), (13, 12), (20, 12)]
    center = np.array(cells) + rng.uniform(0, 0.9, (6, 2))
    half = rng.uniform(1, 3, (6, 2))
    boxes = np.concatenate([center - half, center + half], -1).astype(np.float32)[None]
    classes = np.array([[0, 0, 1, 2, 3, 0]])
    relations = np.array([[[0, 3, 0], [0, 3, 1], [1, 2, 2], [5, 4, 0]]])
    fields = boxes, classes, np.ones((1, 6), bool), relations, np.ones((1, 4), bool)
    targets = render_targets(
        Annotations(*map(jnp.asarray, fields)),
        map_size=(H, W),
        num_verbs=NUM_VERBS,
        num_objects=NUM_OBJECTS,
        verbs_of_object=jnp.ones((NUM_OBJECTS, NUM_VERBS), bool),
    )
    maps = empty_maps()
    maps["object_logits"] = logit(np.clip(targets.object_heatmap, 1e-6, 1 - 1e-6))
    maps["interaction"] = logit(np.clip(targets.gaze_mask, 1e-6, 1 - 1e-6))
    for i in range(6):
        y, x = divmod(int(targets.box_cell[0, i]), W)
        maps["box_size"][0, y, x] = targets.box_size[0, i]
        maps["center_offset"][0, y, x] = targets.center_offset[0, i]
    for i in range(4):
        y, x = divmod(int(targets.relation_cell[0, i]), W)
        verb = int(targets.relation_verb[0, i])
        maps["human_offset"][0, y, x, verb] = targets.human_offset[0, i]
        maps["object_offset"][0, y, x, verb] = targets.object_offset[0, i]
    detections = decode(outputs_of(maps))
    by_cell = {int(c): i for i, c in enumerate(targets.box_cell[0])}
    triples = {(by_cell[h], by_cell[o], v) for h, o, _, v in found(detections, above=0.5)}
    assert triples == {tuple(r) for r in relations[0].tolist()}
    for i in range(4):
        human = by_cell[int(detections.human_cell[0, i])]
        np.testing.assert_allclose(
            detections.human_box[0, i], np.clip(boxes[0, human], 0, [23, 15] * 2), atol=1e-4
        )
