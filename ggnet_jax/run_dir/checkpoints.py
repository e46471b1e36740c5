"""The checkpoints of a run: what is saved, and how it is read. The one file that knows Orbax.

A checkpoint is a folder `<workdir>/checkpoints/<step>` with two parts, `variables` (Flax's `params`
and `batch_stats`, all that inference needs; their average, if the run keeps one) and `training`
(the optimizer's state and, with an average, the weights to go on from), and a record of both, see
`run_dir.checksums`. Both hold plain host arrays, so that a checkpoint written by eight
devices opens on one, with or without `pmap`.

Only a complete checkpoint is ever named by a step. Orbax writes to a folder with another name; what
it wrote is read back and compared, the record is added, and only then is the folder renamed and an
older checkpoint dropped, which is renamed before it is deleted. A process killed at any moment
leaves at worst a folder with another name, which the next writer removes. Nothing else in the
folder is ever removed: it may be somebody's.

Orbax's `CheckpointManager` (0.12.8) drops old checkpoints and temporary folders too, but
- it deletes an old checkpoint in place, so that a kill leaves half of one under its step
  (`test_a_kill_while_an_old_checkpoint_is_deleted`); with `todelete_subdir` it renames, and the
  deleting is ours again;
- after a save, its thread can lower the agreed stop step below a process's current step, which then
  never stops
  (`test_the_end_of_a_save_leaves_the_step_to_stop_at_alone`).
"""

import contextlib
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util
from jax.experimental import multihost_utils

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import best, checksums
from ggnet_jax.run_dir.arrays import check_equal, check_finite
from ggnet_jax.run_dir.checksums import DamagedError
from ggnet_jax.run_dir.folder import CHECKPOINTS
from ggnet_jax.run_dir.plain_path import plain_path

_PARTS = ("variables", "training")
_DROPPED = "dropped-"  # prefix of a checkpoint that is being deleted
_SAVING = ".saving"  # suffix of one that is being written
_STEP = r"(?:0|[1-9][0-9]*)"
_UNFINISHED = re.compile(
    rf"{_STEP}(?:{_SAVING})?\.orbax-checkpoint-tmp|{_STEP}{_SAVING}|{_DROPPED}{_STEP}"
)
_ENTRIES = frozenset({*_PARTS, checksums.RECORD, "_CHECKPOINT_METADATA", "commit_success.txt"})
_SMALL = 1 << 20  # bytes; all of Orbax's metadata are in files of less


Step = int | str | None
"""How a checkpoint is named: by a number, "best", or None for the newest."""


def folder(workdir: str | Path) -> Path:
    """The folder of a workdir's checkpoints."""
    return Path(workdir).absolute() / CHECKPOINTS


def steps(workdir: str | Path) -> list[int]:
    """The steps of all complete checkpoints, ascending; empty for a folder without any."""
    place = folder(workdir)
    if not place.is_dir():
        return []
    return sorted(int(entry.name) for entry in place.iterdir() if _is_checkpoint(entry))


def _is_checkpoint(entry: Path) -> bool:
    """Whether a folder is named by a step ("7", not "007") and has something of a checkpoint."""
    return (
        re.fullmatch(_STEP, entry.name) is not None
        and entry.is_dir()
        and any((entry / name).exists() for name in _ENTRIES)
    )


def existing(workdir: str | Path, step: Step) -> int:
    """The step of a checkpoint that is there.

    Args:
        workdir: a run's folder.
        step: None for the newest, "best" for the one that was chosen on the validation split.

    Raises:
        UserError: there is none.
    """
    found = steps(workdir)
    if not found:
        raise UserError(f"{workdir} holds no checkpoint; train first, or give another --workdir")
    if step is None:
        return found[-1]
    if step == best.BEST:
        step = best.step_of(workdir)
        if step is None:
            raise UserError(
                f"{workdir} has no best checkpoint: its training chose none; train with "
                "config.data.val_split and config.eval.best, or give a step, such as "
                f"{found[-1]}, the newest"
            )
        if step not in found:
            raise UserError(
                f"the best checkpoint of {workdir}, of step {step}, is gone; it has "
                f"{', '.join(map(str, found))}"
            )
    if not isinstance(step, int) or isinstance(step, bool):
        raise UserError(f"there is no checkpoint of step {step!r}; give a number or {best.BEST!r}")
    if step not in found:
        listed = ", ".join(map(str, found))
        raise UserError(f"{workdir} has no checkpoint of step {step}; it has {listed}")
    return step


def load_variables(
    workdir: str | Path, step: Step = None, *, onto: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], int]:
    """Read what inference needs.

    Args:
        workdir: a run's folder.
        step: which checkpoint; None for the newest, "best" for the chosen one.
        onto: its `variable_shapes` with a sharding, to put the arrays on a device: one is copied
            there while others are read.

    Returns:
        `({'params': ..., 'batch_stats': ...}, step)` with NumPy leaves, or `jax.Array`s.

    Raises:
        UserError: there is no such checkpoint, it cannot be read, it is damaged or of another
            step, or a weight is not finite.
    """
    step = existing(workdir, step)
    like = None if onto is None else traverse_util.flatten_dict(onto, sep="/")
    return _nested(_read(workdir, step, "variables", like)), step


