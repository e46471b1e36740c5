"""One update of the tiny network, against what Adam and the data say it must be."""

import jax
import numpy as np
import pytest
from tiny import make_batch, training_config, verbs_of_object

from ggnet_jax.errors import UserError
from ggnet_jax.training import loop
from ggnet_jax.training.parallel import MeshParallel, create_parallel
from ggnet_jax.training.step import BATCH_KEYS

RATE = 1e-3
STEPS_PER_EPOCH = 60


@pytest.fixture(scope="module")
def parallel():
    return MeshParallel(jax.devices()[:1])


@pytest.fixture(scope="module")
def built(parallel):
    """(compiled step, state on the host); the glance head learns at ten times the rate."""
    config = training_config(
        learning_rate=RATE, lr_drop_epochs=(1,), glance_lr_multiplier=10.0, model__gaze_steps=1
    )
    step, make_state = loop.build(config, verbs_of_object(), STEPS_PER_EPOCH, parallel)
    return step, jax.device_get(parallel.create(make_state))


def take(built, parallel, batches):
    """Host states and metrics after each batch, from the fresh state."""
    step, fresh = built
    state = parallel.put_state(fresh)
    result = []
    for batch in batches:
        state, metrics = step(state, parallel.put_batch(batch))
        result.append(jax.device_get((state, metrics)))
    return result


def test_first_update_is_adams(built, parallel):
    """Adam's first step has the length of the rate in every coordinate that has a gradient."""
    _, fresh = built
    [(state, metrics)] = take(built, parallel, [make_batch(0, 4)])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).ravel(), state.params, fresh.params)
    glance, others = [], []
    for path, leaf in jax.tree.leaves_with_path(moved):
        (glance if "glance" in jax.tree_util.keystr(path) else others).append(leaf)
    glance, others = np.concatenate(glance), np.concatenate(others)
    assert np.median(glance) == pytest.approx(10 * RATE, rel=1e-3)
    assert np.median(others[others > 0]) == pytest.approx(RATE, rel=1e-3)
    assert glance.max() < 10.01 * RATE and others.max() < 1.01 * RATE
    assert state.step == 1 and metrics["learning_rate"] == pytest.approx(RATE)
    # Zero-initialized gaze offsets must get a gradient, or they would stay where they are.
    offsets = moved["heads0"]["interactions"]["gaze1"]["offset_conv"]["kernel"]
    assert (offsets > 0).mean() > 0.5


def test_overfits_one_batch_until_the_rate_drops(built, parallel):
    """lr_drop_epochs=(1,): the first update of the second epoch is the first to be small."""
    taken = take(built, parallel, [make_batch(0, 4)] * (STEPS_PER_EPOCH + 2))
    losses = [metrics["loss"] for _, metrics in taken]
    assert losses[-1] < 0.6 * losses[0]
    rates = [metrics["learning_rate"] for _, metrics in taken]
    np.testing.assert_allclose(rates, [RATE] * STEPS_PER_EPOCH + [RATE / 10] * 2, rtol=1e-6)


def test_is_pure_and_compiled_once(built, parallel):
    """The same batches give the same bits, and other contents never compile again."""
    step, _ = built
    batches = [make_batch(seed, 4, empty=(seed,)) for seed in range(3)]
    once, again = (take(built, parallel, batches) for _ in range(2))
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        assert np.array_equal(a, b)
    assert step._cache_size() == 1


def test_consumes_its_state(built, parallel):
    """Donation: two copies of the state never lie in memory."""
    step, fresh = built
    state = parallel.put_state(fresh)
    step(state, parallel.put_batch(make_batch(0, 4)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_flags_what_is_not_finite(built, parallel, value):
    """1e30 leaves the loss finite, as batch norm divides by it, but not the running variance."""
    bad = make_batch(0, 4)
    bad["image"][2, 5, 5] = value
    [(_, fine), (_, metrics)] = take(built, parallel, [make_batch(0, 4), bad])
    assert fine["finite"] and not metrics["finite"]


def test_an_image_without_interactions_trains_the_rest(built, parallel):
    """Every image empty: N of eq. (4) is 1, matching losses are 0, all stays finite."""
    [(_, metrics)] = take(built, parallel, [make_batch(0, 4, empty=(0, 1, 2, 3))])
    assert metrics["finite"]
    assert metrics["human_offset"] == metrics["object_offset"] == 0
    assert metrics["object_heatmap"] > 0


def test_padding_of_annotations_does_not_matter(built, parallel):
    """What lies in unused slots changes nothing."""
    batch = make_batch(0, 4)
    junk = {k: np.array(v) for k, v in batch.items()}
    junk["boxes"][~junk["box_valid"]] = 1e6
    junk["classes"][~junk["box_valid"]] = 2
    junk["relations"][~junk["relation_valid"]] = (1, 5, 2)
    [(a, _)], [(b, _)] = (take(built, parallel, [x]) for x in (batch, junk))
    for one, other in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_what_the_device_needs_is_sent(parallel):
    sent = parallel.put_batch(make_batch(0, 4))
    assert set(sent) == set(BATCH_KEYS) and "image_id" not in sent


def test_an_unknown_way_over_devices_is_named():
    with pytest.raises(UserError, match="'jit' or 'pmap'"):
        create_parallel("pjit")
