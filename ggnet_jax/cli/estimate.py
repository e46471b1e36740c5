"""`--mode=estimate`: memory and time of a training step here, and the largest batch that fits.

No data set is read: memory is XLA's account of the compiled step, time is that of steps on noise.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ggnet_jax import vocabularies
from ggnet_jax.config import check_config, divisible_batch_size
from ggnet_jax.errors import UserError
from ggnet_jax.table import align
from ggnet_jax.training import loop, memory
from ggnet_jax.training.estimate import (
    StepMemory,
    compile_step,
    gib,
    host_needs,
    likely,
    parts_that_fit,
    room,
    step_memory,
)
from ggnet_jax.training.parallel import create_parallel
from ggnet_jax.training.step import batch_shapes
from ggnet_jax.vocabularies import class_list

_ASSUMED = "hico_det"  # whose classes are counted where a configuration does not name its own
_LARGEST = 4096  # images a device and part; nobody trains on more
_TRIES, _FULL_ENOUGH = 3, 0.9  # of the memory there is; a try costs a compilation
_STEPS, _SECONDS = 5, 20.0  # at most so many timed steps, and none begins after so long


@dataclasses.dataclass
class _Step:
    """A compiled step of a number of images."""

    config: Any
    compiled: Any
    memory: StepMemory | None  # None where the compiler found that it does not fit
    make_state: Callable[[], Any]
    parallel: Any
    seconds: float | None = None


def estimate(config: Any) -> int:
    """Print what a step of `config` takes on this machine, and which batch would fit.

    Raises:
        UserError: no network can be built, or nothing tells how much memory there is.
    """
    check_config(config)
    config, assumed = _with_classes(config)
    devices = jax.device_count()
    with config.unlocked():
        config.batch_size = divisible_batch_size(
            config.batch_size,
            devices,
            round_batch=config.round_batch,
            parts=config.accumulate_steps,
        )
    check_config(config, num_devices=devices)
    there = room()
    if there is None:
        raise UserError("neither JAX nor the system tells how much memory there is here")

    steps: dict[int, _Step] = {}

    def need(images: int) -> float:
        """Bytes that a training with so many images a step takes."""
        if images not in steps:
            said = "1 image" if images == 1 else f"{images} images"
            print(f"compiling a step of {said}", file=sys.stderr, flush=True)
            steps[images] = _compile(config, images)
        found = steps[images].memory
        return float("inf") if found is None else likely(found, there, steps[images].config)

    yours, unit = config.batch_size, devices * config.accumulate_steps
    need(yours)
    print(_about(config, steps[yours].make_state, assumed))
    place = "this host" if there.on_host else "each device"
    device = jax.devices()[0].device_kind
    print(
        f"{devices} device{'s' if devices > 1 else ''} ({device}); {gib(there.available)} of "
        f"{gib(there.total)} free on {place}\n",
        flush=True,
    )
    largest = _largest(need, there.available, unit, yours)
    for images in sorted({unit, yours}):
        if images in steps and need(images) <= there.available:
            _time(steps[images])
    print()
    print(_table(steps, need, there.available, yours, largest))
    print()
    for line in (*_parts(steps[yours], there), *_advice(config, yours, largest)):
        print(line)
    return 0


def _with_classes(config: Any) -> tuple[Any, bool]:
    """A configuration with numbers of classes, and whether they are assumed."""
    config = config.copy_and_resolve_references()
    model, assumed = config.model, False
    if not (model.num_verbs and model.num_objects):
        name = config.data.vocabulary
        if not name and config.data.name in vocabularies.names():
            name = config.data.name
        assumed = not name
        vocabulary = class_list.vocabulary(name or _ASSUMED)
        with config.unlocked():
            model.num_verbs = model.num_verbs or vocabulary.num_verbs
            model.num_objects = model.num_objects or vocabulary.num_objects
    return config, assumed


def _compile(config: Any, images: int) -> _Step:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.batch_size = images
    parallel = create_parallel(config.parallel)
    verbs = np.ones((config.model.num_objects, config.model.num_verbs), bool)
    step_function, make_state = loop.build(config, verbs, 1000, parallel)
    try:
        compiled = compile_step(step_function, make_state, parallel, config)
    except Exception as error:
        if not memory.is_full(error):
            raise
        return _Step(config, None, None, make_state, parallel)
    found = step_memory(compiled, config)
    if found is None:
        raise UserError(f"XLA has no account of memory for {jax.devices()[0].device_kind}")
    return _Step(config, compiled, found, make_state, parallel)


def _largest(need: Callable[[int], float], available: float, unit: int, yours: int) -> int:
    """The most images a step that fit, a multiple of `unit`; 0 if `unit` do not.

    Memory is nearly linear in the images: two numbers of images give the line, and the number that
    it says is compiled as well, to see that it fits and whether far more would.
    """
    if need(unit) > available:
        return 0
    sizes = [unit, max(yours, 2 * unit)]
    for _ in range(_TRIES):
        fits = max(size for size in sizes if need(size) <= available)
        if need(fits) > _FULL_ENOUGH * available:
            break
        too_large = [size for size in sizes if size > fits]
        other = min(too_large) if too_large else max(size for size in sizes if size < fits)
        if need(other) == float("inf"):  # the compiler gave up
            guess = (fits + other) // 2
        else:
            an_image = max((need(other) - need(fits)) / (other - fits), 1.0)
            guess = min(fits + int((available - need(fits)) / an_image), _LARGEST * unit)
        guess -= guess % unit
        if guess <= fits or guess in too_large:
            break
        sizes.append(guess)
    return max(size for size in sizes if need(size) <= available)


def _time(step: _Step) -> None:
    """Take a few steps on noise."""
    config, parallel = step.config, step.parallel
    rng = np.random.default_rng(0)

    def some(leaf: Any) -> np.ndarray:
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        return np.abs(rng.standard_normal(leaf.shape, np.float32) * 0.02).astype(leaf.dtype)

    try:
        state = parallel.put_state(jax.tree.map(some, jax.eval_shape(step.make_state)))
        batch = parallel.put_batch(_noise(config, rng))
        taken: list[float] = []
        for _ in range(1 + _STEPS):
            start = time.perf_counter()
            state, _ = jax.block_until_ready(step.compiled(state, batch))
            taken.append(time.perf_counter() - start)
            if sum(taken) > _SECONDS:
                break
        step.seconds = statistics.median(taken[1:] or taken)
    except Exception as error:
        if not memory.is_full(error):
            raise


def _noise(config: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """This process's batch: images of noise, a few boxes, and relations between them."""
    arrays: dict[str, Any] = {
        name: np.zeros(shape.shape, shape.dtype) for name, shape in batch_shapes(config).items()
    }
    height, width = (side / 4 for side in config.data.image_size)
    arrays["image"] = rng.random(arrays["image"].shape, np.float32)
    arrays["example_weight"] += 1
    corner = rng.random((*arrays["boxes"].shape[:2], 2)) * (width / 2, height / 2)
    opposite = corner + np.array((width / 4, height / 4))
    arrays["boxes"] = np.concatenate([corner, opposite], axis=-1).astype(np.float32)
    arrays["box_valid"][:, :8] = arrays["relation_valid"][:, :6] = True
    return arrays


