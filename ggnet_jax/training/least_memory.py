"""What a training step on a CPU takes at the very least, told in seconds and without compiling.

XLA's account (`estimate.py`) is exact, but a large network compiles for minutes. When its forward
pass ends, every convolution's output still lives, or something of the same size that it was made
into: the backward pass needs them, and XLA computes no convolution twice on a CPU. Together with
the weights and the optimizer that is a tenth to a half of what XLA allocates, so it proves the
worst cases alone; all others are left to the account.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.training import estimate
from ggnet_jax.training.estimate import gib
from ggnet_jax.training.state import TrainState

_LARGE = 10_000_000  # parameters; smaller networks compile in seconds
# Equations that do what is inside of them as it stands; others may compute it again (`remat`).
_PLAIN = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")


def check_least(make_state: Callable[[], TrainState], config: Any) -> None:
    """Raise a UserError if a step of a configuration is certain not to fit into the host's memory.

    Args:
        make_state: from `loop.build`; it is not called.
        config: resolved.
    """
    there = estimate.room()
    if there is None or not there.on_host or config.ignore_memory:
        return
    state = jax.eval_shape(make_state)
    fixed = there.devices * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    outputs = 0
    if sum(x.size for x in jax.tree.leaves(state.params)) >= _LARGE:
        outputs = convolution_bytes(state, config) // jax.process_count()
    if fixed + outputs <= there.available:
        return
    less = "use a smaller network or a lower --config.data.image_size"
    if not config.model.remat:
        less += ", or --config.model.remat=True"
    least = gib(fixed + outputs)
    raise UserError(
        f"a training step of {config.batch_size} images needs at least {least} and likely several "
        f"times as much (weights and optimizer {gib(fixed)}, the outputs of convolutions alone "
        f"{gib(outputs)}), and {gib(there.available)} of {gib(there.total)} are free on this host; "
        "lower --config.batch_size, work through it in parts, --config.accumulate_steps, or "
        f"{less}; --mode=estimate with the same configuration finds the largest batch that fits, "
        "--config.ignore_memory=True trains all the same"
    )


def convolution_bytes(state: Any, config: Any) -> int:
    """Bytes of all convolutions' outputs for one part of a (global) batch.

    0 if anything is frozen or rematerialized, where they need not all live.

    Args:
        state: shapes of a training state.
        config: resolved.
    """
    if config.freeze or config.model.remat:
        return 0
    model = create_model(config.model)
    shape = (config.batch_size // config.accumulate_steps, *config.data.image_size, 3)

    def forward(params: Any, batch_stats: Any, images: jax.Array) -> Any:
        variables = {"params": params, "batch_stats": batch_stats}
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return _convolutions(jax.make_jaxpr(forward)(state.params, state.batch_stats, images).jaxpr)


def _convolutions(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, equation.params
        if name == "conv_general_dilated":
            output = equation.outvars[0].aval
            total += output.size * output.dtype.itemsize
        elif name in _PLAIN:
            inner = (getattr(value, "jaxpr", value) for value in given.values())
            total += sum(_convolutions(part) for part in inner if hasattr(part, "eqns"))
    return total
