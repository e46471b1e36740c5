"""--mode=estimate: a table without a data set."""

import json

import pytest
from tiny_config import get_config

from ggnet_jax.cli import estimate
from ggnet_jax.errors import UserError
from ggnet_jax.training.estimate import GIB, Room


def linear(fixed, an_image, calls):
    """Bytes for a number of images; notes what is asked for."""

    def need(images):
        calls.add(images)
        return fixed + an_image * images

    return need


@pytest.mark.parametrize(
    ("available", "unit", "yours", "expected"),
    [
        (100, 1, 24, 9),  # yours does not fit: between the two
        (100, 1, 4, 9),  # it does: beyond
        (100, 2, 24, 8),  # by two devices or parts
        (19, 1, 24, 0),
        (20, 1, 1, 1),
        (30, 1, 2, 2),
    ],
)
def test_the_largest_batch(available, unit, yours, expected):
    """10 bytes and 10 an image; few numbers of images are compiled."""
    calls = set()
    assert estimate._largest(linear(10, 10, calls), available, unit, yours) == expected
    assert len(calls) <= 4 and max(calls) <= max(yours, 10)


def test_what_is_not_linear():
    """Small batches are dearer than they look: the line is drawn again, and what is told fits."""

    def need(images):
        return 1000 + 100 * images if images < 8 else 1000 + 50 * images

    found = estimate._largest(need, 10_000, 1, 2)
    assert need(found) <= 10_000 and found >= 150

    def convex(images):
        return 10 + images**2

    found = estimate._largest(convex, 1000, 1, 2)
    assert convex(found) <= 1000 and found >= 2

    def gives_up(images):
        return float("inf") if images > 20 else 10 * images

    assert 10 <= estimate._largest(gives_up, 10_000, 1, 40) <= 20


def test_a_configuration_without_data(monkeypatch, capsys):
    """Memory, time and the largest batch of the tiny network, in words."""
    room = Room(GIB // 4, GIB, True, 1)
    monkeypatch.setattr(estimate, "room", lambda: room)
    monkeypatch.setattr(estimate, "_TRIES", 1)
    config = get_config()
    config.accumulate_steps, config.ema_decay = 2, 0.9
    config.model.gaze_steps = 0  # they take long to compile
    config.data.figures.num_train = -1  # nobody looks
    assert estimate.estimate(config) == 0
    said = capsys.readouterr()
    assert said.err.startswith("compiling a step of 2 images\ncompiling a step of 4 images\n")
    lines = said.out.splitlines()
    assert lines[0].startswith("hourglass, stacks: 1; ")
    assert "64 x 64 pixels, float32" in lines[0] and "assumed" not in lines[0]
    assert lines[1] == "1 device (cpu); 256 MiB of 1.0 GiB free on this host"
    [header] = [line for line in lines if line.startswith("images a step")]
    table = lines[lines.index(header) + 1 :]
    yours = table[0].split()
    assert table[0].startswith("2, this configuration") and "yes" in yours
    assert float(yours[-1]) == pytest.approx(2 / float(yours[-2]), rel=0.02)
    assert [row for row in table if "the largest that fits" in row]
    assert "average of the weights" in said.out and "input pipeline" in said.out
    largest = int(said.out.partition("the largest batch that fits: --config.batch_size=")[2])
    assert largest > 2 and largest % 2 == 0
    assert config.model.num_verbs == 0  # the caller's own


def test_the_classes_of_a_class_list_are_counted(tmp_path):
    config = get_config()
    config.model.num_verbs = config.model.num_objects = 0
    config.data.vocabulary = str(tmp_path / "classes.json")
    classes = {"objects": ["person", "dog", "cat"], "verbs": ["pet", "walk"]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    counted, assumed = estimate._with_classes(config)
    assert (counted.model.num_verbs, counted.model.num_objects, assumed) == (2, 3, False)


def test_what_cannot_be_estimated(monkeypatch):
    config = get_config()
    config.batch_size, config.accumulate_steps = 5, 2
    with pytest.raises(UserError, match="5 is not divisible by 2 parts"):
        estimate.estimate(config)
    config.data.vocabulary = "nothing"
    with pytest.raises(UserError, match="no vocabulary 'nothing'"):
        estimate.estimate(config)
    monkeypatch.setattr(estimate, "room", lambda: None)
    with pytest.raises(UserError, match="how much memory"):
        estimate.estimate(get_config())


@pytest.mark.parametrize("field", ["accumulate_steps", "batch_size"])
def test_numbers_that_are_none_are_refused(field):
    for number in (0, -2):
        config = get_config()
        config[field] = number
        with pytest.raises(UserError, match=f"config.{field} is {number}; it must be at least 1"):
            estimate.estimate(config)
