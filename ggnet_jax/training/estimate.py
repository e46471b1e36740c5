"""What a training step needs of a device's memory, by XLA's account of the compiled program.

The account is of what XLA allocates: it is exact on accelerators, and less than the truth on a
CPU, whose libraries take memory of their own beside it. So what is over the limit by the account is
certain not to fit, and training refuses it (`check_memory`); what is recommended leaves a margin
(`likely`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ggnet_jax.errors import UserError
from ggnet_jax.training.host_memory import host_memory
from ggnet_jax.training.parallel import Parallel
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import TrainStep, batch_shapes

GIB = 1 << 30
# Beyond XLA's account, for buffers of the CPU's libraries: a guess. docs/training.md has what whole
# processes took beside the account.
_MARGIN = 1.05
_BATCHES = 6  # that lie in the host's memory: two prefetched, one in the making, three on their way


class StepMemory(NamedTuple):
    """Bytes on each device.

    Attributes:
        state: weights, statistics, the optimizer's moments, the average of the weights.
        batch: images and annotations of a step.
        temporary: activations, gradients and everything else while a step is computed.
    """

    state: int
    batch: int
    temporary: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


class Room(NamedTuple):
    """Memory of the host, which its processors share, or of one accelerator.

    Attributes:
        available: bytes still free.
        total: bytes.
        on_host: the devices are the host's processors, and share its memory.
        devices: how many share it: of accelerators every one has its own.
    """

    available: int
    total: int
    on_host: bool
    devices: int


def room() -> Room | None:
    """The memory there is; None where neither JAX nor the system tells."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        memory = host_memory()
        if memory is None:
            return None
        return Room(memory.available, memory.total, True, jax.local_device_count())
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    if not limit:
        return None
    return Room(limit - stats.get("bytes_in_use", 0), limit, False, 1)


def compile_step(
    step_function: TrainStep, make_state: Callable[[], TrainState], parallel: Parallel, config: Any
) -> Any:
    """Compile a step of `loop.build` for the batches of a configuration; no array is made.

    Returns:
        What can be called in place of `step_function`.
    """
    shapes = parallel.shapes(jax.eval_shape(make_state), batch_shapes(config))
    jitted: Any = step_function
    return jitted.lower(*shapes).compile()


def step_memory(compiled: Any, config: Any) -> StepMemory | None:
    """The account of a compiled step; None where XLA gives none."""
    analysis = compiled.memory_analysis()
    if analysis is None or not analysis.argument_size_in_bytes:
        return None
    batch = _bytes(batch_shapes(config)) // jax.device_count()
    results = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    temporary = analysis.temp_size_in_bytes + analysis.generated_code_size_in_bytes
    return StepMemory(analysis.argument_size_in_bytes - batch, batch, temporary + max(0, results))


def needed(memory: StepMemory, there: Room) -> int:
    """Bytes of `there` that a step takes for certain."""
    return memory.total * there.devices


def likely(memory: StepMemory, there: Room, config: Any) -> int:
    """Bytes of `there` that a training takes, with what the host needs if it shares them."""
    margin = int(_MARGIN * needed(memory, there))
    return margin + sum(host_needs(memory, config).values()) if there.on_host else margin


def host_needs(memory: StepMemory, config: Any) -> dict[str, int]:
    """Bytes in the host's memory beside the devices' own, by what they are for; roughly."""
    batch = _bytes(batch_shapes(config)) // jax.process_count()
    # While a checkpoint is written: a copy of the state, and what was written is read back.
    return {"input pipeline": _BATCHES * batch, "checkpoints": 2 * memory.state}


def check_memory(compiled: Any, config: Any) -> str:
    """Raise a UserError if a step cannot fit; a line where it may not, else ''.

    Args:
        compiled: from `compile_step`, before the state and the first batch are made.
        config: resolved.
    """
    memory, there = step_memory(compiled, config), room()
    if memory is None or there is None:
        return ""
    least, most = needed(memory, there), likely(memory, there, config)
    place = "this host" if there.on_host else "each device"
    needs = (
        f"a training step of {config.batch_size} images needs at least {gib(least)} "
        f"(weights and optimizer {gib(memory.state * there.devices)}, activations, gradients "
        f"{gib((memory.total - memory.state) * there.devices)})"
    )
    if least <= there.available or config.ignore_memory:
        if most <= there.available:
            return ""
        return (
            f"memory is short: {needs}, the whole training about {gib(most)}; "
            f"{gib(there.available)} are free on {place}"
        )
    raise UserError(
        f"{needs}, and {gib(there.available)} of {gib(there.total)} are free on {place}; "
        f"{_advice(memory, there, config)}; --mode=estimate with the same configuration says more, "
        "--config.ignore_memory=True trains all the same"
    )


def _advice(memory: StepMemory, there: Room, config: Any) -> str:
    """What to change, where a batch does not fit."""
    fixed = likely(memory._replace(batch=0, temporary=0), there, config)
    an_image = (likely(memory, there, config) - fixed) / config.batch_size
    # All that is not the state counts as the images', of which a part is not: about so many.
    fits = int((there.available - fixed) / an_image)
    fits -= fits % (jax.device_count() * config.accumulate_steps)
    less = "use a smaller network, a lower --config.data.image_size"
    if not config.model.remat:
        less += " or --config.model.remat=True"
    if fits < 1:
        return f"not one image fits: {less}"
    advice = f"about {fits} images fit: set --config.batch_size={fits}"
    if parts := parts_that_fit(config.batch_size, fits // config.accumulate_steps):
        advice += f", or keep it and set --config.accumulate_steps={parts}"
    return f"{advice}, or {less}"


def parts_that_fit(batch_size: int, images: int) -> int | None:
    """The fewest equal parts of a batch with at most `images` each; None if there are none."""
    devices = jax.device_count()
    for parts in range(1, batch_size // devices + 1):
        if batch_size % (parts * devices) == 0 and batch_size // parts <= images:
            return parts
    return None


def gib(count: float) -> str:
    """Bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def _bytes(shapes: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
