"""Seconds and memory of a training step: ours, PyTorch eager and torch.compile, in turn.

    python -m benchmarks.training_step [--network=ggnet,baseline] [--size=512] [--batch_size=1,2]
        [--dtype=bfloat16] [--peers=ours,eager,compile] [--repeats=5] [--output=FILE]

Whole steps as main.py takes them, from images and boxes to updated weights, on random weights and
made batches that are the same for all. Loss and gradient of the first step are compared with ours
before anything is timed. PyTorch runs the network of tests/oracles with fused Adam, channels_last
and torchvision's deformable convolution where it is installed; its targets are rendered beforehand,
ours in every step. On a GPU all of them hold memory at once: --peers=ours measures alone. PyTorch's
batch norm refuses a single image of 128 x 128, which Hourglass-104 brings down to one cell.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import timing
from configs import demo, paper
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.training import loop
from ggnet_jax.training.parallel import MeshParallel

PEERS = ("ours", "eager", "compile")
HUMANS, OBJECTS, RELATIONS = 3, 5, 6  # of every made image


def tiny_config() -> ConfigDict:
    """The demo with a network of two levels, to see that a benchmark works."""
    config = demo.get_config()
    config.data.image_size = (64, 64)
    config.model.update(stem_width=8, widths=(8, 8), blocks=(1, 1), head_width=8)
    return config


NETWORKS: dict[str, Callable[[], ConfigDict]] = {
    "ggnet": partial(paper.get_config, "table5_ggnet"),
    # The baseline has no deformable convolution, where one operator could decide everything.
    "baseline": partial(paper.get_config, "table5_baseline"),
    "dla34": partial(paper.get_config, "table1_full_hico"),
    "demo": demo.get_config,
    "tiny": tiny_config,
}


def network_config(name: str, size: int | None, dtype: str) -> ConfigDict:
    """The configuration of a network of `NETWORKS`; size None leaves the input as it is."""
    config = NETWORKS[name]()
    config.learning_rate, config.warmup_steps = 1e-5, 0
    config.model.dtype = dtype
    if size is not None:
        config.data.image_size = (size, size)
    return config


def random_variables(shapes: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """He-initialized parameters and fresh statistics, without compiling the network's own.

    Args:
      shapes: of the variables, from `jax.eval_shape`.
      seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(scale)

    return jax.tree_util.tree_map_with_path(fill, dict(shapes))


def verbs_of_object(config: ConfigDict) -> np.ndarray:
    """[O, V] bool, the pairs of the data set's vocabulary."""
    return vocabularies.load(config.data.name).valid_pairs.T


def make_batch(config: ConfigDict, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A training batch of noise with people, objects and relations between them."""
    rng = np.random.default_rng(seed)
    size, side = config.data.image_size[0], config.data.image_size[0] / 4
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


class Prepared(NamedTuple):
    """A training step that has run once, so that it is compiled and known to fit.

    Attributes:
      step: takes another one and waits for it.
      first: seconds of the first step, compilation included.
      loss, gradient_norm: of the first step.
      temporary: bytes of working memory; None where it is not known.
    """

    step: Callable[[], None]
    first: float
    loss: float
    gradient_norm: float
    temporary: int | None


def prepare_ours(config: ConfigDict, batch_size: int) -> tuple[Prepared, dict[str, Any]]:
    """Our step, and the variables that it starts from, on the host."""
    parallel = MeshParallel(jax.devices()[:1])
    step, make_state = loop.build(config, verbs_of_object(config), 1000, parallel)
    shapes = jax.eval_shape(make_state)
    initial = random_variables({"params": shapes.params, "batch_stats": shapes.batch_stats})
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    state = parallel.put_state(zeros.replace(**initial))
    batch = parallel.put_batch(make_batch(config, batch_size))
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    metrics: dict[str, jax.Array] = {}

    def call() -> None:
        nonlocal state, metrics
        state, metrics = jax.block_until_ready(compiled(state, batch))

    call()
    prepared = Prepared(
        call,
        time.perf_counter() - start,
        float(metrics["loss"]),
        float(metrics["gradient_norm"]),
        compiled.memory_analysis().temp_size_in_bytes,
    )
    return prepared, initial


def prepare_torch(
    config: ConfigDict, batch_size: int, initial: Mapping[str, Any], compiled: bool
) -> Prepared:
    """PyTorch's step from the same variables on the same batch."""
    import torch

    from tests.oracles.torch_training import TorchStep

    device = timing.torch_device()
    batch = make_batch(config, batch_size)
    known = verbs_of_object(config)
    step = TorchStep(config, initial, batch, known, device=device, compiled=compiled)

    def call() -> float:
        loss = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return float(loss)

    start = time.perf_counter()
    loss = call()
    first, temporary = time.perf_counter() - start, None
    norm = step.gradient_norm()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        temporary = torch.cuda.max_memory_allocated() - before
    return Prepared(call, first, loss, norm, temporary)


def prepare_all(
    config: ConfigDict, batch_size: int, peers: Sequence[str]
) -> tuple[dict[str, Prepared], dict[str, str]]:
    """Steps by peer, the first is ours, and why others failed; nothing is prepared if ours failed.

    Raises:
      UserError: the network cannot have an input of this size.
    """
    prepared: dict[str, Prepared] = {}
    failed: dict[str, str] = {}
    initial: dict[str, Any] = {}
    for name in dict.fromkeys(("ours", *peers)):
        try:
            if name == "ours":
                prepared[name], initial = prepare_ours(config, batch_size)
            elif not timing.torch_device():
                failed[name] = "not installed, or not for this device"
            else:
                prepared[name] = prepare_torch(config, batch_size, initial, name == "compile")
        except UserError:
            raise
        except Exception as error:  # out of memory above all: a line of the table
            failed[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100]}"
            if name == "ours":
                break
    return prepared, failed


