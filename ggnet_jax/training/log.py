"""What a person sees of a run: progress bar, TensorBoard scalars, one JSON object a line."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from ggnet_jax import io
from ggnet_jax.run_dir.folder import LOG, TENSORBOARD

_BAR = "step {n_fmt}/{total_fmt} |{bar:10}| {remaining} left{postfix}"
_SHORT_NAMES = {
    "object_heatmap": "heat",
    "box_size": "size",
    "center_offset": "center",
    "human_offset": "human",
    "object_offset": "object",
    "images_per_second": "images/s",
}
_NOT_SHOWN = ("learning_rate", "gradient_norm", "loss")


class _Logs(NamedTuple):
    """What is written to; `Any` for TensorFlow's and tqdm's types."""

    entries: TextIO
    scalars: Any
    bar: Any


class RunLog:
    """Writes the three logs of a workdir; a context manager. Only the first process writes."""

    def __init__(
        self, workdir: str | Path, *, start_step: int, total_steps: int, write: bool = True
    ):
        """Open the logs to go on after `start_step`.

        Entries of log.jsonl past that step are dropped: an earlier process wrote them after its
        last checkpoint, and this one will come to these steps again.

        Args:
            workdir: the run's folder.
            start_step: updates already done.
            total_steps: of the whole run.
            write: False in all processes but the first.
        """
        self._logs = _open(Path(workdir), start_step, total_steps) if write else None
        self._compiling = True

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self) -> None:
        """Move the progress bar by one step."""
        if self._logs is None:
            return
        if self._compiling:  # the first step took long, and tells nothing of the others
            self._logs.bar.unpause()
            self._compiling = False
        self._logs.bar.update()

    def say(self, line: str) -> None:
        """Print a line above the progress bar."""
        if self._logs is not None:
            self._logs.bar.write(line)

    def write(self, step: int, metrics: Mapping[str, float], *, prefix: str = "") -> None:
        """Write the metrics of a step to all three.

        Args:
            step: number of updates done.
            metrics: plain numbers.
            prefix: of the names in TensorBoard and of the keys in log.jsonl, such as "eval/".
        """
        if self._logs is None:
            return
        import tensorflow as tf

        entry: dict[str, Any] = {"step": step}
        # Seven digits are all that float32 has.
        entry.update({prefix + name: float(f"{v:.7g}") for name, v in metrics.items()})
        self._logs.entries.write(json.dumps(entry) + "\n")
        self._logs.entries.flush()
        with self._logs.scalars.as_default():
            for name, value in metrics.items():
                tf.summary.scalar(prefix + name, value, step=step)
        if not prefix:
            self._logs.bar.set_postfix_str(_short(metrics), refresh=False)

    def flush(self) -> None:
        """Hand TensorBoard's events to the operating system."""
        if self._logs is not None:
            self._logs.scalars.flush()

    def close(self) -> None:
        """Close the files and leave the bar on its last state."""
        if self._logs is not None:
            self._logs.bar.close()
            self._logs.entries.close()
            self._logs.scalars.close()
            self._logs = None


def _open(workdir: Path, start_step: int, total_steps: int) -> _Logs:
    # TensorFlow is slow to import and needed for nothing else here.
    import tensorflow as tf

    truncate_log(workdir / LOG, start_step)
    bar = tqdm(
        initial=start_step,
        total=total_steps,
        bar_format=_BAR,
        dynamic_ncols=True,
        mininterval=0.5,
        smoothing=0.05,
    )
    scalars = tf.summary.create_file_writer(str(workdir / TENSORBOARD))
    return _Logs((workdir / LOG).open("a"), scalars, bar)


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
