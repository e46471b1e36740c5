"""Memory of a training step, by XLA's account of the compiled program.

    python -m benchmarks.memory [--config=hico] [--batch_sizes=1,2] [--variants=float32,...]

Nothing is computed and nothing is allocated: the step is compiled for this machine's device and
asked what it needs. Needs ml_collections for the configurations. A CPU computes bfloat16 in
float32, so what it saves shows on an accelerator alone.
"""

import argparse
import importlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.arguments import names, new_file, numbers
from ggnet_jax import vocabularies
from ggnet_jax.models import create_model
from ggnet_jax.training.optimizer import create_optimizer, learning_rate_schedule
from ggnet_jax.training.state import create_state
from ggnet_jax.training.step import make_train_step

VARIANTS = {
    "float32": {"dtype": "float32", "remat": False},
    "float32_remat": {"dtype": "float32", "remat": True},
    "bfloat16": {"dtype": "bfloat16", "remat": False},
    "bfloat16_remat": {"dtype": "bfloat16", "remat": True},
}


def step_memory(config: Any, batch_size: int) -> dict[str, float]:
    """GiB of the state (weights, Adam, statistics) and of everything temporary of one step."""
    model = create_model(config.model)
    schedule = learning_rate_schedule(config, 1000)
    optimizer = create_optimizer(config, schedule)
    size = tuple(config.data.image_size)
    state = jax.eval_shape(lambda: create_state(model, optimizer, size, 0))
    pairs = vocabularies.load(config.data.name).valid_pairs.T
    step = make_train_step(model, optimizer, schedule, config.loss, np.asarray(pairs))
    boxes, relations = config.data.max_boxes, config.data.max_relations
    shapes = {
        "image": ((batch_size, *size, 3), jnp.float32),
        "boxes": ((batch_size, boxes, 4), jnp.float32),
        "classes": ((batch_size, boxes), jnp.int32),
        "box_valid": ((batch_size, boxes), bool),
        "relations": ((batch_size, relations, 3), jnp.int32),
        "relation_valid": ((batch_size, relations), bool),
        "example_weight": ((batch_size,), jnp.float32),
    }
    batch = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    analysis = compiled.memory_analysis()
    return {
        "state": analysis.alias_size_in_bytes / 2**30,
        "temporary": analysis.temp_size_in_bytes / 2**30,
    }


def main() -> None:
    """Print a Markdown table; write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="hico", help="a file of configs/")
    parser.add_argument("--batch_sizes", type=numbers, default=[1, 2])
    parser.add_argument("--variants", type=names(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--output", type=new_file, help="JSON file")
    arguments = parser.parse_args()
    rows = []
    print(f"configs/{arguments.config}.py, jax {jax.__version__}, {jax.devices()[0].device_kind}\n")
    print("| dtype | remat | pictures a device | state, GiB | temporary, GiB |")
    print("| --- | --- | --- | --- | --- |")
    for variant in (VARIANTS[name] for name in arguments.variants):
        for batch_size in arguments.batch_sizes:
            config = importlib.import_module(f"configs.{arguments.config}").get_config()
            config.model.update(**variant)
            needs = step_memory(config, batch_size)
            rows.append({**variant, "batch_size": batch_size, **needs})
            figures = f"{needs['state']:.2f} | {needs['temporary']:.2f}"
            name = f"{variant['dtype']} | {variant['remat']}"
            print(f"| {name} | {batch_size} | {figures} |", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
