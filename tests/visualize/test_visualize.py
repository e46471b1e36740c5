"""Drawings: that what is drawn lies where it should, is legible, and never fails on odd input."""

import json

import numpy as np
import pytest
from PIL import Image

from ggnet_jax.errors import UserError
from ggnet_jax.inference import geometry
from ggnet_jax.inference.interactions import Heatmaps, Interaction
from ggnet_jax.visualize import (
    draw_explanation,
    draw_interactions,
    draw_summary,
    group_pairs,
    plot_learning_curves,
)
from ggnet_jax.visualize.canvas import PALETTE, Canvas, text_color
from ggnet_jax.visualize.labels import place_labels
from ggnet_jax.visualize.panels import heat_over_image

GRAY = np.full((100, 160, 3), 128, np.uint8)


def interaction(human=(20, 10, 50, 90), obj=(60, 40, 90, 80), score=0.5, **changes):
    a, b = (((x1 + x2) / 2, (y1 + y2) / 2) for x1, y1, x2, y2 in (human, obj))
    middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    rng = np.random.default_rng(0)
    steps = changes.pop("steps", 2)
    fields = {
        "human_box": human,
        "object_box": obj,
        "object": "bicycle",
        "verb": "ride",
        "phrase": "ride bicycle",
        "score": score,
        "human_score": 0.9,
        "object_score": 0.8,
        "verb_score": 0.7,
        "interaction_point": middle,
        "human_point": a,
        "object_point": b,
        "human_target": a,
        "object_target": b,
        "act_points": tuple(
            (middle + rng.normal(0, 15, (9, 2)), rng.uniform(0.1, 0.9, 9)) for _ in range(steps)
        ),
    }
    return Interaction(**(fields | changes))


def heat(steps=2, size=(32, 32)):
    return Heatmaps(np.random.default_rng(1).uniform(0, 0.6, (steps + 1, *size)), (128, 128))


def color_at(image, point):
    return np.asarray(image)[round(point[1]), round(point[0])].astype(int)


def near(a, b, tolerance=40):
    return np.abs(np.asarray(a) - np.asarray(b)).max() < tolerance


def rgb(name):
    return [int(name[i : i + 2], 16) for i in (1, 3, 5)]


def test_small_images_are_enlarged_and_boxes_lie_on_their_pixels():
    one = interaction()
    drawing = draw_interactions(GRAY, [one], bounds=(1600, 1000))
    assert drawing.size == (1600, 1000)
    # The person's left side, a quarter from the top; an image pixel is ten wide, from its corner.
    x, y = (20 + 0.5) * 10 - 0.5, (30 + 0.5) * 10 - 0.5
    assert near(color_at(drawing, (x, y)), rgb(PALETTE[0]))
    assert near(color_at(drawing, (x + 12, y)), 128, 4) and near(
        color_at(drawing, (x - 12, y)), 128, 4
    )
    # The line between the two ends there, and it runs through the middle of both.
    end = (np.array(one.human_point) + 0.5) * 10 - 0.5
    assert near(color_at(drawing, end), rgb(PALETTE[0]))


def test_grouping_gathers_the_verbs_of_a_pair_by_descending_score():
    ones = [
        interaction(score=0.2, phrase="hold bicycle"),
        interaction(human=(100, 10, 140, 90), score=0.4),
        interaction(score=0.6),
    ]
    pairs = group_pairs(ones)
    assert [[one.label for one in pair.interactions] for pair in pairs] == [
        ["ride bicycle 0.60", "hold bicycle 0.20"],
        ["ride bicycle 0.40"],
    ]
    assert pairs[0].color != pairs[1].color


@pytest.mark.parametrize("count", [2, 8, 14])
def test_labels_do_not_cover_each_other(count):
    rng = np.random.default_rng(count)
    anchors = rng.uniform((100, 100), (600, 400), (count, 2))
    sizes = [(150, 30)] * count
    corners = np.array(place_labels(anchors, sizes, bounds=(1000, 700)))
    assert (corners >= 0).all() and (corners + np.array([150, 30]) <= (1000, 700)).all()
    for i in range(count):
        for j in range(i):
            apart = np.abs(corners[i] - corners[j])
            assert apart[0] >= 150 or apart[1] >= 30, (i, j)


def test_labels_keep_clear_of_what_is_to_be_avoided():
    face = np.array([[80.0, 80, 220, 180]])
    ((x, y),) = place_labels([(150, 130)], [(60, 20)], bounds=(400, 400), avoid=face)
    assert x + 60 <= 80 or x >= 220 or y + 20 <= 80 or y >= 180


def test_a_label_larger_than_the_drawing_is_placed_all_the_same():
    assert len(place_labels([(10, 10)], [(300, 30)], bounds=(100, 100))) == 1


