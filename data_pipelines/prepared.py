"""A builder with a prepared data set: found, whole and of its files as they are now, or built.

A build goes into a folder of its own, which is renamed when it is whole; what was there before is
set aside until then. So neither an error, Ctrl-C nor a kill leaves half a data set or loses one.
"""

import contextlib
import errno
import fcntl
import shutil
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from data_pipelines.hoi_builder import HoiBuilder, readable_size
from data_pipelines.records import DamagedError
from data_pipelines.report import Report
from ggnet_jax.errors import UserError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # of some network folders
_said: set[str] = set()


class _Look(NamedTuple):
    """What is there of a data set.

    Attributes:
        folder: where it lies or is to lie.
        builder: if it is prepared, whole and current.
        problem: why what is there can't be used, as a clause; '' where nothing is there.
    """

    folder: Path
    builder: HoiBuilder | None
    problem: str = ""


def open_builder(kind: type[HoiBuilder], config: Any) -> HoiBuilder:
    """The builder that `config.data` describes, its data set prepared.

    Args:
        kind: the builder's class.
        config: `config.data`.

    Raises:
        UserError: the data set has to be built, and can't be.
    """
    with quiet_tfds():
        try:
            look = _look(kind, config)
        except OSError as error:
            raise UserError(f"cannot look for a prepared data set: {error}") from error
        if look.builder is not None and not _older(look.folder).exists():
            _say(look.builder)
            return look.builder
        return _build(kind, config, look)


def _look(kind: type[HoiBuilder], config: Any) -> _Look:
    try:
        builder = kind.from_config(config)
        folder = Path(builder.data_dir)
        if not folder.exists():
            return _Look(folder, None)
        if not builder.is_prepared():
            return _Look(folder, None, "is not whole")
        builder.check_whole()
        changes = builder.changes()
    except DamagedError as error:
        return _Look(error.folder, None, f"is damaged ({error.problem})")
    return _Look(folder, None, changes) if changes else _Look(folder, builder)


def _build(kind: type[HoiBuilder], config: Any, look: _Look) -> HoiBuilder:
    """Build the data set, unless another process does so first."""
    folder, problem = look.folder, look.problem
    try:
        with _one_at_a_time(folder) as locked:
            if locked:
                _clear_up(folder)
            look = _look(kind, config)
            folder, problem = look.folder, look.problem
            if look.builder is not None:
                _say(look.builder)
                return look.builder
            if problem:
                tqdm.write(f"{folder} {problem}; building it again", file=sys.stderr)
            with _set_aside(folder):
                kind.from_config(config).download_and_prepare(
                    file_format=tfds.core.FileFormat.TFRECORD
                )
            return kind.from_config(config)
    except UserError as error:
        if not problem or isinstance(error, DamagedError):
            raise
        raise UserError(f"{error} (the prepared data set in {folder} {problem})") from error
    except (OSError, tf.errors.OpError) as error:
        look = _look(kind, config)
        if look.builder is not None:  # without locks another process may have been faster
            _say(look.builder)
            return look.builder
        before = f" again (it {problem})" if problem else ""
        raise UserError(
            f"cannot prepare a data set in {folder}{before}: {_reason(error)}; see that there is "
            "room and that you may write there, or set config.data.data_dir to another folder"
        ) from error


def _reason(error: OSError | tf.errors.OpError) -> str:
    """Why a file could not be written, in one line."""
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split())
    return " ".join(error.message.rpartition(";")[2].split())  # TensorFlow says "PATH; REASON"


def _say(builder: HoiBuilder) -> None:
    """Where a data set is that was built before, and what was left out; once in a process."""
    splits = builder.info.splits.items()
    numbers = ", ".join(f"{name} {split.num_examples}" for name, split in splits)
    size = readable_size(Path(builder.data_dir))
    lines = [f"{builder.name}: {numbers} images, prepared in {builder.data_dir} ({size})"]
    for name, _ in splits:
        report = Report.from_dict(builder.metadata["reports"][name])
        lines.append(report.line(f"Data report of {builder.name}, split {name}"))
    text = "\n".join(lines)
    if text not in _said:
        tqdm.write(text, file=sys.stderr)
        _said.add(text)


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
    """Without what TFDS prints: of configs not its own, and bars without a total."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[bool]:
    """Let the processes that want to build the same data set wait for each other.

    The lock goes with its process, however that ends. Yields False where the file system has no
    locks; then the last one to rename its folder is told that there is one already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".building").open("w") as lock:
        locked = True
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tqdm.write(f"Waiting for the process that builds {folder}", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            locked = False
        yield locked


def _older(folder: Path) -> Path:
    """Where what was in the folder lies while it is built again."""
    return folder.with_name(f"older.{folder.name}")


def _clear_up(folder: Path) -> None:
    """Remove what a process that was killed left behind; bring back what it had set aside."""
    for half in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(half)
    older = _older(folder)
    if older.exists():
        if folder.exists():
            shutil.rmtree(older)
        else:
            older.rename(folder)


@contextlib.contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    """Keep what is in a folder, out of the way, until something new is there."""
    older = _older(folder)
    if folder.exists():
        folder.rename(older)
    try:
        yield
    finally:
        if older.exists():
            if folder.exists():
                shutil.rmtree(older)
            else:
                older.rename(folder)
