"""Adam, its learning rate (paper section 4), and which parameters it leaves alone."""

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from ggnet_jax.config import MODULES, frozen_modules
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

    Its state has the same structure whatever the options, so that a run can be resumed with others:
    of frozen parameters it holds moments too, and they change by nothing, whatever these say.

    Args:
        config: `grad_clip`, `glance_lr_multiplier`, `backbone_lr_multiplier` and `freeze`.
        schedule: step -> learning rate.
    """
    clip = optax.clip_by_global_norm(config.grad_clip) if config.grad_clip else optax.identity()
    return optax.chain(
        clip,
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
        _scale_updates(config),
    )


def _scale_updates(config: Any) -> optax.GradientTransformation:
    """Multiply the updates of the backbone, and of the glance head.

    The latter is `recover_loss_weight` of the released code.

    Those of frozen modules are -0.0, the only number that leaves every other, 0.0 and -0.0 too, as
    it is when added.
    """
    frozen = frozen_modules(config.freeze)

    def scaled(path: tuple[Any, ...], update: jax.Array) -> jax.Array:
        module = module_of(path)
        if module in frozen:
            return jnp.full_like(update, -0.0)
        factor = config.backbone_lr_multiplier if module == "backbone" else 1.0
        factor = config.glance_lr_multiplier if is_glance(path) else factor
        return update if factor == 1.0 else update * factor

    def scale(updates: optax.Updates, params: optax.Params | None = None) -> optax.Updates:
        del params
        return jax.tree.map_with_path(scaled, updates)

    return optax.stateless(scale)


def without_gradients(params: Any, frozen: Collection[str]) -> Any:
    """Parameters of which those in `frozen` modules count as constants.

    Nothing behind them is differentiated, unless something that is trained lies there too.
    """
    if not frozen:
        return params
    return jax.tree.map_with_path(
        lambda path, leaf: jax.lax.stop_gradient(leaf) if module_of(path) in frozen else leaf,
        params,
    )


def is_glance(path: tuple[Any, ...]) -> bool:
    """Whether a parameter lies in the glance head: F0's convolution or its classifier."""
    return any(name.startswith("glance") for name in _names(path))


def module_of(path: tuple[Any, ...]) -> str:
    """Which of `config.MODULES` a parameter lies in; "" for none."""
    return next((name for name in _names(path)[:2] if name in MODULES), "")


def _names(path: tuple[Any, ...]) -> list[str]:
    return [str(getattr(key, "key", key)) for key in path]
