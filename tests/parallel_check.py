"""Run by test_distributed.py in a process with eight virtual CPU devices; prints JSON.

Two SGD steps in float64 by one device, by jit over a mesh of eight and by pmap over eight, from the
same state on the same batch; over the mesh also with the deformable convolution of GPUs and TPUs.
"""

import json
import math
import re
from unittest import mock

import jax
import numpy as np
import optax
from tiny import IMAGE_SIZE, make_batch, training_config, verbs_of_object

from ggnet_jax.models import create_model
from ggnet_jax.training.parallel import MeshParallel, PmapParallel
from ggnet_jax.training.state import create_state
from ggnet_jax.training.step import make_train_step

STEPS = 2
EXCHANGES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


def main() -> None:
    """Print the largest difference to one device, relative to the size of the update."""
    jax.config.update("jax_enable_x64", True)
    config = training_config(model__dtype="float64")
    optimizer = optax.sgd(0.1)
    state = create_state(create_model(config.model), optimizer, IMAGE_SIZE, seed=0)
    state = jax.tree.map(to_float64, state)
    # Eight images of very different content; the third device's has no interaction.
    batch = make_batch(3, 8, empty=(2,), dtype=np.float64)

    def run(parallel):
        step = make_train_step(
            create_model(config.model, axis_name=parallel.axis_name),
            optimizer,
            lambda step: 0.1,
            config.loss,
            verbs_of_object(),
            axis_name=parallel.axis_name,
        )
        step = parallel.compile(step)
        here = parallel.put_state(state)
        step = step.lower(here, parallel.put_batch(batch)).compile()
        with jax.transfer_guard("disallow"):  # as in training
            for _ in range(STEPS):
                here, metrics = step(here, parallel.put_batch(batch))
        found = jax.device_get((parallel.single(here), parallel.single(metrics)))
        return *found, exchanged(step.as_text())

    alone = run(MeshParallel(jax.devices()[:1]))
    report = {
        "devices": jax.device_count(),
        "relations": batch["relation_valid"].sum(1).tolist(),
        "loss": float(alone[1]["loss"]),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    ways = {
        "mesh": (MeshParallel(), "cpu"),
        "mesh, as on GPUs": (MeshParallel(), "gpu"),
        "mesh, as on TPUs": (MeshParallel(), "tpu"),
        "pmap": (PmapParallel(), "cpu"),
    }
    for name, (parallel, backend) in ways.items():
        with mock.patch.object(jax, "default_backend", lambda backend=backend: backend):
            there = run(parallel)
        report[name] = {
            part: largest(getattr(there[0], part), getattr(alone[0], part), getattr(state, part))
            for part in ("params", "batch_stats")
        }
        metrics = [abs(float(there[1][k]) / float(v) - 1) for k, v in alone[1].items()]
        report[name]["metrics"] = float(np.max(metrics))  # keeps NaN
        report[f"{name} exchanges"] = there[2]
    print(json.dumps(report))


def exchanged(program):
    """What a compiled program receives from other devices: {operation: numbers, all together}.

    What is exchanged outside of the entry computation is named so: a loop would repeat it.
    """
    numbers = {}
    for computation in re.split(r"\n(?=\S)", program):
        where = "" if computation.startswith("ENTRY") else " in a loop"
        for shapes, kind in re.findall(rf" = (\(.*?\)|\S+) ({EXCHANGES})(?:-done)?\(", computation):
            for shape in re.findall(r"\w+\[([\d,]*)\]", shapes):
                size = math.prod(int(side) for side in shape.split(",") if side)
                numbers[kind + where] = numbers.get(kind + where, 0) + size
    return numbers


def to_float64(leaf):
    """Parameters and statistics in double precision; counters as they are."""
    return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf


def largest(there, alone, before) -> float:
    """Largest difference over all leaves, each relative to how far the leaf moved."""
    worst = 0.0
    for a, b, start in zip(*map(jax.tree.leaves, (there, alone, before)), strict=True):
        off = np.abs(a - b).max() / max(np.abs(b - start).max(), 1e-3)
        worst = np.maximum(worst, off)  # keeps NaN, which max may drop
    return float(worst)


if __name__ == "__main__":
    main()