def measure(
    config: ConfigDict, batch_size: int, peers: Sequence[str], repeats: int
) -> list[dict[str, Any]]:
    """A row for each peer, the first is ours; one that failed says why in "error"."""
    prepared, failed = prepare_all(config, batch_size, peers)
    took = timing.time_in_turn({n: one.step for n, one in prepared.items()}, repeats, warm_ups=0)
    tolerance = 1e-3 if config.model.dtype == "float32" else 5e-2
    rows: list[dict[str, Any]] = []
    for name, one in prepared.items():
        ours = prepared["ours"]
        loss, norm = one.loss / ours.loss, one.gradient_norm / ours.gradient_norm
        rows.append(
            {
                "peer": name,
                "seconds": took[name],
                "images_per_second": batch_size / took[name].median,
                "temporary": one.temporary,
                "first_seconds": one.first,
                "loss": one.loss,
                "gradient_norm": one.gradient_norm,
                "agrees": max(abs(loss - 1), abs(norm - 1)) < tolerance,
            }
        )
    return rows + [{"peer": name, "error": reason} for name, reason in failed.items()]


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of one network and batch."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        if "error" in row:
            lines.append({"peer": row["peer"], "s a step (min to max)": row["error"]})
            continue
        memory = row["temporary"]
        lines.append(
            {
                "peer": row["peer"],
                "s a step (min to max)": row["seconds"],
                "images/s": f"{row['images_per_second']:.3g}",
                "time / ours": f"{row['seconds'].median / rows[0]['seconds'].median:.2f}",
                "temporary, GiB": None if memory is None else f"{memory / 2**30:.2f}",
                "first step, s": f"{row['first_seconds']:.1f}",
                "loss": f"{row['loss']:.6g}",
                "gradient": f"{row['gradient_norm']:.6g}" + ("" if row["agrees"] else ", DIFFERS"),
            }
        )
    return timing.table(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if ours failed, or if a peer's loss or gradient differs."""
    parser = timing.parser(__doc__, size=None, batch_size=[1], dtype=["float32"], repeats=5)
    usual = ["ggnet", "baseline"]
    parser.add_argument(
        "--network", type=timing.names(NETWORKS), default=usual, help=f"of {', '.join(NETWORKS)}"
    )
    parser.add_argument(
        "--peers",
        type=timing.names(PEERS),
        default=["ours", "eager"],
        help="of ours, eager, compile",
    )
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    rows: list[dict[str, Any]] = []
    for name, dtype, batch_size in product(
        arguments.network, arguments.dtype, arguments.batch_size
    ):
        config = network_config(name, arguments.size, dtype)
        try:
            measured = measure(config, batch_size, arguments.peers, arguments.repeats)
        except UserError as error:
            parser.error(str(error))
        size = config.data.image_size[0]
        shape = {"network": name, "dtype": dtype, "size": size, "batch_size": batch_size}
        print(f"{name}, {dtype}, {size} x {size}, {batch_size} images a step\n")
        print(report(measured) + "\n", flush=True)
        rows += [shape | row for row in measured]
        timing.write(arguments.output, machine, rows)
    failed = any(row["peer"] == "ours" and "error" in row for row in rows)
    return int(failed or not all(row.get("agrees", True) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
