"""What a training has settled before anything is written, and what it says of itself."""

import dataclasses
import importlib.metadata
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from ggnet_jax import __version__
from ggnet_jax.config import frozen_modules
from ggnet_jax.dataset import Dataset
from ggnet_jax.training.optimizer import module_of
from ggnet_jax.training.parallel import Parallel
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import TrainStep


@dataclasses.dataclass
class Plan:
    """What a process has settled before anything is written."""

    config: Any  # resolved
    dataset: Dataset
    vocabulary: dict[str, Any]  # what vocabulary.json is to hold
    steps_per_epoch: int
    parallel: Parallel
    step_function: TrainStep
    make_state: Callable[[], TrainState]
    weights: dict[str, Any] | None  # to start from
    start: int | None  # step of the checkpoint to go on from
    metric: str  # that the best checkpoint is chosen by; '' for none
    notes: list[str]  # to be told before the start

    @property
    def total(self) -> int:
        """Number of updates of the whole run."""
        return self.config.num_epochs * self.steps_per_epoch

    @property
    def about(self) -> dict[str, Any]:
        """What decides a training beside its configuration; recorded in every checkpoint."""
        seen = (
            self.vocabulary,
            getattr(self.dataset, "num_train", None),
            getattr(self.dataset, "fingerprint", None),
        )
        data = zlib.crc32(json.dumps(seen, sort_keys=True).encode())
        about = {"seed": self.config.seed, "data": f"{data:08x}"}
        if self.config.ema_decay:
            about["ema_decay"] = self.config.ema_decay
        return about

    def facts(self, workdir: Path) -> dict[str, Any]:
        """What has to be the same in all processes of the run."""
        config = self.config.to_dict()
        config["data"].pop("data_dir", None)  # each host may have its copy
        return {
            "config": config,
            "data": self.about["data"],
            "step to start from": self.start,
            "workdir": [
                str(workdir.resolve()),
                workdir.stat().st_ino if workdir.exists() else None,
            ],
            "version": {
                name: importlib.metadata.version(name)
                for name in ("jax", "jaxlib", "flax", "optax")
            }
            | {"ggnet_jax": __version__},
        }

    def differences(self, record: Mapping[str, Any]) -> list[str]:
        """A line for what the record of the checkpoint to go on from has otherwise."""
        now, lines = self.about, []
        if record.get("seed", now["seed"]) != now["seed"]:
            lines.append(f"the checkpoint was trained with seed {record['seed']}")
        if record.get("data", now["data"]) != now["data"]:
            lines.append("the checkpoint was trained on other images or annotations")
        before, after = (bool(facts.get("ema_decay")) for facts in (record, now))
        if after and not before:
            lines.append("the average of the weights starts from those of the checkpoint")
        if before and not after:
            lines.append("the average of the weights is dropped, they are evaluated themselves")
        return lines

    def summary(self, state: TrainState) -> str:
        """One line on what is about to be trained."""
        devices = jax.devices()
        number = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
        params = jax.tree.leaves_with_path(self.parallel.single(state).params)
        parameters = sum(leaf.size for _, leaf in params)
        frozen = frozen_modules(self.config.freeze)
        still = sum(leaf.size for path, leaf in params if module_of(path) in frozen)
        batch, parts = self.config.batch_size, self.config.accumulate_steps
        images = getattr(self.dataset, "num_train", self.steps_per_epoch * batch)
        return (
            f"{number} ({devices[0].device_kind}); network of {parameters:,} parameters"
            f"{f', {still:,} of them frozen' if frozen else ''}; "
            f"{images:,} images, {batch} a step{f' in {parts} parts' if parts > 1 else ''}; "
            f"{self.steps_per_epoch:,} steps an epoch, {self.total:,} in all"
            f"{'; the average of the weights is evaluated' if self.config.ema_decay else ''}"
        )
