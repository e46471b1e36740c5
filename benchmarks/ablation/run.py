"""One training of one row, and its evaluation, from batches on disk.

    python -m benchmarks.ablation.run WORKDIR ROW SEED

is what `python -m benchmarks.ablation` starts, several at once. JAX, Flax, Orbax and NumPy, no
TensorFlow. The folder of a training is like that of any other run: the Detector opens it.
"""

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.ablation import folder as places
from benchmarks.ablation.batches import Batches
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import hico
from ggnet_jax.inference import detection
from ggnet_jax.inference.interactions import to_prediction_entry
from ggnet_jax.models import GGNet, create_model
from ggnet_jax.run_dir import folder as workdir
from ggnet_jax.run_dir.checkpoints import Checkpoints
from ggnet_jax.training import state as states
from ggnet_jax.training.log import truncate_log
from ggnet_jax.training.optimizer import create_optimizer, learning_rate_schedule
from ggnet_jax.training.parallel import MeshParallel
from ggnet_jax.training.step import make_train_step
from ggnet_jax.training.stop import StopRequest
from ggnet_jax.vocabularies import Vocabulary

BUSY = 75  # exit status: another process is training this row


def train_and_evaluate(
    root: str | Path, row: str, seed: int, *, stop: Callable[[], bool] = lambda: False
) -> dict[str, Any] | None:
    """Train a row, or go on with it, then score it; writes `result.json`.

    Args:
      root: folder of the ablation, with the row's file and batches of the seed.
      row: its name.
      seed: of weights and batches.
      stop: asked after every step; the state is saved when it says so.

    Returns:
      The result; None if it was asked to stop.

    Raises:
      UserError: the loss is not finite, or files are missing or of another network.
    """
    fields = places.read_row(root, row)["config"] | {"seed": seed}
    folder = places.run_folder(root, row, seed)
    batches = Batches(root)
    changes = workdir.prepare(folder, fields, batches.vocabulary, write=not workdir.is_run(folder))
    if changes:
        raise UserError(
            f"{folder} was started with another configuration ({changes[0]}); "
            "use a new --workdir, or remove that folder"
        )
    config = workdir.read_config(folder)
    model = create_model(config.model)
    trained = _train(config, model, batches, folder, stop)
    if trained is None:
        return None
    variables, seconds = trained
    start = time.perf_counter()
    entries = predict(config, model, variables, batches)
    vocabulary = Vocabulary.from_dict(batches.vocabulary)
    result = {
        "row": row,
        "seed": seed,
        "config": fields,
        "metrics": hico.evaluate(entries, batches.truth, vocabulary).to_dict(),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "train_seconds": round(seconds, 1),
        "evaluate_seconds": round(time.perf_counter() - start, 1),
        "device": jax.devices()[0].device_kind,
        "cpu_cores": places.cores(),
        "jax": jax.__version__,
    }
    io.write_json(folder / places.RESULT, result)
    return result


def _train(
    config: Any, model: GGNet, batches: Batches, folder: Path, stop: Callable[[], bool]
) -> tuple[Any, float] | None:
    """Trained variables and the seconds it took, all parts together; None if stopped."""
    total = len(batches.order(config.seed))
    schedule = learning_rate_schedule(config, total // config.num_epochs)
    optimizer = create_optimizer(config, schedule)
    parallel = MeshParallel(jax.devices()[:1])
    train_step = parallel.compile(
        make_train_step(model, optimizer, schedule, config.loss, batches.verbs_of_object)
    )
    # The seed is an argument, so that what was compiled for one seed serves the others.
    make_state = jax.jit(partial(states.create_state, model, optimizer, config.data.image_size))
    with Checkpoints(folder, keep=1) as checkpoints:
        if checkpoints.latest() is None:
            state, done = parallel.put_state(make_state(config.seed)), 0
        else:
            variables, training, done = checkpoints.restore()
            template = jax.eval_shape(make_state, config.seed)
            state = parallel.put_state(states.from_checkpoint(template, variables, training))
        truncate_log(folder / places.LOG, done)
        before = places.last_entry_of(folder).get("seconds", 0.0)
        start = time.perf_counter()
        with (folder / places.LOG).open("a") as log:
            for step, batch in enumerate(batches.train(config.seed, done), start=done + 1):
                state, metrics = train_step(state, parallel.put_batch(batch))
                stopping = stop() and step < total
                saving = stopping or step == total or step % config.checkpoint_every_steps == 0
                if saving or step % config.log_every_steps == 0:
                    entry = _finite(jax.device_get(metrics), folder, step)
                    entry["seconds"] = round(before + time.perf_counter() - start, 2)
                    log.write(json.dumps(entry) + "\n")
                    log.flush()
                if saving:
                    checkpoints.save(step, *states.to_checkpoint(state))
                if stopping:
                    return None
        seconds = before + time.perf_counter() - start
    return {"params": state.params, "batch_stats": state.batch_stats}, seconds


def _finite(metrics: dict[str, np.ndarray], folder: Path, step: int) -> dict[str, float]:
    """A line of the log; a UserError if training went wrong."""
    if not metrics.pop("finite"):
        raise UserError(f"{folder}: the loss or the gradient is not finite at step {step}")
    return {"step": step} | {name: float(f"{value:.6g}") for name, value in metrics.items()}


def predict(config: Any, model: GGNet, variables: Any, batches: Batches) -> list[dict[str, Any]]:
    """Entries in PPDM's format for the evaluation pictures."""
    vocabulary = Vocabulary.from_dict(batches.vocabulary)
    detect = detection.make_detect(
        model, top_k=config.eval.top_k, valid_pairs=vocabulary.valid_pairs
    )
    entries = []
    for batch in batches.test(config.eval.batch_size):
        found = jax.device_get(detect(variables, batch["image"]).detections)
        for row in np.flatnonzero(batch["example_weight"] > 0):
            width, height = (int(side) for side in batch["size"][row])
            entry = to_prediction_entry(
                found,
                row,
                vocabulary,
                file_name=batches.truth[int(batch["image_id"][row])]["file_name"],
                width=width,
                height=height,
                input_size=tuple(config.data.image_size),
            )
            entries.append(entry)
    return entries


def main(argv: Sequence[str] | None = None) -> int:
    """Train one row; exit status 0 when it is done or was stopped, `BUSY`, 2 for a mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir")
    parser.add_argument("row")
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args(argv)
    folder = places.run_folder(arguments.workdir, arguments.row, arguments.seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    parent = os.getppid()
    with folder.with_name(f"{folder.name}.lock").open("w") as lock, StopRequest() as request:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"error: {folder} is being trained by another process", file=sys.stderr)
            return BUSY
        try:
            train_and_evaluate(
                arguments.workdir,
                arguments.row,
                arguments.seed,
                # If the one that started it is gone, nobody waits for this run any more.
                stop=lambda: request.at(0) or os.getppid() != parent,
            )
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