def _about(config: Any, make_state: Callable[[], Any], assumed: bool) -> str:
    """One line on the network."""
    model, size = config.model, config.data.image_size
    state = jax.eval_shape(make_state)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    name = "DLA-34" if model.backbone == "dla34" else f"hourglass, stacks: {model.stacks}"
    classes = f"{model.num_verbs} verbs, {model.num_objects} objects"
    if assumed:
        classes += " (assumed: the configuration does not say)"
    return (
        f"{name}; {parameters:,} parameters; {size[0]} x {size[1]} pixels, {model.dtype}"
        f"{', remat' if model.remat else ''}; {classes}"
    )


def _table(
    steps: dict[int, _Step],
    need: Callable[[int], float],
    available: float,
    yours: int,
    largest: int,
) -> str:
    """A line for every batch size that was looked at."""
    rows = [["images a step", "memory", "fits", "seconds a step", "images/s"]]
    for images in sorted(steps):
        seconds = steps[images].seconds
        label = f"{images}{', this configuration' if images == yours else ''}"
        label += ", the largest that fits" if images == largest and largest != yours else ""
        takes = need(images)
        rows.append(
            [
                label,
                gib(takes) if takes < float("inf") else "too much",
                "yes" if takes <= available else "no",
                "" if seconds is None else f"{seconds:.3g}",
                "" if seconds is None else f"{images / seconds:.3g}",
            ]
        )
    return align(rows)


def _parts(step: _Step, there: Any) -> list[str]:
    """What the memory of a configuration's step is for."""
    found = step.memory
    if found is None:
        return []
    on_host = host_needs(found, step.config)
    state = jax.eval_shape(step.make_state)

    def size(tree: Any) -> int:
        return there.devices * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))

    named = {
        "weights and statistics": size((state.params, state.batch_stats)),
        "optimizer": size(state.opt_state),
        "average of the weights": size(state.average),
        "batch": found.batch * there.devices,
        "activations, gradients": found.temporary * there.devices,
    }
    listed = ", ".join(f"{name} {gib(value)}" for name, value in named.items() if value)
    host = ", ".join(f"{name} {gib(value)}" for name, value in on_host.items())
    return [
        f"of a step of {step.config.batch_size}: {listed}",
        f"{'and' if there.on_host else 'in the memory of the host'}: {host}",
    ]


def _advice(config: Any, yours: int, largest: int) -> list[str]:
    """What to do with these numbers."""
    less = "a smaller network, a lower --config.data.image_size"
    less += "" if config.model.remat else " or --config.model.remat=True"
    if not largest:
        return [f"not even the smallest batch fits: {less} needs less memory"]
    said = f"the largest batch that fits: --config.batch_size={largest}"
    if largest >= yours:
        return [said]
    parts = parts_that_fit(yours, largest // config.accumulate_steps)
    if parts:
        said += f"; {yours} images fit in parts: --config.accumulate_steps={parts}"
    return [f"{said}; {less} needs less memory"]
