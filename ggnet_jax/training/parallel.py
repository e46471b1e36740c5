"""How a step is spread over devices: `jit` over a mesh, or `pmap`; the loop does not know which.

Both are data parallel: every device holds the whole state and a part of the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ggnet_jax.errors import UserError
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import BATCH_KEYS, Metrics, TrainStep

AXIS = "data"


class Parallel(Protocol):
    """What the loop asks of a way to spread the work.

    Attributes:
      axis_name: what the model and `make_train_step` have to be told, see there.
    """

    axis_name: str | None

    def create(self, make_state: Callable[[], TrainState]) -> TrainState:
        """Run `make_state` on the devices and give each its copy."""

    def put_state(self, state: TrainState) -> TrainState:
        """Give each device its copy of a state of host arrays."""

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Share out this process's part of a batch over its devices."""

    def compile(self, train_step: TrainStep) -> TrainStep:
        """The step for `create`d states and `put` batches; it consumes the state it is given."""

    def single(self, tree: Any) -> Any:
        """One copy of a tree that all devices hold (a state, metrics)."""


def create_parallel(name: str) -> Parallel:
    """Choose by `config.parallel`: 'jit' or 'pmap'."""
    if name == "jit":
        return MeshParallel()
    if name == "pmap":
        return PmapParallel()
    raise UserError(f"config.parallel is {name!r}; it can be 'jit' or 'pmap'")


class MeshParallel:
    """`jax.jit` over a mesh with one axis: the step sees global arrays, XLA does the sharing."""

    axis_name = None

    def __init__(self, devices: list[jax.Device] | None = None):
        devices = jax.devices() if devices is None else devices
        mesh = jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec(AXIS))

    def create(self, make_state: Callable[[], TrainState]) -> TrainState:
        return jax.jit(make_state, out_shardings=self._replicated)()

    def put_state(self, state: TrainState) -> TrainState:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(
                self._replicated, np.asarray(leaf), np.shape(leaf)
            ),
            state,
        )

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        return {
            name: jax.make_array_from_process_local_data(self._sharded, np.asarray(batch[name]))
            for name in BATCH_KEYS
        }

    def compile(self, train_step: TrainStep) -> TrainStep:
        return jax.jit(
            train_step,
            in_shardings=(self._replicated, self._sharded),
            out_shardings=(self._replicated, self._replicated),
            donate_argnums=0,
        )

    def single(self, tree: Any) -> Any:
        return tree


class PmapParallel:
    """`jax.pmap`: each device runs the step on its part and adds up over the axis.

    On its way out of JAX; kept for comparison, and in this class only.
    """

    axis_name = AXIS

    def __init__(self, devices: list[jax.Device] | None = None):
        self._devices = devices
        self._local = len(devices or jax.local_devices())

    def create(self, make_state: Callable[[], TrainState]) -> TrainState:
        return self.put_state(jax.jit(make_state)())

    def put_state(self, state: TrainState) -> TrainState:
        copy = jax.pmap(
            lambda _, tree: tree, axis_name=AXIS, in_axes=(0, None), devices=self._devices
        )
        return copy(np.arange(self._local), state)

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        def split(array: np.ndarray) -> np.ndarray:
            return np.reshape(array, (self._local, -1, *np.shape(array)[1:]))

        return {name: split(batch[name]) for name in BATCH_KEYS}

    def compile(self, train_step: TrainStep) -> TrainStep:
        return jax.pmap(train_step, axis_name=AXIS, donate_argnums=0, devices=self._devices)

    def single(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)


def batch_size_for_devices(batch_size: int, num_devices: int, *, round_batch: bool = False) -> int:
    """The number of pictures a step, divisible by the number of devices.

    Args:
      batch_size: what the configuration asks for.
      num_devices: of all processes.
      round_batch: go to the nearest multiple (up if two are as near) instead of refusing.

    Raises:
      UserError: it can't be shared out; the message names the nearest sizes that can.
    """
    if batch_size < 1:
        raise UserError(f"config.batch_size is {batch_size}; it must be at least 1")
    below = batch_size // num_devices * num_devices
    if below == batch_size:
        return batch_size
    above = below + num_devices
    if round_batch:
        return above if not below or above - batch_size <= batch_size - below else below
    nearest = f"{below} or {above}" if below else f"{above}"
    raise UserError(
        f"config.batch_size={batch_size} can't be shared out over {num_devices} devices; "
        f"use {nearest}, or --config.round_batch=true"
    )


def shareable(batch_size: int, num_devices: int) -> int:
    """`batch_size` rounded up to what the devices can share out; for batches that are padded."""
    return -(-batch_size // num_devices) * num_devices


__all__ = [
    "AXIS",
    "MeshParallel",
    "Metrics",
    "Parallel",
    "PmapParallel",
    "batch_size_for_devices",
    "create_parallel",
    "shareable",
]
