"""What is taken of a network with other classes: it scores those that both know as it did."""

import functools
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util
from tiny import make_variables, model_config

from ggnet_jax.models import create_model
from ggnet_jax.torch_import.convert import expected_variables
from ggnet_jax.training.transfer import Source, fill, transfer

OBJECTS = ("person", "Sports Ball", "cup")
VERBS = ("ride", "hold", "drink_with")
OUR_OBJECTS = ("person", "cup", "kite", "sports_ball")
OUR_VERBS = ("hold", "fly", "RIDE", "pet", "drink with")
THEIRS = {"num_verbs": 3, "num_objects": 3, "head_width": 16}
OURS = {"num_verbs": 5, "num_objects": 4, "head_width": 16}

shapes_of = functools.cache(expected_variables)


def source_of(config, objects=OBJECTS, verbs=VERBS):
    variables = make_variables(create_model(config))
    return Source("theirs", config, traverse_util.flatten_dict(variables), objects, verbs)


def taken(theirs, ours, objects=OUR_OBJECTS, verbs=OUR_VERBS, their_verbs=VERBS):
    """The transfer between two changed tiny networks, and ours filled with other random weights."""
    ours = model_config(**(OURS | ours))
    source = source_of(model_config(**(THEIRS | theirs)), verbs=their_verbs)
    found = transfer(source, ours, shapes_of(ours), SimpleNamespace(objects=objects, verbs=verbs))
    fresh = make_variables(create_model(ours), seed=1)
    return source, found, fresh, fill(found.variables, fresh)


def at(tree, path) -> Any:
    return functools.reduce(lambda node, key: node[key], path.split("/"), tree)


def row_of(found, part):
    return next(line for line in found.table().splitlines() if line.startswith(part))


def test_classes_of_the_same_name_are_scored_as_before():
    """Of every head: the last gaze step too, whose hidden layer is wider for more verbs."""
    source, found, _, ours = taken({}, {})
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    theirs = traverse_util.unflatten_dict(dict(source.variables))
    before: Any = create_model(source.config).apply(theirs, images)
    after: Any = create_model(model_config(**OURS)).apply(ours, images)
    before, after = before[-1], after[-1]
    objects, known_objects = [0, 2, 1], [0, 1, 3]  # person, cup, sports ball; theirs, ours
    verbs, known_verbs = [1, 0, 2], [0, 2, 4]  # hold, ride, drink with

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    same(after.object_logits[..., known_objects], before.object_logits[..., objects])
    same(after.box_size, before.box_size)
    assert len(after.interaction_logits) == len(before.interaction_logits) == 3
    for a, b in zip(after.interaction_logits, before.interaction_logits, strict=True):
        same(a[..., known_verbs], b[..., verbs])
        assert np.ptp(np.asarray(b)) > 0.1
    for field in ("human_offset", "object_offset"):
        same(getattr(after, field)[:, :, :, known_verbs], getattr(before, field)[:, :, :, verbs])
    assert "objects that start fresh: kite\nverbs that start fresh: fly, pet\n" in found.table()
    assert row_of(found, "glance").endswith("1 whole; 3 of 5 verbs by name")
    assert row_of(found, "gaze 2").endswith("3 of 5 verbs by name; 6 of 8 hidden units")


def test_new_classes_start_at_the_prior():
    """The usual bias and a kernel of zeros, so that random weights do not shout on big features."""
    source, _, fresh, ours = taken({}, {})
    theirs = traverse_util.unflatten_dict(dict(source.variables))
    for place, new, known, from_theirs in (
        ("params/heads0/objects/object_heatmap/out", [2], [1, 3], [2, 1]),
        ("params/heads0/interactions/glance_classifier", [1, 3], [0, 2, 4], [1, 0, 2]),
        ("params/heads0/interactions/gaze2_classifier", [1, 3], [0, 2, 4], [1, 0, 2]),
        # x and y of each verb
        ("params/heads0/matching/human_offset/out", [2, 3, 6, 7], [0, 1, 4, 5], [2, 3, 0, 1]),
    ):
        kernel, bias = (at(ours, f"{place}/{leaf}") for leaf in ("kernel", "bias"))
        assert not kernel[..., new].any()
        np.testing.assert_array_equal(bias[new], at(fresh, f"{place}/bias")[new])
        expected = at(theirs, f"{place}/bias")[from_theirs]
        np.testing.assert_array_equal(bias[known], expected)
        inputs = at(theirs, f"{place}/kernel").shape[-2]
        expected = at(theirs, f"{place}/kernel")[..., from_theirs]
        np.testing.assert_array_equal(kernel[..., :inputs, known], expected)


def test_the_same_network_and_classes_are_taken_whole():
    names = {"objects": ("person", "b", "c", "d"), "verbs": ("e", "f", "g", "h", "i")}
    source = source_of(model_config(**OURS), **names)
    found = transfer(source, source.config, shapes_of(source.config), SimpleNamespace(**names))
    for path, leaf in traverse_util.flatten_dict(found.variables).items():
        assert type(leaf) is np.ndarray
        np.testing.assert_array_equal(leaf, source.variables[path])
    assert {line.split("  ")[-1] for line in found.table().splitlines()[1:-1]} == {"whole"}
    assert not found.is_empty() and found.fresh(("backbone", "objects", "interactions")) == []
    unnamed = Source("unnamed", source.config, source.variables, None, None)
    found = transfer(unnamed, source.config, shapes_of(source.config), SimpleNamespace(**names))
    assert "names of its objects are not known: taken to be ours, in our order" in found.table()