def test_heatmaps_lie_where_the_network_saw():
    """A peak at one cell appears at that cell's place in the image, letterboxed or not."""
    for size, input_size, scale in (((160, 100), (128, 128), 3.0), ((90, 200), (64, 128), 2.0)):
        maps = np.zeros((input_size[0] // 4, input_size[1] // 4))
        cell = np.array([maps.shape[1] // 2 + 1, maps.shape[0] // 2 - 2])
        maps[cell[1], cell[0]] = 1.0
        inverse = geometry.invert(geometry.letterbox(*size, input_size))
        place = (geometry.apply(inverse, cell * 4.0) + 0.5) * scale - 0.5
        warped = heat_over_image(maps, size, input_size, scale)
        assert warped.shape == (size[1] * scale, size[0] * scale)
        ys, xs = np.mgrid[: warped.shape[0], : warped.shape[1]]
        center = (xs * warped).sum() / warped.sum(), (ys * warped).sum() / warped.sum()
        np.testing.assert_allclose(center, place, atol=0.6)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_figures_for_any_number_of_gaze_steps(steps):
    ones = [interaction(steps=steps), interaction(human=(100, 10, 140, 90), steps=steps, score=0.3)]
    summary = draw_summary(GRAY, ones)
    alone = draw_interactions(GRAY, ones, bounds=(1080, 800))
    assert summary.width == 1080 and summary.height > alone.height + 300
    explanation = draw_explanation(GRAY, ones, [heat(steps), heat(steps)])
    assert explanation.width == 1280
    # Only what has heatmaps is explained.
    assert draw_explanation(GRAY, ones, [heat(steps)]).height < explanation.height


def test_nothing_found_is_said():
    drawing = np.asarray(draw_summary(GRAY, []))
    assert (drawing[-60:, 200:300] == 255).all(axis=-1).any()  # a white plate on the gray
    assert draw_explanation(GRAY, [], []).size[0] > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (2000, 30)])
def test_odd_images_and_points_far_outside(size):
    image = Image.new("L", size, 90)
    far = interaction(
        human=(0, 0, size[0] + 10, size[1] + 10),
        obj=(0, 0, 10, 10),
        interaction_point=(-50.0, 999.0),
        act_points=((np.full((9, 2), 1e4), np.full(9, 0.5)),),
    )
    draw_summary(image, [far])
    draw_explanation(image, [far], [heat(1)])


def test_more_pairs_than_can_be_read_are_counted():
    ones = [interaction(human=(k, 10, k + 30, 90), score=0.9 - k / 100) for k in range(20)]
    few = draw_interactions(GRAY, ones[:10])
    many = draw_interactions(GRAY, ones)
    assert few.size == many.size
    note = np.asarray(many)[-25:, :120]
    assert (note == 255).all(axis=-1).mean() > 0.3  # the white plate of the note


def test_colors_differ_for_color_blind_eyes_and_text_is_legible():
    """Deuteranopia after Vienot's matrix in linear RGB: no two of the first five look alike."""
    matrix = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])

    def linear(name):
        return (np.array(rgb(name)) / 255) ** 2.2

    seen = [np.clip(matrix @ linear(name), 0, 1) for name in PALETTE[:5]]
    for i in range(5):
        for j in range(i):
            assert np.abs(seen[i] ** (1 / 2.2) - seen[j] ** (1 / 2.2)).max() > 0.08
    for name in PALETTE:
        light = [0.2126, 0.7152, 0.0722] @ linear(name)
        ink = [0.2126, 0.7152, 0.0722] @ linear(text_color(name))
        assert (max(light, ink) + 0.05) / (min(light, ink) + 0.05) > 4


def test_a_view_shows_a_part_of_the_image():
    image = np.zeros((40, 60, 3), np.uint8)
    image[20:30, 30:40] = 255
    drawing = np.asarray(Canvas(Image.fromarray(image), 4.0, view=(30, 20, 40, 30)).finish())
    assert drawing.shape == (40, 40, 3) and drawing.min() > 200


def test_learning_curves(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [
        {"step": k, "total": 5 / (k + 1), "glance": 1.0 + k, "learning_rate": 1e-3, "note": "text"}
        for k in range(60)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    log.write_text(text + '\n{"step": 60, "tot')  # a run that was killed while it wrote
    path = plot_learning_curves(log, tmp_path / "drawings" / "curves.png")
    with Image.open(path) as figure:
        assert figure.width > 900
    with pytest.raises(UserError, match="no training log"):
        plot_learning_curves(tmp_path / "none.jsonl", path)
    log.write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(UserError, match="holds no curve"):
        plot_learning_curves(log, path)
