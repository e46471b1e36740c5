"""What `main.py --mode=...` does; each function returns an exit status."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ggnet_jax.cli.compilation_cache import keep_compiled
from ggnet_jax.cli.cuda_atomics import use_native_atomics
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder as run_folder


def start(processes: str | None) -> None:
    """Settle how JAX works in this process, before anything uses it.

    Args:
      processes: None for one process, which keeps what it compiles; else see `join`. (Of several
        processes some would find a program kept, and others wait for these to help compile it.)
    """
    use_native_atomics(os.environ)
    if processes:
        join(processes)
    else:
        keep_compiled()


def join(processes: str) -> None:
    """Become one of several processes that train together; before anything else uses JAX.

    Args:
      processes: "host:port,count,id" with the address of the first process, the number of
        processes and which of them this one is (0 is the first); or "auto" where JAX finds
        all three by itself (TPU pods, Slurm).

    Raises:
      UserError: another text, or the others can't be reached.
    """
    arguments: tuple[Any, ...] = ()
    if processes != "auto":
        try:
            address, count, number = processes.split(",")
            arguments = (address, int(count), int(number))
        except ValueError:
            raise UserError(
                f"--distributed={processes}; give HOST:PORT,COUNT,ID or 'auto'"
            ) from None
    try:
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"cannot join the other processes: {error}") from error


def train(config: Any | None, workdir: str | Path) -> int:
    """Train, or go on training; then evaluate the result and draw a few pictures.

    A run that was asked to stop ends after its checkpoint: no evaluation, exit status 0.
    """
    from ggnet_jax.training import loop

    if config is None:
        raise UserError("give a configuration, such as --config=configs/demo.py")
    boxes = config.eval.detections
    if boxes and not Path(boxes).is_file():  # better now than after the training
        raise UserError(f"eval.detections: there is no file {boxes}")
    result = loop.train(config, workdir, evaluate=_scores)
    if not result.finished:
        return 0
    return evaluate(config, workdir, None)


def evaluate(config: Any | None, workdir: str | Path, step: int | None) -> int:
    """Print the table of mAP for a checkpoint and the paths of a few drawn pictures.

    Args:
      config: None for that of the run.
      workdir: of the run.
      step: of the checkpoint; None for the newest.
    """
    config = _evaluation_config(config, workdir)
    from ggnet_jax.cli import evaluate_split as evaluation_entry

    evaluation_entry.evaluate(config, workdir, step)
    if jax.process_index() == 0 and config.eval.pictures:
        from ggnet_jax.cli import drawings as figures

        print("pictures:")
        for path in figures.draw_run(config, workdir, step):
            print(f"  {path}")
    return 0


def predict(
    workdir: str | Path,
    images: str | None,
    output: str | None,
    step: int | None,
    threshold: float | None,
) -> int:
    """Find and draw the interactions of pictures; exit status 1 if a picture failed."""
    from ggnet_jax.cli import predict as prediction_entry

    if not images:
        raise UserError("give pictures, --images=FILE,FOLDER,GLOB")
    chosen = {} if threshold is None else {"threshold": threshold}
    failed = prediction_entry.predict(workdir, images, output, step, **chosen)
    return 1 if failed else 0


def _evaluation_config(config: Any | None, workdir: str | Path) -> ConfigDict:
    """A configuration with the network of the run; a UserError if another one was asked for."""
    from ggnet_jax.training.parallel import shareable  # and with it Optax, not needed to predict

    trained = run_folder.read_config(workdir)
    asked = trained if config is None else config.to_dict()
    for field in ("num_verbs", "num_objects"):  # 0 leaves them to the vocabulary
        asked["model"][field] = asked["model"][field] or trained["model"][field]
    run_folder.check_model(workdir, trained, asked)
    config = ConfigDict(asked)
    config.eval.batch_size = shareable(config.eval.batch_size, jax.device_count())
    return config


def _scores(config: Any, workdir: Path, step: int) -> Mapping[str, float]:
    """The means of an evaluation during training, by name."""
    from ggnet_jax.cli import evaluate_split as evaluation_entry

    return dict(_numbers(evaluation_entry.evaluate(config, workdir, step)))


def _numbers(tree: Any, prefix: str = "") -> list[tuple[str, float]]:
    """Every number in nested dictionaries under its path; lists (one AP a class) are left out."""
    found = []
    for name, value in (tree or {}).items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", float(value)))
    return found
