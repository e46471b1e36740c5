"""What a person sees of a run: progress, TensorBoard, one JSON object a line, and W&B if asked.

On a terminal the progress is a bar; in a file it is a line every half a minute.
"""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

import numpy as np
from tqdm import tqdm

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation.precision_recall import Curve
from ggnet_jax.run_dir.folder import LOG, TENSORBOARD
from ggnet_jax.training import pr_curves
from ggnet_jax.training.wandb_log import WandbLog

_BAR = "step {n_fmt}/{total_fmt} |{bar:10}| {remaining} left{postfix}"
_LINE_EVERY = 30.0  # seconds
_SHORT_NAMES = {
    "object_heatmap": "heat",
    "box_size": "size",
    "center_offset": "center",
    "human_offset": "human",
    "object_offset": "object",
    "images_per_second": "images/s",
}
_NOT_SHOWN = ("learning_rate", "gradient_norm", "loss")


class _Progress(Protocol):
    """What this file uses of a tqdm bar."""

    def unpause(self) -> Any: ...
    def update(self) -> Any: ...
    def write(self, s: str) -> Any: ...
    def set_postfix_str(self, s: str, refresh: bool = True) -> Any: ...
    def close(self) -> Any: ...


class _Logs(NamedTuple):
    """What is written to; `Any` for TensorFlow's type."""

    entries: TextIO
    scalars: Any
    bar: _Progress
    wandb: WandbLog | None


class RunLog:
    """Writes the logs of a workdir; a context manager. Only the first process writes."""

    def __init__(
        self,
        workdir: str | Path,
        *,
        start_step: int,
        total_steps: int,
        write: bool = True,
        wandb: Any | None = None,
    ):
        """Open the logs to go on after `start_step`.

        Entries of log.jsonl past that step are dropped: an earlier process wrote them after its
        last checkpoint, and this one will come to these steps again.

        Args:
            workdir: the run's folder.
            start_step: updates already done.
            total_steps: of the whole run.
            write: False in all processes but the first.
            wandb: the configuration, to log to Weights & Biases too; None not to.

        Raises:
            UserError: a log cannot be written, or W&B cannot be used.
        """
        self._workdir = Path(workdir)
        self._logs = _open(self._workdir, start_step, total_steps, wandb) if write else None
        self._compiling = True

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(UserError):  # something else is already on its way
                self.close()

    def advance(self) -> None:
        """Move the progress bar by one step."""
        if self._logs is None:
            return
        if self._compiling:  # the first step took long, and tells nothing of the others
            self._logs.bar.unpause()
            self._logs.bar.set_postfix_str("", refresh=False)
            self._compiling = False
        self._logs.bar.update()

    def say(self, line: str) -> None:
        """Print a line above the progress bar."""
        if self._logs is not None:
            self._logs.bar.write(line)

    def write(self, step: int, metrics: Mapping[str, float], *, prefix: str = "") -> None:
        """Write the metrics of a step to log.jsonl, TensorBoard and Weights & Biases.

        Args:
            step: number of updates done.
            metrics: plain numbers.
            prefix: of the names in TensorBoard and of the keys in log.jsonl, such as "eval/".

        Raises:
            UserError: a log cannot be written.
        """
        if self._logs is None:
            return
        import tensorflow as tf

        entry: dict[str, Any] = {"step": step}
        # Seven digits are all that float32 has.
        entry.update({prefix + name: float(f"{v:.7g}") for name, v in metrics.items()})
        with _named(self._workdir):
            self._logs.entries.write(json.dumps(entry) + "\n")
            self._logs.entries.flush()
            with self._logs.scalars.as_default():
                for name, value in metrics.items():
                    tf.summary.scalar(prefix + name, value, step=step)
        if self._logs.wandb is not None:
            self._logs.wandb.write(step, {prefix + name: v for name, v in metrics.items()})
        if not prefix:
            self._logs.bar.set_postfix_str(_short(metrics), refresh=False)

    def show(
        self,
        step: int,
        images: Mapping[str, np.ndarray],
        curves: Mapping[str, Curve],
        *,
        prefix: str = "",
    ) -> None:
        """Hand drawings to TensorBoard and W&B, and curves to TensorBoard.

        Args:
            step: number of updates done.
            images: RGB uint8 [h, w, 3] by name.
            curves: precision over recall by name.
            prefix: of the names, as for `write`.

        Raises:
            UserError: a log cannot be written.
        """
        if self._logs is None or not (images or curves):
            return
        import tensorflow as tf

        with _named(self._workdir), self._logs.scalars.as_default():
            for name, image in images.items():
                tf.summary.image(prefix + name, image[None], step=step)
            for name, curve in curves.items():
                pr_curves.write(f"{prefix}precision_recall/{name}", curve, step)
            self._logs.scalars.flush()
        if self._logs.wandb is not None:
            self._logs.wandb.show(step, {prefix + name: image for name, image in images.items()})

    def flush(self) -> None:
        """Hand TensorBoard's events to the operating system."""
        if self._logs is not None:
            with _named(self._workdir):
                self._logs.scalars.flush()

    def close(self) -> None:
        """Close the files and leave the bar on its last state."""
        if self._logs is None:
            return
        logs, self._logs = self._logs, None
        logs.bar.close()
        if logs.wandb is not None:
            logs.wandb.close()
        with _named(self._workdir), logs.entries:
            logs.scalars.close()


