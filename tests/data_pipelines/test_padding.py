"""Which boxes and relations stay when there are more than a batch has room for."""

import numpy as np
import tensorflow as tf

from data_pipelines import padding


def padded(boxes, relations, counts=(5, 1, 9), **limits):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    arrays = (boxes, np.arange(len(boxes)), np.array(relations, np.int64).reshape(-1, 3))
    result = tf.function(
        lambda: padding.pad(
            *map(tf.constant, arrays),
            area=tf.constant(area),
            verb_counts=np.array(counts),
            **limits,
        )
    )()
    return {name: value.numpy() for name, value in result.items()}


def test_of_too_many_boxes_the_largest_stay_and_relations_follow_them():
    sizes = [5, 1, 7, 3]
    boxes = [[0, 0, s, s] for s in sizes]
    relations = [[0, 2, 0], [0, 1, 1], [2, 3, 2], [3, 0, 0]]
    result = padded(boxes, relations, max_boxes=3, max_relations=4)
    np.testing.assert_array_equal(result["boxes"][:, 2], [5, 7, 3])
    np.testing.assert_array_equal(result["classes"], [0, 2, 3])
    np.testing.assert_array_equal(result["box_valid"], [True] * 3)
    valid = result["relations"][result["relation_valid"]]
    np.testing.assert_array_equal(valid, [[0, 1, 0], [1, 2, 2], [2, 0, 0]])


def test_of_too_many_relations_the_rarest_verbs_stay():
    boxes = [[0, 0, 1, 1], [0, 0, 2, 2]]
    relations = [[0, 1, 2], [0, 1, 0], [1, 0, 2], [0, 1, 1], [1, 0, 0]]
    result = padded(boxes, relations, max_boxes=2, max_relations=3)
    np.testing.assert_array_equal(result["relations"], [[0, 1, 0], [0, 1, 1], [1, 0, 0]])


def test_an_image_without_anything_is_all_padding():
    result = padded([], [], max_boxes=3, max_relations=2)
    assert not any(value.any() for value in result.values())
    assert result["boxes"].shape == (3, 4) and result["relations"].shape == (2, 3)
