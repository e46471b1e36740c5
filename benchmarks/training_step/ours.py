"""Our side: the training step as `ggnet_jax.training` runs it, its state donated."""

import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.networks import random_variables
from benchmarks.training_step import flops
from benchmarks.training_step.case import LEARNING_RATE, Case, made_batch
from benchmarks.training_step.work import Work
from ggnet_jax.models import GGNet, create_model
from ggnet_jax.training import targets
from ggnet_jax.training.optimizer import create_optimizer
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import TrainStep, make_train_step


def make_step(case: Case, model: GGNet) -> tuple[TrainStep, optax.GradientTransformation]:
    """The training step, not jitted, and its optimizer."""
    schedule = optax.constant_schedule(LEARNING_RATE)
    optimizer = create_optimizer(SimpleNamespace(grad_clip=0.0, glance_lr_multiplier=1.0), schedule)
    step = make_train_step(model, optimizer, schedule, case.loss, case.verbs_of_object)
    return step, optimizer


def prepare(case: Case) -> tuple[Any, TrainState, dict[str, jax.Array]]:
    """The jitted step, which consumes its state, and a state and a batch on the device."""
    train_step, optimizer = make_step(case, create_model(case.model))
    variables, batch = jax.device_put((initial_variables(case), made_batch(case)))
    state = TrainState(
        jnp.zeros((), jnp.int32),
        variables["params"],
        variables["batch_stats"],
        jax.jit(optimizer.init)(variables["params"]),
    )
    return jax.jit(train_step, donate_argnums=0), state, batch


def build(case: Case) -> Work:
    """Calls 'step'; 'targets', their drawing alone; 'matmul', what the device can do at best."""
    train_step, state, batch = prepare(case)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    metrics = {}

    def step(times: int) -> None:
        nonlocal state, metrics
        for _ in range(times):
            state, metrics = train_step(state, batch)
        jax.block_until_ready((state, metrics))

    start = time.perf_counter()
    step(1)
    device = jax.devices()[0]
    facts = {
        "device": device.device_kind,
        "first_seconds": time.perf_counter() - start,
        "first_loss": float(metrics["loss"]),
        "parameters": parameters,
        "flops": 3 * _forward_flops(case),  # backward: one for the inputs, one for the weights
        **_matmul_facts(case, device.platform),
    }
    draw, multiply = draw_targets(case), _matmul(facts)

    def draw_alone(times: int) -> None:
        for _ in range(times):
            drawn = draw(batch)
        jax.block_until_ready(drawn)

    def closing() -> dict[str, Any]:
        stats = device.memory_stats()
        peak = stats["peak_bytes_in_use"] / 2**30 if stats else None
        return {"last_loss": float(metrics["loss"]), "device_gib": peak}

    return Work({"step": step, "targets": draw_alone, "matmul": multiply}, facts, closing)


def _forward_flops(case: Case) -> int:
    model = create_model(case.model)
    image = jax.ShapeDtypeStruct((case.batch_size, case.size, case.size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return flops.count(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, image
    )


def initial_variables(case: Case) -> Any:
    """The random weights that all frameworks start from."""
    return random_variables(create_model(case.model), (case.size, case.size))


def draw_targets(case: Case) -> Any:
    """A jitted function of the batch -> `Targets`."""

    @jax.jit
    def draw(batch: dict[str, jax.Array]) -> targets.Targets:
        return targets.render_targets(
            targets.Annotations(*(batch[name] for name in targets.Annotations._fields)),
            map_size=case.map_size,
            num_verbs=case.vocabulary.num_verbs,
            num_objects=case.vocabulary.num_objects,
            verbs_of_object=case.verbs_of_object,
            sharp_gaze_targets=case.loss.sharp_gaze_targets,
        )

    return draw


def _matmul_facts(case: Case, platform: str) -> dict[str, Any]:
    """Side and number of square products that keep the device busy for a while, their dtype."""
    side, products = (2048, 1) if platform == "cpu" else (8192, 16)
    side = 256 if case.tiny else side
    return {"matmul_side": side, "matmul_flops": 2 * side**3 * products, "matmul_dtype": case.dtype}


def _matmul(facts: dict[str, Any]) -> Any:
    side, dtype = facts["matmul_side"], jnp.dtype(facts["matmul_dtype"])
    products = facts["matmul_flops"] // (2 * side**3)
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((side, side)) / side**0.5, dtype)

    @partial(jax.jit, static_argnums=1)
    def chain(a: jax.Array, length: int) -> jax.Array:
        return jax.lax.fori_loop(0, length, lambda _, b: a @ b, a)

    return lambda times: jax.block_until_ready([chain(matrix, products) for _ in range(times)])