def variable_shapes(
    workdir: str | Path, step: Step = None, *, sharding: jax.sharding.Sharding | None = None
) -> dict[str, Any]:
    """What `load_variables` would give, as `jax.ShapeDtypeStruct`; no array is read.

    Args:
        workdir: a run's folder.
        step: which checkpoint; None for the newest, "best" for the chosen one.
        sharding: of every leaf.

    Raises:
        UserError: there is no such checkpoint, or it cannot be read.
    """
    place = folder(workdir) / str(existing(workdir, step))
    with _named(place), plain_path(place) as plain:
        _check(place, "variables", largest=_SMALL)
        leaves = _leaves(plain / "variables")
    return _nested(
        {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for name, leaf in leaves.items()
        }
    )


def about(workdir: str | Path, step: int) -> dict[str, Any]:
    """What was recorded of a checkpoint beside its step; empty for an older revision's.

    Raises:
        UserError: the record is damaged.
    """
    place = folder(workdir) / str(step)
    with _named(place):
        record = checksums.read(place) or {}
    return {name: value for name, value in record.items() if name not in ("step", "files")}


class Checkpoints:
    """Saves and restores the checkpoints of one run; a context manager.

    Of several processes every one makes this object and calls `save`; the first writes.

    Attributes:
        best: the step of a checkpoint that is kept beside the newest; None for none.
    """

    def __init__(
        self, workdir: str | Path, *, keep: int = 3, about: Mapping[str, Any] | None = None
    ):
        """Take over a workdir and remove what a killed process left incomplete.

        Args:
            workdir: the run's folder, which exists.
            keep: so many of the newest checkpoints are kept.
            about: recorded in every checkpoint, of JSON's types.

        Raises:
            UserError: `keep` is less than 1, or the folder cannot be written to.
        """
        if keep < 1:
            raise UserError(f"config.keep_checkpoints is {keep}; at least 1 is needed to resume")
        _silence_orbax()
        self._workdir = Path(workdir)
        self._keep = keep
        self.best: int | None = None
        self._about = dict(about or {})
        self._writes = jax.process_index() == 0
        self._saving: Future[None] | None = None
        place = folder(workdir)
        with contextlib.ExitStack() as stack:
            if self._writes:
                _make(place)
                _remove_unfinished(place)
            self._plain = stack.enter_context(plain_path(place))
            self._thread = stack.enter_context(ThreadPoolExecutor(1, "checkpoint"))
            self._checkpointer = None
            if self._writes:
                self._checkpointer = ocp.AsyncCheckpointer(
                    ocp.CompositeCheckpointHandler(
                        composite_options=ocp.CompositeOptions(multiprocessing_options=_alone())
                    ),
                    multiprocessing_options=_alone(),
                )
                stack.callback(self._close_orbax)
            self._resources = stack.pop_all()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        # What went wrong is already on its way. Of several processes the others may not come here.
        with self._resources, contextlib.suppress(Exception):
            if self._saving is not None:
                self._saving.result()

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

        Raises:
            UserError: the checkpoint before this one could not be saved.
        """
        self.wait()
        if step in steps(self._workdir):
            return
        if self._checkpointer is None:
            self._saving = Future()
            self._saving.set_result(None)
            return
        arrays = {"variables": _flat(variables), "training": _flat(training)}
        with self._saves(step):
            self._checkpointer.save(
                self._plain / f"{step}{_SAVING}",
                args=ocp.args.Composite(
                    **{part: ocp.args.StandardSave(arrays[part]) for part in _PARTS}
                ),
            )
        self._saving = self._thread.submit(self._finish, self._checkpointer, step, arrays)

    def wait(self) -> None:
        """Return once the last save is on disk and all but the best and newest `keep` are deleted.

        Raises:
            UserError: it could not be saved; the checkpoints before it are as they were.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        error = saving.exception()
        if jax.process_count() > 1:  # also lets nobody look before the first process has renamed
            fine = multihost_utils.process_allgather(np.array(error is None))
            if error is None and not fine.all():
                error = UserError("another process could not save the checkpoint")
        if error is not None:
            raise error

    def restore(self, step: Step = None) -> tuple[dict[str, Any], dict[str, Any], int]:
        """Read a checkpoint, the newest if `step` is None.

        Returns:
            `(variables, training, step)` with NumPy leaves.

        Raises:
            UserError: there is no such checkpoint, it cannot be read, it is damaged or of another
                step, or a weight is not finite.
        """
        step = existing(self._workdir, step)
        variables, training = (_read(self._workdir, step, part) for part in _PARTS)
        recorded = training.get("step")  # older revisions have no other record
        if recorded is not None and int(recorded) != step:
            raise _other_step(folder(self._workdir) / str(step), int(recorded))
        return _nested(variables), _nested(training), step

    def close(self) -> None:
        """Finish the last save and release Orbax's threads."""
        with self._resources:
            self.wait()

    def _close_orbax(self) -> None:
        assert self._checkpointer is not None
        with contextlib.suppress(Exception):  # of a save, which `_finish` has seen
            self._checkpointer.close()

    def _finish(
        self,
        checkpointer: ocp.AsyncCheckpointer,
        step: int,
        arrays: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Wait for Orbax, see that what it wrote can be read, name it, drop what is too old."""
        with self._saves(step):
            checkpointer.wait_until_finished()
            place = folder(self._workdir)
            for part in _PARTS:
                check_equal(_restore(self._plain / f"{step}{_SAVING}" / part), arrays[part])
            draft = place / f"{step}{_SAVING}"
            checksums.write(draft, {"step": step, **self._about})
            draft.rename(place / str(step))
            for old in [s for s in steps(self._workdir) if _is_ours(place / str(s))][: -self._keep]:
                if old == self.best:
                    continue
                dropped = (place / str(old)).rename(place / f"{_DROPPED}{old}")
                shutil.rmtree(dropped, ignore_errors=True)

    @contextmanager
    def _saves(self, step: int) -> Iterator[None]:
        """Turn what goes wrong while saving into a UserError that says what is left."""
        try:
            yield
        except Exception as error:  # Orbax hands on what NumPy, TensorStore and the system raise
            place = folder(self._workdir)
            with contextlib.suppress(OSError):  # a full disk needs the room
                _remove_unfinished(place)
            kept = ", ".join(map(str, steps(self._workdir))) or "none yet"
            raise UserError(
                f"cannot save checkpoint {step} in {place}: {_reason(error)}; complete "
                f"checkpoints: {kept}. The same command goes on from the last one"
            ) from error


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):  # better now than after an hour
            pass
    except OSError as error:
        raise UserError(f"cannot write to {place}: {error.strerror or error}") from error


def _remove_unfinished(place: Path) -> None:
    """Remove what an interrupted save or deletion left."""
    for entry in place.iterdir():
        if _UNFINISHED.fullmatch(entry.name) and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


def _is_ours(place: Path) -> bool:
    """Whether a checkpoint was certainly written by a run under this very step."""
    if place.is_symlink() or not {entry.name for entry in place.iterdir()} <= _ENTRIES:
        return False
    try:
        record = checksums.read(place)
    except (DamagedError, OSError):
        return False
    return record is None or record.get("step") == int(place.name)


def _read(
    workdir: str | Path, step: int, part: str, onto: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    place = folder(workdir) / str(step)
    with _named(place), plain_path(place) as plain:
        _check(place, part)
        leaves = _restore(plain / part, onto)
    if part == "variables":
        check_finite(place, leaves)
    return leaves


def _restore(place: Path, onto: Mapping[str, Any] | None = None) -> dict[str, Any]:
    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
        if onto is not None:
            return checkpointer.restore(place, onto)
        return {name: np.asarray(leaf) for name, leaf in checkpointer.restore(place).items()}


def _alone() -> ocp.options.MultiprocessingOptions:
    """Let Orbax wait for no other process: each reads by itself, and only the first writes."""
    this = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process_{this}"
    )


def _leaves(place: Path) -> Mapping[str, Any]:
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=_alone())
    return handler.metadata(epath.Path(place)).tree


def _check(place: Path, part: str, *, largest: int | None = None) -> None:
    """Compare a part of a checkpoint, or only its files up to a size, with the record."""
    record = checksums.read(place)
    if record is None:
        return
    if record.get("step") != int(place.name):
        raise _other_step(place, record.get("step"))

    def wanted(name: str) -> bool:
        small = largest is None or record["files"][name][0] <= largest
        return small and (name.startswith(f"{part}/") or "/" not in name)

    checksums.check(place, record, wanted)


def _other_step(place: Path, step: Any) -> UserError:
    return UserError(
        f"checkpoint {place} is of step {step} and not of {place.name}; "
        f"name the folder {step}, or remove it"
    )


@contextmanager
def _named(place: Path) -> Iterator[None]:
    """Turn what Orbax raises into a UserError that names the checkpoint."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of damaged metadata anything may come
        if "RESOURCE_EXHAUSTED" in str(error):  # of the device's memory
            raise
        raise UserError(
            f"checkpoint {place} cannot be read ({_reason(error)}); "
            "remove that folder to use the one before it"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _silence_orbax() -> None:
    """Keep Orbax's log off the terminal: what it says of a failure is raised as well."""
    logger = logging.getLogger("absl")
    if _not_orbax not in logger.filters:
        logger.addFilter(_not_orbax)


def _not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


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
