"""How a step is spread over devices: `jit` over a mesh, or `pmap`; the loop does not know which.

Both are data parallel: the state is replicated, the batch is sharded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ggnet_jax.errors import UserError
from ggnet_jax.ops.cpu_options import compiler_options
from ggnet_jax.training.state import TrainState
from ggnet_jax.training.step import BATCH_KEYS, TrainStep

AXIS = "data"


class Parallel(Protocol):
    """What the loop asks of a way to spread the work."""

    @property
    def axis_name(self) -> str | None:
        """What the model and `make_train_step` have to be told, see there."""
        ...

    def create(self, make_state: Callable[[], TrainState]) -> TrainState:
        """Run `make_state` on the devices and replicate its result."""
        ...

    def put_state(self, state: TrainState) -> TrainState:
        """Replicate a state of host arrays."""
        ...

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Shard this process's part of a batch over its devices."""
        ...

    def shapes(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        """What a compiled step is called with.

        Args:
            state: `jax.ShapeDtypeStruct`s of a state.
            batch: those of a global batch.
        """
        ...

    def compile(self, train_step: TrainStep, dtype: str = "float32") -> TrainStep:
        """The step for `create`d states and `put` batches; it consumes the state it is given.

        Args:
            train_step: from `make_train_step`.
            dtype: in which the network convolves; for options that `pmap` does not take.
        """
        ...

    def single(self, tree: Any) -> Any:
        """One copy of a replicated tree (a state, metrics)."""
        ...


def create_parallel(name: str) -> Parallel:
    """Choose by `config.parallel`: 'jit' or 'pmap'."""
    if name == "jit":
        return MeshParallel()
    if name == "pmap":
        return PmapParallel()
    raise UserError(f"config.parallel is {name!r}; it can be 'jit' or 'pmap'")


class MeshParallel:
    """`jax.jit` over a mesh with one axis: the step sees global arrays, XLA spreads the work."""

    axis_name: str | None = None

    def __init__(self, devices: Sequence[Any] | None = None):
        devices = jax.devices() if devices is None else devices
        mesh = jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)
        self._platform = devices[0].platform
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
        # Explicit as it is, JAX's guard takes it for an implicit transfer with several processes.
        with jax.transfer_guard_host_to_device("allow"):
            return {
                name: jax.make_array_from_process_local_data(self._sharded, np.asarray(batch[name]))
                for name in BATCH_KEYS
            }

    def shapes(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        return state, dict(batch)

    def compile(self, train_step: TrainStep, dtype: str = "float32") -> TrainStep:
        return jax.jit(
            train_step,
            in_shardings=(self._replicated, self._sharded),
            out_shardings=(self._replicated, self._replicated),
            donate_argnums=0,
            compiler_options=compiler_options(dtype, self._platform),
        )

    def single(self, tree: Any) -> Any:
        return tree


class PmapParallel:
    """`jax.pmap`: each device runs the step on its shard and sums over the axis.

    On its way out of JAX; kept for comparison, and in this class only.
    """

    axis_name: str | None = AXIS

    def __init__(self, devices: Sequence[Any] | None = None):
        self._devices = devices
        local = jax.local_devices() if devices is None else devices
        self._local = len(local)
        mesh = jax.make_mesh((self._local,), (AXIS,), (AxisType.Auto,), devices=local)
        self._sharded = NamedSharding(mesh, PartitionSpec(AXIS))

    def create(self, make_state: Callable[[], TrainState]) -> TrainState:
        return self.put_state(jax.jit(make_state)())

    def put_state(self, state: TrainState) -> TrainState:
        copy = jax.pmap(
            lambda _, tree: tree, axis_name=AXIS, in_axes=(0, None), devices=self._devices
        )
        return copy(np.arange(self._local), state)

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """A first axis of this process's devices is added."""

        def split(array: np.ndarray) -> np.ndarray:
            return np.reshape(array, (self._local, -1, *np.shape(array)[1:]))

        return {name: jax.device_put(split(batch[name]), self._sharded) for name in BATCH_KEYS}

    def shapes(self, state: TrainState, batch: Mapping[str, Any]) -> tuple[Any, Any]:
        devices = self._local * jax.process_count()

        def split(leaf: Any) -> Any:
            shape = (self._local, leaf.shape[0] // devices, *leaf.shape[1:])
            return jax.ShapeDtypeStruct(shape, leaf.dtype)

        def copy(leaf: Any) -> Any:
            return jax.ShapeDtypeStruct((self._local, *leaf.shape), leaf.dtype)

        return jax.tree.map(copy, state), {name: split(leaf) for name, leaf in batch.items()}

    def compile(self, train_step: TrainStep, dtype: str = "float32") -> TrainStep:
        return jax.pmap(train_step, axis_name=AXIS, donate_argnums=0, devices=self._devices)

    def single(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)
