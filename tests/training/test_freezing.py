"""Frozen modules stay as they are to the last bit, cost no gradient, and resume as others do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import make_batch, training_config, verbs_of_object

from ggnet_jax.config import MODULES, check_config, frozen_modules
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.checkpoints import Checkpoints
from ggnet_jax.training import loop
from ggnet_jax.training import state as train_state
from ggnet_jax.training.optimizer import create_optimizer, module_of
from ggnet_jax.training.parallel import MeshParallel, PmapParallel

WAYS = {"jit": MeshParallel, "pmap": PmapParallel}
PLAIN = {"model__gaze_steps": 0, "model__per_verb_offsets": False}  # quick to compile


def build(way="jit", **changes):
    """(parallel, compiled step, function that makes a state) of one device."""
    parallel = WAYS[way](jax.devices()[:1])
    config = training_config(**{**PLAIN, **changes})
    return parallel, *loop.build(config, verbs_of_object(), 60, parallel)


@pytest.fixture(scope="module", params=WAYS)
def frozen(request):
    """A network with a frozen backbone."""
    return build(request.param, freeze="backbone")


@pytest.fixture(scope="module")
def trained():
    """One that is trained whole, the backbone at a tenth of the rate."""
    return build(backbone_lr_multiplier=0.1)


def take(built, state, seeds):
    """The host state after a batch of each seed."""
    parallel, step, _ = built
    state = parallel.put_state(state)
    for seed in seeds:
        state, metrics = step(state, parallel.put_batch(make_batch(seed, 4)))
        assert parallel.single(metrics)["finite"]
    return jax.device_get(parallel.single(state))


def fresh(built):
    parallel, _, make_state = built
    return jax.device_get(parallel.single(parallel.create(make_state)))


def same_bits(one, other):
    return all(
        np.array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_the_backbone_stays_and_the_heads_learn(frozen, trained):
    """Also after steps that moved it, whose moments are not zero; -0.0 stays what it is."""
    before = take(trained, fresh(trained), [0])
    stem = before.params["backbone"]["stem_conv"]["conv"]
    stem["kernel"] = np.array(stem["kernel"])
    stem["kernel"][0, 0, 0, :2] = (-0.0, 0.0)
    after = take(frozen, before, [1, 2])
    assert same_bits(after.params["backbone"], before.params["backbone"])
    assert same_bits(after.batch_stats, before.batch_stats)
    heads = [jax.tree.leaves(state.params["heads0"]) for state in (before, after)]
    assert all(not np.array_equal(a, b) for a, b in zip(*heads, strict=True))
    # The same bits again from a checkpoint's dictionaries, and the same structure as the other's.
    saved = train_state.to_checkpoint(take(frozen, before, [1]))
    template = jax.eval_shape(trained[2])
    resumed = take(frozen, train_state.from_checkpoint(template, *saved), [2])
    assert same_bits(resumed, after)


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_a_batch_give_the_update_of_the_whole(frozen, trained, way):
    """To rounding: a frozen backbone has no statistics of a part that could differ."""
    start = take(trained, fresh(trained), [0])
    built = build(way, freeze="backbone", accumulate_steps=2)
    found = []
    for parallel, step, _ in (frozen, built):
        state, metrics = step(parallel.put_state(start), parallel.put_batch(make_batch(1, 4)))
        found.append(jax.device_get((parallel.single(state), parallel.single(metrics))))
    (whole, metrics), (parts, of_parts) = found
    for name in ("loss", "gradient_norm"):
        assert of_parts[name] == pytest.approx(metrics[name], rel=1e-5)
    for state in (whole, parts):
        assert same_bits(state.params["backbone"], start.params["backbone"])
        assert same_bits(state.batch_stats, start.batch_stats)
    moments = [jax.tree.leaves(optax.tree.get(s.opt_state, "mu")) for s in (whole, parts)]
    for one, other in zip(*moments, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * max(1, np.abs(one).max()))
    assert any(np.abs(one).max() > 0.01 for one in moments[1])


def test_a_frozen_backbone_normalizes_by_its_running_statistics(frozen, trained):
    """Other running statistics change the loss, as in inference; one in training ignores them."""
    for (parallel, step, make_state), differs in ((frozen, True), (trained, False)):
        losses = []
        for shift in (0.0, 1.0):
            state = fresh((parallel, step, make_state))
            shifted = jax.tree.map(lambda leaf, shift=shift: leaf + shift, state.batch_stats)
            state = parallel.put_state(state.replace(batch_stats=shifted))
            _, metrics = step(state, parallel.put_batch(make_batch(0, 4)))
            losses.append(float(parallel.single(metrics)["loss"]))
        assert (losses[0] != losses[1]) == differs


def test_nothing_behind_frozen_modules_is_differentiated(trained):
    """XLA counts less than half of the operations, and fewer temporary bytes."""
    costs = []
    for parallel, step, make_state in (build(freeze="backbone"), trained):
        state = parallel.create(make_state)
        compiled = step.lower(state, parallel.put_batch(make_batch(0, 4))).compile()
        memory = compiled.memory_analysis()
        costs.append((compiled.cost_analysis()["flops"], memory.temp_size_in_bytes))
    (flops, memory), (all_flops, all_memory) = costs
    assert flops < 0.6 * all_flops and memory < 0.8 * all_memory


def test_multiplier_of_the_backbone(trained):
    """Adam's first step has the length of the rate: a tenth of it in the backbone."""
    before = fresh(trained)
    after = take(trained, before, [0])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).ravel(), after.params, before.params)
    backbone = np.concatenate(jax.tree.leaves(moved["backbone"]))
    heads = np.concatenate(jax.tree.leaves(moved["heads0"]))
    assert np.median(backbone[backbone > 0]) == pytest.approx(1e-4, rel=1e-2)
    assert np.median(heads[heads > 0]) == pytest.approx(1e-3, rel=1e-2)


