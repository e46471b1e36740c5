"""Milliseconds and memory of a training step: ours, PyTorch eager and torch.compile, in turn.

    python -m benchmarks.training_step [--network=ggnet,baseline] [--size=512] [--batch_size=1,2]
        [--dtype=bfloat16] [--peers=ours,eager,compile] [--repeats=5] [--output=FILE]

Whole steps as main.py takes them, from images and boxes to updated weights, on random weights and
made batches that are the same for all. Loss and gradient norm of the first step are compared with
the first peer's before anything is timed. PyTorch runs the network of tests/oracles with fused
Adam, channels_last and torchvision's deformable convolution where it is installed; its targets are
rendered beforehand, ours in every step. On a GPU all of them hold memory at once: for large batches
give one of --peers at a time. PyTorch's batch norm refuses a single image of 128 x 128, which
Hourglass-104 brings down to one cell.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from configs import demo, paper
from ggnet_jax import vocabularies
from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.errors import UserError
from ggnet_jax.models import create_model
from ggnet_jax.training import loop
from ggnet_jax.training.parallel import MeshParallel

PEERS = ("ours", "eager", "compile")
FIRST = {"loss": "loss", "gradient_norm": "gradient's norm"}  # of the first step
HUMANS, OBJECTS, RELATIONS = 3, 5, 6  # of every made image


def tiny_config() -> Any:
    """The demo with a network of two levels, to see that a benchmark works."""
    config = demo.get_config()
    config.data.image_size = (64, 64)
    config.model.update(stem_width=8, widths=(8, 8), blocks=(1, 1), head_width=8)
    return config


NETWORKS: dict[str, Callable[[], Any]] = {
    "ggnet": partial(paper.get_config, "table5_ggnet"),
    # The baseline has no deformable convolution, where one operator could decide everything.
    "baseline": partial(paper.get_config, "table5_baseline"),
    "dla34": partial(paper.get_config, "table1_full_hico"),
    "demo": demo.get_config,
    "tiny": tiny_config,
}


def network_config(name: str, size: int | None, dtype: str) -> Any:
    """The configuration of a network of `NETWORKS`; size None leaves the input as it is."""
    config = NETWORKS[name]()
    config.learning_rate, config.warmup_steps = 1e-5, 0
    config.model.dtype = dtype
    if size is not None:
        config.data.image_size = (size, size)
    return config


def random_variables(config: Any, seed: int = 0) -> dict[str, Any]:
    """He-initialized parameters and fresh statistics, without compiling the network's own.

    Raises:
        UserError: the network cannot have an input of this size.
    """
    images = jax.ShapeDtypeStruct((1, *config.data.image_size, 3), np.float32)
    try:
        shapes = jax.eval_shape(create_model(config.model).init, jax.random.key(0), images)
    except ValueError as error:
        raise UserError(str(error)) from error
    rng = np.random.default_rng(seed)

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(scale)

    return jax.tree_util.tree_map_with_path(fill, dict(shapes))


def verbs_of_object(config: Any) -> np.ndarray:
    """[O, V] bool, the pairs of the data set's vocabulary."""
    return vocabularies.load(config.data.name).valid_pairs.T


