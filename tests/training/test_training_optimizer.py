"""Learning rates by hand, and which parameters have their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import training_config

from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.training.optimizer import create_optimizer, is_glance, learning_rate_schedule


def rates(steps, **changes):
    schedule = learning_rate_schedule(training_config(**changes), steps_per_epoch=10)
    return [float(schedule(jnp.int32(step))) for step in steps]


def test_step_schedule():
    found = rates(
        [0, 299, 300, 399, 400, 999],
        learning_rate=1.0, num_epochs=100, lr_drop_epochs=(30, 40), lr_drop=0.1,
    )  # fmt: skip
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_cosine_schedule_with_warmup():
    found = rates(
        [0, 4, 9, 10, 55, 100],
        learning_rate=2.0, schedule="cosine", num_epochs=10, warmup_steps=10,
    )  # fmt: skip
    np.testing.assert_allclose(found, [0.2, 1.0, 2.0, 2.0, 1.0, 0.0], atol=1e-6)


def test_warmup_before_a_drop():
    found = rates([0, 1, 2, 10], learning_rate=1.0, warmup_steps=2, lr_drop_epochs=(1,))
    np.testing.assert_allclose(found, [0.5, 1.0, 1.0, 0.1], rtol=1e-6)


def test_unknown_schedule():
    with pytest.raises(UserError, match="'linear'; it can be 'step' or 'cosine'"):
        rates([0], schedule="linear")


def test_the_glance_head_and_nothing_else():
    """As the released code's `hm_rel`: the 3x3 convolution and the classifier, in every stack."""
    config = training_config(model__stacks=2)
    shapes = jax.eval_shape(
        create_model(config.model).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    chosen = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree.leaves_with_path(shapes["params"])
        if is_glance(path)
    }
    assert chosen == {
        f"heads{stack}/interactions/{layer}/{leaf}"
        for stack in (0, 1)
        for layer in ("glance_conv", "glance_classifier")
        for leaf in ("kernel", "bias")
    }


def test_clipping():
    """A gradient of norm 5 is brought to norm 1 before Adam sees it."""
    config = training_config(grad_clip=1.0)
    optimizer = create_optimizer(config, lambda step: 1.0)
    params = {"w": jnp.zeros(2)}
    _, state = optimizer.update({"w": jnp.array([3.0, 4.0])}, optimizer.init(params), params)
    first_moment = optax.tree.get(state, "mu")["w"]
    np.testing.assert_allclose(first_moment, [0.06, 0.08], rtol=1e-5)  # (1 - 0.9) * (0.6, 0.8)


def test_the_state_looks_the_same_whatever_the_options():
    """A run may be resumed with clipping or another rate of the glance head."""
    params = {"glance_conv": jnp.zeros(2), "other": jnp.zeros(3)}
    structures = {
        jax.tree.structure(
            create_optimizer(training_config(**changes), lambda step: 1.0).init(params)
        )
        for changes in ({}, {"grad_clip": 1.0}, {"glance_lr_multiplier": 10.0})
    }
    assert len(structures) == 1