def test_the_average_of_what_is_frozen_is_it():
    """Bit by bit, at any weight that the average gives the old."""
    weights = {"w": np.random.default_rng(0).normal(size=1000).astype(np.float32)}
    average = train_state.Average(jnp.int32(0), weights, {})
    update = jax.jit(lambda average: average.update(weights, {}, 0.999))
    for _ in range(20):
        average = update(average)
    assert average.count == 20 and same_bits(average.params, weights)


def test_a_run_is_gone_on_with_other_modules_frozen(frozen, trained, tmp_path):
    """Through a checkpoint on the disk: the optimizer's state has one structure."""
    state = take(frozen, fresh(frozen), [0])
    with Checkpoints(tmp_path) as saved:
        saved.save(1, *train_state.to_checkpoint(state))
    with Checkpoints(tmp_path) as saved:
        restored, step = loop.restore(saved, trained[0], trained[2])
    assert step == 1
    after = take(trained, jax.device_get(restored), [1])
    assert not same_bits(after.params["backbone"], state.params["backbone"])
    assert same_bits(take(trained, state, [1]), after)


@pytest.mark.parametrize("name", ["objects", "interactions", "matching"])
def test_updates_of_frozen_heads_are_nothing(name):
    """Whatever Adam's moments say; the others have theirs."""
    params = {
        "backbone": {"w": jnp.ones(2)},
        **{f"heads{s}": {n: {"w": jnp.ones(2)} for n in MODULES[1:]} for s in (0, 1)},
    }
    optimizer = create_optimizer(training_config(freeze=name), lambda step: 1.0)
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
    for path, update in jax.tree.leaves_with_path(updates):
        assert bool((update == 0).all()) == (module_of(path) == name)
    assert {module_of(path) for path, _ in jax.tree.leaves_with_path(params)} == set(MODULES)


@pytest.mark.parametrize(
    ("freeze", "names"),
    [
        ("", ()),
        ("backbone", ("backbone",)),
        (" objects,backbone, objects ,", ("objects", "backbone")),
    ],
)
def test_names_of_modules(freeze, names):
    assert frozen_modules(freeze) == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"freeze": "backbones"},
            "'backbones'; it can be backbone, objects, interactions, matching",
        ),
        ({"freeze": "backbone objects"}, "or several of them with commas"),
        ({"freeze": "backbone,heads0"}, "it can be backbone"),
        ({"freeze": ",".join(MODULES)}, "leaves nothing to train"),
        ({"backbone_lr_multiplier": -1.0}, "backbone_lr_multiplier is -1.0"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        check_config(training_config(**changes))