def make_batch(config: Any, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A training batch of noise with people, objects and relations between them."""
    rng = np.random.default_rng(seed)
    size = config.data.image_size[0]
    side = size / OUTPUT_STRIDE
    boxes, relations = config.data.max_boxes, config.data.max_relations
    known = verbs_of_object(config)
    corner = rng.uniform(0, 0.7 * side, (batch_size, boxes, 2))
    extent = rng.uniform(0.1 * side, 0.4 * side, (batch_size, boxes, 2))
    classes = rng.integers(1, len(known), (batch_size, boxes))
    classes[:, :HUMANS] = 0
    human = rng.integers(0, HUMANS, (batch_size, relations))
    target = rng.integers(HUMANS, HUMANS + OBJECTS, (batch_size, relations))
    allowed = known[np.take_along_axis(classes, target, axis=1)]
    verb = (rng.uniform(size=allowed.shape) * allowed).argmax(-1)
    return {
        "image": rng.uniform(0, 1, (batch_size, size, size, 3)).astype(np.float32),
        "boxes": np.concatenate([corner, corner + extent], axis=-1).astype(np.float32),
        "classes": classes.astype(np.int32),
        "box_valid": np.tile(np.arange(boxes) < HUMANS + OBJECTS, (batch_size, 1)),
        "relations": np.stack([human, target, verb], axis=-1).astype(np.int32),
        "relation_valid": np.tile(np.arange(relations) < RELATIONS, (batch_size, 1)),
        "example_weight": np.ones(batch_size, np.float32),
    }


def prepare_ours(config: Any, batch_size: int) -> timing.Peer:
    """The step that main.py would take, after the first."""
    parallel: Any = MeshParallel(jax.devices()[:1])
    step, make_state = loop.build(config, verbs_of_object(config), 1000, parallel)
    shapes = jax.eval_shape(make_state)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = parallel.put_state(zeros.replace(**random_variables(config)))
    batch = parallel.put_batch(make_batch(config, batch_size))
    jitted: Any = step
    compiled = jitted.lower(state, batch).compile()
    state, first = jax.block_until_ready(compiled(state, batch))

    in_a_row = timing.calls_in_a_row()

    def call() -> None:
        nonlocal state  # a step consumes the state that it is given
        for _ in range(in_a_row):
            state, _ = compiled(state, batch)
        jax.block_until_ready(state)

    values = [float(first["loss"]), float(first["gradient_norm"])]
    return timing.Peer(call, lambda: values, timing.temporary_bytes(compiled), in_a_row)


def prepare_torch(config: Any, batch_size: int, compiled: bool) -> timing.Peer:
    """PyTorch's step from the same weights on the same batch, after the first."""
    from tests.oracles.torch_training import TorchStep

    device = timing.torch_device()
    step = TorchStep(
        config,
        random_variables(config),
        make_batch(config, batch_size),
        verbs_of_object(config),
        device=device,
        compiled=compiled,
    )
    values = [float(step()), step.gradient_norm()]
    return timing.torch_peer(step, lambda: values, device, timing.calls_in_a_row())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if ours failed, or if a peer's loss or gradient differs."""
    parser = timing.parser(
        __doc__,
        network=(NETWORKS, ["ggnet", "baseline"]),
        peers=(PEERS, ["ours", "eager"]),
        size=None,
        batch_size=[1],
        dtype=["float32"],
        repeats=5,
    )
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    peers = arguments.peers
    if peers != ["ours"] and not timing.torch_device():
        peers = ["ours"]
        print("PyTorch is not installed, or not for this device.\n")
    rows: list[dict[str, Any]] = []
    for name, dtype, batch_size in product(
        arguments.network, arguments.dtype, arguments.batch_size
    ):
        config = network_config(name, arguments.size, dtype)
        makers = {
            "ours": partial(prepare_ours, config, batch_size),
            "eager": partial(prepare_torch, config, batch_size, compiled=False),
            "compile": partial(prepare_torch, config, batch_size, compiled=True),
        }
        size = config.data.image_size[0]
        shape = {"network": name, "dtype": dtype, "size": size, "batch_size": batch_size}
        tolerance = timing.tolerance(dtype, 1e-2, 1e-1)
        try:
            measured = timing.measure_peers(
                {peer: makers[peer] for peer in peers},
                arguments.repeats,
                tolerance,
                keep=tuple(FIRST),
                **shape,
            )
        except UserError as error:
            parser.error(str(error))
        print(f"{name}, {dtype}, {size} x {size}, {batch_size} images a step\n")
        print(timing.report_peers(measured, **FIRST) + "\n", flush=True)
        rows += measured
        timing.write(arguments.output, machine, rows)
    return timing.status(rows)


if __name__ == "__main__":
    sys.exit(main())
