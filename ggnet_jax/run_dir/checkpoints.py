"""The checkpoints of a run: what is saved, and how it is read. The one file that knows Orbax.

A checkpoint is a folder `<workdir>/checkpoints/<step>` with two parts: `variables` (Flax's `params`
and `batch_stats`, all that inference needs) and `training` (the optimizer's state). Both hold plain
host arrays, so that a checkpoint written by eight devices opens on one, with or without `pmap`.

Only a complete checkpoint is ever named by a step: Orbax writes to a temporary folder and renames
it, and an old checkpoint is renamed before it is deleted. A process killed at any moment leaves at
worst a folder with another name, which the next writer removes.

Orbax's `CheckpointManager` (0.12.8) drops old checkpoints and temporary folders too, but
- it deletes an old checkpoint in place, so that a kill leaves half of one under its step
  (`test_a_kill_while_an_old_checkpoint_is_deleted`); with `todelete_subdir` it renames, and the
  deleting is ours again;
- after a save, its thread can lower the agreed stop step below a process's current step, which then
  never stops
  (`test_the_end_of_a_save_leaves_the_step_to_stop_at_alone`).
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.folder import CHECKPOINTS

_DROPPED = "dropped-"  # prefix of a checkpoint that is being deleted


def folder(workdir: str | Path) -> Path:
    """The folder of a workdir's checkpoints."""
    return Path(workdir).absolute() / CHECKPOINTS


def steps(workdir: str | Path) -> list[int]:
    """The steps of all complete checkpoints, ascending; empty for a folder without any."""
    place = folder(workdir)
    if not place.is_dir():
        return []
    return sorted(int(entry.name) for entry in place.iterdir() if entry.name.isdecimal())


def existing(workdir: str | Path, step: int | None) -> int:
    """The step of the newest checkpoint, or `step` itself if there is one of it.

    Raises:
        UserError: there is none.
    """
    found = steps(workdir)
    if not found:
        raise UserError(f"{workdir} holds no checkpoint; train first, or give another --workdir")
    if step is None:
        return found[-1]
    if step not in found:
        listed = ", ".join(map(str, found))
        raise UserError(f"{workdir} has no checkpoint of step {step}; it has {listed}")
    return step


def load_variables(
    workdir: str | Path, step: int | None = None, *, onto: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], int]:
    """Read what inference needs.

    Args:
        workdir: a run's folder.
        step: which checkpoint; None for the newest.
        onto: its `variable_shapes` with a sharding, to put the arrays on a device: one is copied
            there while others are read.

    Returns:
        `({'params': ..., 'batch_stats': ...}, step)` with NumPy leaves, or `jax.Array`s.

    Raises:
        UserError: there is no such checkpoint, or it cannot be read.
    """
    step = existing(workdir, step)
    if onto is None:
        return _nested(_read(workdir, step, "variables")), step
    place = folder(workdir) / str(step) / "variables"
    with _named(place), ocp.StandardCheckpointer() as checkpointer:
        return _nested(checkpointer.restore(place, traverse_util.flatten_dict(onto, sep="/"))), step


def variable_shapes(
    workdir: str | Path, step: int | None = None, *, sharding: jax.sharding.Sharding | None = None
) -> dict[str, Any]:
    """What `load_variables` would give, as `jax.ShapeDtypeStruct`; no array is read.

    Args:
        workdir: a run's folder.
        step: which checkpoint; None for the newest.
        sharding: of every leaf.

    Raises:
        UserError: there is no such checkpoint, or it cannot be read.
    """
    place = folder(workdir) / str(existing(workdir, step)) / "variables"
    with _named(place):
        leaves = ocp.StandardCheckpointHandler().metadata(epath.Path(place)).tree
    return _nested(
        {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in leaves.items()
        }
    )


class Checkpoints:
    """Saves and restores the checkpoints of one run; a context manager.

    Of several processes every one makes this object and calls `save`; the first writes.
    """

    def __init__(self, workdir: str | Path, *, keep: int = 3):
        """Take over a workdir and remove what a killed process left incomplete.

        Args:
            workdir: the run's folder, which exists.
            keep: so many of the newest checkpoints are kept.

        Raises:
            UserError: `keep` is less than 1.
        """
        if keep < 1:
            raise UserError(f"keep_checkpoints is {keep}; at least 1 is needed to resume")
        self._workdir = Path(workdir)
        self._keep = keep
        self._writes = jax.process_index() == 0
        if self._writes:
            folder(workdir).mkdir(parents=True, exist_ok=True)
            for entry in folder(workdir).iterdir():
                if not entry.name.isdecimal():
                    shutil.rmtree(entry, ignore_errors=True)
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        found = steps(self._workdir)
        return found[-1] if found else None

    def save(self, step: int, variables: Mapping[str, Any], training: Mapping[str, Any]) -> None:
        """Copy a state to the host and write it in the background.

        Returns as soon as the device's buffers may be overwritten. An existing checkpoint of the
        same step is left as it is.

        Args:
            step: number of updates so far.
            variables: `{'params': ..., 'batch_stats': ...}`, nested dictionaries of arrays.
            training: nested dictionaries of arrays; `restore` gives them back.
        """
        self.wait()
        if step in steps(self._workdir):
            return
        self._checkpointer.save(
            folder(self._workdir) / str(step),
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(_flat(variables)),
                training=ocp.args.StandardSave(_flat(training)),
            ),
        )

    def wait(self) -> None:
        """Return once the last save is on disk; delete all but the newest `keep` checkpoints."""
        self._checkpointer.wait_until_finished()
        if self._writes:
            for step in steps(self._workdir)[: -self._keep]:
                place = folder(self._workdir) / str(step)
                shutil.rmtree(place.rename(place.with_name(f"{_DROPPED}{step}")))

    def restore(self, step: int | None = None) -> tuple[dict[str, Any], dict[str, Any], int]:
        """Read a checkpoint, the newest if `step` is None.

        Returns:
            `(variables, training, step)` with NumPy leaves.

        Raises:
            UserError: there is no such checkpoint, or it cannot be read.
        """
        step = existing(self._workdir, step)
        variables, training = (_read(self._workdir, step, k) for k in ("variables", "training"))
        return _nested(variables), _nested(training), step

    def close(self) -> None:
        """Finish the last save and release Orbax's threads."""
        self.wait()
        self._checkpointer.close()


def _read(workdir: str | Path, step: int, part: str) -> dict[str, np.ndarray]:
    place = folder(workdir) / str(step) / part
    with _named(place), ocp.StandardCheckpointer() as checkpointer:
        return {name: np.asarray(leaf) for name, leaf in checkpointer.restore(place).items()}


@contextmanager
def _named(place: Path) -> Iterator[None]:
    """Turn what Orbax raises into a UserError that names the checkpoint."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"checkpoint {place.parent} cannot be read ({reason}); "
            "remove that folder to use the one before it"
        ) from error


def _flat(tree: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """One flat dictionary of host arrays that share no memory with the device's buffers.

    On the CPU a host view of an array is the array itself, whose buffer is donated to the next
    step. JAX guards such views; a copy needs no guard.
    """
    flat = traverse_util.flatten_dict(dict(tree), sep="/")
    for leaf in flat.values():
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    return {name: np.array(leaf) for name, leaf in flat.items()}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.unflatten_dict(dict(flat), sep="/")
