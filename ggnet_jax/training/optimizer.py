"""Adam and its learning rate (paper section 4)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from ggnet_jax.errors import UserError


def learning_rate_schedule(config: Any, steps_per_epoch: int) -> optax.Schedule:
    """Step number (0 for the first update) -> learning rate.

    Args:
        config: `learning_rate`, `schedule`, `num_epochs`, `lr_drop_epochs`, `lr_drop`,
            `warmup_steps`.
        steps_per_epoch: updates an epoch.

    Returns:
        'step': constant, times `lr_drop` at the start of each of `lr_drop_epochs`; 'cosine': to
        zero at the last step. Both rise linearly from zero over the first `warmup_steps`.

    Raises:
        UserError: another name of a schedule.
    """
    total = config.num_epochs * steps_per_epoch
    if config.schedule == "step":
        drops = {epoch * steps_per_epoch: config.lr_drop for epoch in config.lr_drop_epochs}
        schedule = optax.piecewise_constant_schedule(config.learning_rate, drops)
    elif config.schedule == "cosine":
        decay = max(total - config.warmup_steps, 1)
        cosine = optax.cosine_decay_schedule(config.learning_rate, decay)

        def after_warmup(count: ArrayLike) -> ArrayLike:
            return cosine(jnp.maximum(jnp.asarray(count) - config.warmup_steps, 0))

        schedule = after_warmup
    else:
        raise UserError(f"config.schedule is {config.schedule!r}; it can be 'step' or 'cosine'")
    if not config.warmup_steps:
        return schedule

    def with_warmup(count: ArrayLike) -> ArrayLike:
        return jnp.minimum((jnp.asarray(count) + 1) / config.warmup_steps, 1.0) * schedule(count)

    return with_warmup


def create_optimizer(config: Any, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Adam without weight decay, as released, behind an optional clip of the global norm.

    Its state has the same structure whatever the options, so that a run can be resumed with others.

    Args:
        config: `grad_clip` and `glance_lr_multiplier`.
        schedule: step -> learning rate.
    """
    clip = optax.clip_by_global_norm(config.grad_clip) if config.grad_clip else optax.identity()
    return optax.chain(
        clip,
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
        _scale_glance(config.glance_lr_multiplier),
    )


def _scale_glance(factor: float) -> optax.GradientTransformation:
    """Multiply the updates of the glance head (the released `recover_loss_weight`)."""

    def scale(updates: optax.Updates, params: optax.Params | None = None) -> optax.Updates:
        del params
        if factor == 1.0:
            return updates
        return jax.tree.map_with_path(
            lambda path, update: update * factor if is_glance(path) else update, updates
        )

    return optax.stateless(scale)


def is_glance(path: tuple[Any, ...]) -> bool:
    """Whether a parameter lies in the glance head: F0's convolution or its classifier."""
    return any(str(getattr(key, "key", key)).startswith("glance") for key in path)
