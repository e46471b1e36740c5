"""Weights & Biases, beside TensorBoard: the same scalars and drawings. `config.wandb` asks for it.

A workdir is one run there: its id is kept in `wandb.json`, so that a training that goes on goes on
there too. Project, entity and mode come from W&B's own variables (WANDB_PROJECT, WANDB_ENTITY,
WANDB_MODE=offline).
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError

ID = "wandb.json"
PROJECT = "ggnet_jax"  # unless WANDB_PROJECT names another


def require() -> Any:
    """The package `wandb`; a UserError where it isn't installed."""
    try:
        import wandb
    except ImportError:
        wandb = None
    if not hasattr(wandb, "init"):  # a folder `wandb`, as it writes them, can be imported too
        raise UserError(
            "config.wandb=True needs Weights & Biases, which is not installed: pip install -e "
            '".[wandb]", or leave config.wandb at False; TensorBoard and log.jsonl have the same'
        )
    return wandb


class WandbLog:
    """A run at Weights & Biases."""

    def __init__(self, workdir: Path, config: Any):
        """Begin a run, or go on with the workdir's.

        Args:
            workdir: the run's folder.
            config: a ConfigDict, shown beside the run.

        Raises:
            UserError: W&B isn't installed, or does not let us in.
        """
        self._wandb = require()
        path = workdir / ID
        run_id = _read(path)
        if run_id is None:
            run_id = uuid.uuid4().hex[:12]
            io.write_json(path, {"id": run_id})
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=run_id,
                resume="allow",
                name=workdir.resolve().name,
                dir=os.fspath(workdir),
                config=config.to_dict(),
                settings=self._wandb.Settings(silent=True, console="off"),
            )
        except KeyboardInterrupt:
            raise
        except Exception as error:  # of its own, of the network, of the system
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"Weights & Biases cannot be used: {why}; log in with `wandb login`, set "
                "WANDB_MODE=offline, or leave config.wandb at False"
            ) from error
        # Steps that a killed process had logged come again; W&B's own counter only goes up.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        self._run.log({"step": step, **metrics})

    def show(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Log drawings, RGB uint8 [h, w, 3]."""
        shown = {name: self._wandb.Image(image) for name, image in images.items()}
        if shown:
            self._run.log({"step": step, **shown})

    def close(self) -> None:
        """End the process's part of the run."""
        self._run.finish()


def _read(path: Path) -> str | None:
    if not path.exists():
        return None
    record = io.read_json(path)
    run_id = record.get("id") if isinstance(record, dict) else None
    if not isinstance(run_id, str) or not run_id:
        raise UserError(f"{path} has no run id; remove it to begin a new run at Weights & Biases")
    return run_id
