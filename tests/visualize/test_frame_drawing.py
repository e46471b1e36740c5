"""What is drawn on a frame: where it is, that it is steady, and how much of it."""

import numpy as np
from PIL import ImageColor

from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.visualize.canvas import PALETTE
from ggnet_jax.visualize.frame_drawing import MOST_PAIRS, draw_on_frame

PERSON, BICYCLE = (10.0, 20.0, 40.0, 90.0), (5.0, 60.0, 60.0, 99.5)
OBJECTS = ("person", "bicycle", "kite")
GRAY = np.full((120, 160, 3), 128, np.uint8)


def ride(box=BICYCLE, score=0.5, verb="ride"):
    first, second = (10.0, 30.0), (30.0, 80.0)
    phrase = f"{verb} bicycle"
    return Interaction(
        PERSON, box, "bicycle", verb, phrase, score, score, 1, 1,
        first, first, second, first, second,
    )  # fmt: skip


def has_color(image, number) -> np.ndarray:
    return (image == np.array(ImageColor.getrgb(PALETTE[number]))).all(-1)


def test_boxes_are_drawn_in_the_color_of_the_object():
    drawn = draw_on_frame(GRAY, [ride()], OBJECTS)
    assert drawn.shape == GRAY.shape and (GRAY == 128).all()
    colored = has_color(drawn, 1)
    assert colored[25:58, 10:14].any(axis=1).all()  # a solid side of the person
    assert not has_color(drawn, 0).any()


def test_small_changes_of_scores_change_nothing_that_is_drawn():
    first = draw_on_frame(GRAY, [ride(), ride(verb="push", score=0.49)], OBJECTS)
    other = draw_on_frame(GRAY, [ride(verb="push", score=0.5), ride(score=0.49)], OBJECTS)
    np.testing.assert_array_equal(first, other)


def test_only_the_strongest_pairs_are_drawn():
    boxes = [(5.0 + 8 * k, 60.0, 12.0 + 8 * k, 100.0) for k in range(MOST_PAIRS + 3)]
    many = [ride(box, 0.9 - 0.05 * k) for k, box in enumerate(boxes)]
    np.testing.assert_array_equal(
        draw_on_frame(GRAY, many, OBJECTS), draw_on_frame(GRAY, many[:MOST_PAIRS], OBJECTS)
    )


def test_a_frame_without_interactions_stays_as_it_is():
    np.testing.assert_array_equal(draw_on_frame(GRAY, [], OBJECTS), GRAY)


def test_boxes_of_any_size_and_tiny_frames_can_be_drawn():
    for box in ((0.0, 0.0, 160.0, 120.0), (159.0, 119.0, 160.0, 120.0), (3.0, 3.0, 4.0, 4.0)):
        draw_on_frame(GRAY, [ride(box)], OBJECTS)
    draw_on_frame(np.zeros((2, 3, 3), np.uint8), [ride((0.0, 0.0, 3.0, 2.0))], OBJECTS)