def _open(workdir: Path, start_step: int, total_steps: int, wandb: Any | None) -> _Logs:
    # TensorFlow is slow to import and needed for nothing else here.
    import tensorflow as tf

    path = workdir / LOG
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a file; move it away, the log of the run is written there")
    truncate_log(path, start_step)
    with _named(workdir):
        scalars = tf.summary.create_file_writer(os.fsencode(workdir / TENSORBOARD))
        entries = path.open("a")
    try:
        tracked = None if wandb is None else WandbLog(workdir, wandb)
    except BaseException:
        entries.close()
        raise
    return _Logs(entries, scalars, _progress(start_step, total_steps), tracked)


def _progress(start_step: int, total_steps: int) -> _Progress:
    if not sys.stderr.isatty():
        return _Lines(start_step, total_steps)
    return tqdm(
        initial=start_step,
        total=total_steps,
        bar_format=_BAR,
        dynamic_ncols=True,
        mininterval=0.5,
        smoothing=0.05,
    )


class _Lines:
    """Progress where a bar's carriage returns would make one endless line."""

    def __init__(self, step: int, total: int):
        self._step, self._total, self._text = step, total, ""
        self._since, self._from = time.monotonic(), step
        self._due, self._said = 0.0, step  # the first line comes with the first losses

    def unpause(self) -> None:
        """Count the time that is left from here."""
        self._since, self._from = time.monotonic(), self._step + 1

    def update(self) -> None:
        self._step += 1
        if time.monotonic() >= self._due and self._text:
            self._line()

    def write(self, s: str) -> None:
        print(s, flush=True)

    def set_postfix_str(self, s: str, refresh: bool = True) -> None:
        if refresh:
            print(s, file=sys.stderr, flush=True)
            return
        self._text = s
        if s and time.monotonic() >= self._due:
            self._line()

    def close(self) -> None:
        if self._said != self._step:
            self._line()

    def _line(self) -> None:
        now, done = time.monotonic(), self._step - self._from
        left = "?"
        if done > 0:
            left = tqdm.format_interval((now - self._since) / done * (self._total - self._step))
        print(
            f"step {self._step}/{self._total}, {left} left, {self._text}",
            file=sys.stderr,
            flush=True,
        )
        self._due, self._said = now + _LINE_EVERY, self._step


@contextlib.contextmanager
def _named(workdir: Path) -> Iterator[None]:
    """Turn what the system and TensorFlow raise into a UserError that names the folder."""
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        reason = reason.rpartition("}} ")[2]  # behind TensorFlow's account of its operation
        raise UserError(
            f"cannot write the logs in {workdir}: {reason.splitlines()[0]}; "
            "checkpoints are as they were, and the same command goes on from the last one"
        ) from error


class Stopwatch:
    """Images a second since the last time it was read."""

    def __init__(self) -> None:
        self._since, self._images = time.perf_counter(), 0

    def add(self, images: int) -> None:
        """Count images whose step has ended."""
        self._images += images

    def read(self) -> float:
        """Images a second since the last call; starts again."""
        now = time.perf_counter()
        rate = self._images / max(now - self._since, 1e-9)
        self._since, self._images = now, 0
        return rate


def has_evaluation(path: Path, step: int) -> bool:
    """Whether a log has an evaluation of a step, be it one in which nothing had a value."""
    return path.is_file() and any(
        isinstance(entry, dict)
        and entry.get("step") == step
        and (any(name.startswith("eval/") for name in entry) or len(entry) == 1)
        for entry in io.read_log(path)
    )


def truncate_log(path: Path, last_step: int) -> None:
    """Drop the entries of a JSON-lines log past `last_step`, and a line that was cut off."""
    if path.exists():
        entries = [entry for entry in io.read_log(path) if isinstance(entry, dict)]
        io.write_log(path, (e for e in entries if e.get("step", math.inf) <= last_step))


def _short(metrics: Mapping[str, float]) -> str:
    """Loss, its terms and the speed, as short as they go: the bar has one line."""
    shown = {_SHORT_NAMES.get(k, k): v for k, v in metrics.items() if k not in _NOT_SHOWN}
    parts = [f"loss {metrics['loss']:.3g}"]
    return " ".join(parts + [f"{name} {value:.2g}" for name, value in shown.items()])
