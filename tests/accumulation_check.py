"""Run by test_accumulation.py in a process with four virtual CPU devices; prints JSON.

An SGD step in float64 on eight images in two parts, by jit over a mesh and by pmap, against one
device that sees all images at once: with batch norms that use their running statistics, as those of
a part are others. Then over the mesh with the batch norms of training.
"""

import json
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import optax
from parallel_check import exchanged, largest, to_float64
from tiny import IMAGE_SIZE, make_batch, make_variables, training_config, verbs_of_object

from ggnet_jax.models import create_model
from ggnet_jax.ops.normalize import normalize_images
from ggnet_jax.training.parallel import MeshParallel, PmapParallel
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import make_train_step

PARTS = 2


def frozen(model):
    """The network with batch norms that use their running statistics, and leave them."""

    def apply(variables, images, *, train, mutable):
        return model.apply(variables, images, train=False), {
            name: variables[name] for name in mutable
        }

    return SimpleNamespace(apply=apply)


def main() -> None:
    """Print the largest differences, relative to the size of the update."""
    jax.config.update("jax_enable_x64", True)
    config = training_config(model__dtype="float64", model__gaze_steps=1)
    optimizer = optax.sgd(0.1)
    variables = jax.tree.map(to_float64, make_variables(create_model(config.model), IMAGE_SIZE))
    params, batch_stats = variables["params"], variables["batch_stats"]
    state = TrainState(np.zeros((), np.int32), params, batch_stats, optimizer.init(params))
    # Very different images; the parts, every other one, have 2 and 13 interactions.
    batch = make_batch(3, 8, empty=(0, 2, 4), dtype=np.float64)

    def run(parallel, parts, wrap=lambda model: model, scan_parts=True):
        step = make_train_step(
            wrap(create_model(config.model, axis_name=parallel.axis_name)),
            optimizer,
            lambda step: 0.1,
            config.loss,
            verbs_of_object(),
            axis_name=parallel.axis_name,
            accumulate_steps=parts,
            scan_parts=scan_parts,
        )
        here, there = parallel.put_state(state), parallel.put_batch(batch)
        step = parallel.compile(step).lower(here, there).compile()
        with jax.transfer_guard("disallow"):  # as in training
            here, metrics = step(here, there)
        found = jax.device_get((parallel.single(here), parallel.single(metrics)))
        return *found, exchanged(step.as_text())

    def difference(one, other):
        found = {
            part: largest(getattr(one[0], part), getattr(other[0], part), getattr(state, part))
            for part in ("params", "batch_stats")
        }
        metrics = [abs(float(one[1][k]) / float(v) - 1) for k, v in other[1].items()]
        return found | {"metrics": float(np.max(metrics))}  # keeps NaN

    whole = run(MeshParallel(jax.devices()[:1]), 1, frozen)
    relations = batch["relation_valid"].sum(1)
    report = {
        "relations": [int(relations[part::PARTS].sum()) for part in range(PARTS)],
        "loss": float(whole[1]["loss"]),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }
    for name, parallel in {"mesh": MeshParallel(), "pmap": PmapParallel()}.items():
        there = run(parallel, PARTS, frozen)
        report[name], report[f"{name} exchanges"] = difference(there, whole), there[2]

    one = MeshParallel(jax.devices()[:1])
    report["without a loop"] = difference(run(one, PARTS, frozen, scan_parts=False), whole)

    model = create_model(config.model)

    @jax.jit
    def statistics(batch_stats, images):
        seen = {"params": state.params, "batch_stats": batch_stats}
        images = normalize_images(images)
        updated: Any = model.apply(seen, images, train=True, mutable=["batch_stats"])[1]
        return updated["batch_stats"]

    expected = state.batch_stats
    for part in range(PARTS):
        expected = statistics(expected, batch["image"][part::PARTS])
    averaged: Any = run(MeshParallel(), PARTS)[0]
    found = averaged.batch_stats
    report["statistics"] = largest(found, jax.device_get(expected), state.batch_stats)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
