"""The average of the weights: what it is, where it lies, and that training does not see it."""

import jax
import numpy as np
import pytest
from tiny import make_batch, make_variables, training_config, verbs_of_object

from ggnet_jax.config import check_config
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.run_dir import checkpoints
from ggnet_jax.training import loop
from ggnet_jax.training import state as train_state
from ggnet_jax.training.parallel import MeshParallel

DECAY = 0.6


@pytest.fixture(scope="module")
def parallel():
    return MeshParallel(jax.devices()[:1])


@pytest.fixture(scope="module")
def taken(parallel):
    """Host states, the fresh one first, with and without an average."""
    found = {}
    for decay in (0.0, DECAY):
        config = training_config(ema_decay=decay, model__gaze_steps=0)
        step, make_state = loop.build(config, verbs_of_object(), 60, parallel)
        shapes = jax.eval_shape(make_state)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        states = [zeros.replace(**make_variables(create_model(config.model)))]
        state = parallel.put_state(states[0])
        for seed in range(20):
            state, _ = step(state, parallel.put_batch(make_batch(seed % 4, 4)))
            states.append(jax.device_get(state))
        found[decay] = states
    return found


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_does_not_see_it(taken):
    """The weights, statistics and moments are to the last bit those of a run without."""
    assert taken[0.0][-1].average is None
    assert_same(taken[DECAY][-1].replace(average=None), taken[0.0][-1])


def test_is_the_sum_that_the_docstring_says(taken):
    """Against the weights of every update, in float64; the first weights do not count."""
    states = taken[DECAY]
    expected = None
    for number, state in enumerate(states[1:]):
        weights = jax.tree.map(lambda leaf: leaf.astype(np.float64), state.params)
        keep = min(DECAY, number / (number + 9))
        expected = expected or weights
        expected = jax.tree.map(lambda a, b, d=keep: d * a + (1 - d) * b, expected, weights)
    assert states[-1].average.count == 20
    for a, b in zip(
        jax.tree.leaves(states[-1].average.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert_same(states[1].average.params, states[1].params)
    assert_same(states[1].average.batch_stats, states[1].batch_stats)


@pytest.mark.parametrize("before", [0.0, DECAY])
@pytest.mark.parametrize("after", [0.0, DECAY])
def test_a_checkpoint_goes_on_with_or_without(taken, before, after):
    """The weights to use are the averaged ones; those to train on come back as they were."""
    saved = taken[before][-1]
    variables, training = train_state.to_checkpoint(saved)
    used = saved.average or saved
    assert_same(variables, {"params": used.params, "batch_stats": used.batch_stats})
    found = train_state.from_checkpoint(taken[after][-1], variables, training)
    assert_same(found.replace(average=None), saved.replace(average=None))
    if not after:
        assert found.average is None
    elif before:
        assert_same(found.average, saved.average)
    else:
        assert found.average.count == 0
        assert_same(found.average.params, saved.params)


def test_another_network_is_refused(taken):
    """Also where only the weights to train on are of another shape."""
    variables, training = train_state.to_checkpoint(taken[DECAY][-1])
    name = next(iter(training["weights"]["params"]))
    broken = {**training["weights"], "params": {**training["weights"]["params"], name: {}}}
    with pytest.raises(ValueError, match=f"has no params/{name}"):
        train_state.from_checkpoint(taken[DECAY][-1], variables, {**training, "weights": broken})


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(UserError, match=f"config.ema_decay is {decay}; it must be"):
        check_config(training_config(ema_decay=decay))


def test_turning_it_on_and_off_is_said(tmp_path, capsys, toy):
    """A run without, that goes on with an average, and then without again."""
    for epochs, decay, said in (
        (1, 0.0, ""),
        (2, 0.5, "the average of the weights starts from those of the checkpoint"),
        (3, 0.9, "ema_decay: 0.5 -> 0.9"),
        (4, 0.0, "the average of the weights is dropped"),
    ):
        config = training_config(num_epochs=epochs, ema_decay=decay)
        loop.train(config, tmp_path / "run", toy.data)
        output = capsys.readouterr().out
        assert said in output
        assert ("the average of the weights is evaluated" in output) == bool(decay)
        recorded = checkpoints.about(tmp_path / "run", 5 * epochs)
        assert recorded.get("ema_decay") == (decay or None)