def test_a_narrower_hidden_layer_starts_fresh():
    """Fewer verbs: the units that are left would compute something else."""
    changes = {"num_verbs": 5}, {"num_verbs": 3}
    theirs = ("ride", "hold", "drink_with", "fly", "pet")
    _, found, fresh, ours = taken(*changes, verbs=("hold", "ride", "pet"), their_verbs=theirs)
    assert "hidden layer" in row_of(found, "gaze 2")
    place = "params/heads0/interactions/gaze2_{}"
    for leaf in ("hidden/kernel", "hidden/bias", "classifier/bias"):
        path = place.format(leaf)
        np.testing.assert_array_equal(at(ours, path), at(fresh, path))
    assert not at(ours, place.format("classifier/kernel")).any()
    place = "heads0/interactions/gaze1_classifier/kernel"
    assert not np.array_equal(at(ours["params"], place), at(fresh["params"], place))


def changed_leaves(ours, fresh):
    flat, initial = (traverse_util.flatten_dict(tree) for tree in (ours, fresh))
    return {path for path in flat if not np.array_equal(flat[path], initial[path])}


@pytest.mark.parametrize(
    ("theirs", "ours", "part", "words"),
    [
        ({"gaze_steps": 1}, {}, "gaze 2", "all fresh (none there)"),
        ({}, {"gaze_steps": 1}, "gaze 1", "the last gaze step has a hidden layer"),
        ({}, {"gaze_steps": 3}, "gaze 3", "all fresh (none there)"),
        ({"head_width": 8}, {}, "box size", "all fresh (head_width 8 there, 16 here)"),
        ({"per_verb_offsets": False}, {}, "human offset", "one offset pair for all verbs there"),
        ({"act_points": 25}, {}, "gaze 1", "5x5x16x16 there, 3x3x16x16 here"),
        ({"stacks": 2}, {}, "backbone", "whole"),
        ({}, {"stacks": 2}, "box size, stack 2", "all fresh (none there)"),
        ({}, {"widths": (8, 16)}, "backbone", " fresh (3x3x8x8 there, 3x3x8x16 here"),
        ({}, {"backbone": "dla34"}, "backbone", "all fresh (hourglass there, dla34 here)"),
        ({}, {"gaze_steps": 0, "per_verb_offsets": False, "aggregation": "human"}, "glance",
         "aggregation 'none' there, 'human' here"),
    ],
)  # fmt: skip
def test_other_layers_are_said(theirs, ours, part, words):
    _, found, fresh, filled = taken(theirs, ours)
    assert words in row_of(found, part), found.table()
    assert max(map(len, found.table().splitlines())) < 130
    whole = {layer.part for layer in found.layers if layer.how == "whole"}
    assert changed_leaves(filled, fresh) and whole


def test_statistics_are_not_taken_without_their_convolution():
    """After a stem of another width the convolution starts fresh, and its batch norm with it."""
    _, found, fresh, ours = taken({"stem_width": 4}, {})
    changed = changed_leaves(ours, fresh)
    block = [path for path in changed if path[1:4] == ("backbone", "stem_residual", "conv1")]
    assert block == []
    assert ("batch_stats", "backbone", "stem_residual", "conv2", "norm", "mean") not in changed
    assert ("params", "backbone", "stem_residual", "conv2", "conv", "kernel") in changed
    assert " fresh (7x7x3x4 there, 7x7x3x8 here, ...)" in row_of(found, "backbone")


def test_classes_without_names_are_those_of_as_many():
    """Three verbs of unknown names for three; two objects less than ours are nobody knows which."""
    ours = model_config(**(OURS | {"num_verbs": 3}))
    source = source_of(model_config(**THEIRS), objects=None, verbs=None)
    classes = SimpleNamespace(objects=OUR_OBJECTS, verbs=("a", "b", "c"))
    found = transfer(source, ours, shapes_of(ours), classes)
    assert row_of(found, "glance").endswith("  whole")
    assert "3 objects there of unknown names, 4 here" in row_of(found, "object heatmap")


def test_no_class_in_common():
    _, found, fresh, ours = taken({}, {}, objects=("x", "y", "z", "w"), verbs=tuple("abcde"))
    assert "no object of the same name" in row_of(found, "object heatmap")
    assert "no verb of the same name" in row_of(found, "object offset")
    assert not at(ours, "params/heads0/objects/object_heatmap/out/kernel").any()
    place = "params/heads0/objects/object_heatmap/out/bias"
    np.testing.assert_array_equal(at(ours, place), at(fresh, place))


def test_a_name_is_looked_for_as_it_is_written_first():
    """Two of theirs are alike but for case: the same spelling wins, else the first."""
    three = {"num_verbs": 3}
    source, _, _, ours = taken(
        three, three, verbs=("ride", "Ride", "RIDE"), their_verbs=("hold", "Ride", "ride")
    )
    theirs = traverse_util.unflatten_dict(dict(source.variables))
    place = "params/heads0/interactions/glance_classifier/bias"
    np.testing.assert_array_equal(at(ours, place), at(theirs, place)[[2, 1, 1]])


def test_jax_arrays_are_filled_like_host_arrays():
    _, found, fresh, ours = taken({}, {})
    device = fill(found.variables, jax.tree.map(jax.numpy.asarray, fresh))
    for a, b in zip(jax.tree.leaves(device), jax.tree.leaves(ours), strict=True):
        np.testing.assert_array_equal(a, b)
