"""Several trainings at once, each in a process and on CPU cores of its own, under one bar."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from benchmarks.ablation import folder as places
from benchmarks.ablation.batches import Batches
from benchmarks.ablation.prepare import Task

OUTPUT = "output.txt"  # what a run's process says
_BAR = "{desc} |{bar:20}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
_MEMORY_GIB = 2.0  # of a run, generously
_MOST = 8  # runs at once, for the sake of a GPU that they share


def default_jobs() -> int:
    """One run a core, as far as there is memory: small networks make poor use of several."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        memory = _MEMORY_GIB
    return max(1, min(places.cores(), int(memory / _MEMORY_GIB), _MOST))


def run(
    root: str | Path,
    tasks: Sequence[Task],
    jobs: int,
    *,
    deadline: float | None = None,
    finished: Callable[[], Any] = lambda: None,
    every: float = 0.5,
) -> int:
    """Train and score.

    SIGINT, SIGTERM and the deadline stop the runs after their next step; they save their state.

    Args:
      root: folder of the ablation.
      tasks: what to train, in this order.
      jobs: how many at once; 0 for one by one in this process.
      deadline: by `time.monotonic()`.
      finished: called after every run.
      every: seconds between two looks at the runs.

    Returns:
      How many of the tasks are not done.
    """
    if not tasks:
        return 0
    steps = {seed: len(Batches(root).order(seed)) for seed in {task.seed for task in tasks}}
    total = sum(steps[task.seed] for task in tasks)
    bar = tqdm(total=total, bar_format=_BAR, dynamic_ncols=True, smoothing=0.05)
    with bar, _Stop(deadline) as stop:
        pool = _Pool(root, jobs) if jobs else _Here(root, stop)
        waiting, under_way, done, failed = list(tasks), [], [], []
        while waiting or under_way:
            while waiting and len(under_way) < max(jobs, 1) and not stop():
                task = waiting.pop(0)
                pool.start(task)
                under_way.append(task)
            if stop():
                waiting = []
                pool.stop()
            for task in list(under_way):
                status = pool.status(task)
                if status is None:
                    continue
                under_way.remove(task)
                if places.read_result(root, *task) is not None:
                    done.append(task)
                    finished()
                elif status:
                    failed.append(task)
                    bar.write(f"{task.row}, seed {task.seed}, failed: {pool.reason(task)}")
            bar.set_description_str(f"{len(done)} of {len(tasks)} runs", refresh=False)
            names = ", ".join(f"{task.row}/{task.seed}" for task in under_way)
            bar.set_postfix_str(names, refresh=False)
            bar.n = sum(
                steps[task.seed]
                if task in done
                else places.last_entry_of(places.run_folder(root, *task)).get("step", 0)
                for task in tasks
            )
            bar.refresh()
            if under_way:
                time.sleep(every if jobs else 0)
    return len(tasks) - len(done)


class _Pool:
    """Runs as processes."""

    def __init__(self, root: str | Path, jobs: int):
        self._root = Path(root).absolute()
        self._processes: dict[Task, subprocess.Popen] = {}
        self._stopping = False
        every = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        share = max(1, len(every) // jobs)
        self._free = [every[i * share : (i + 1) * share] or every for i in range(jobs)]
        self._taken: dict[Task, list[int]] = {}

    def start(self, task: Task) -> None:
        """Start a run on a share of the cores, which its process inherits from this one."""
        folder = places.run_folder(self._root, *task)
        folder.parent.mkdir(parents=True, exist_ok=True)
        cores = self._taken[task] = self._free.pop(0)
        command = [sys.executable, "-m", "benchmarks.ablation.run", str(self._root)]
        command += [task.row, str(task.seed)]
        environment = {
            "JAX_COMPILATION_CACHE_DIR": str(self._root / "compiled"),  # seeds share it
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # runs share a GPU
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **os.environ,
        }
        mine = os.sched_getaffinity(0) if cores else None
        with self._output(task).open("w") as output:
            try:
                if cores:
                    os.sched_setaffinity(0, cores)
                self._processes[task] = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C is this process's to pass on
                )
            finally:
                if cores:
                    os.sched_setaffinity(0, mine)

    def status(self, task: Task) -> int | None:
        """None while it runs, then its exit status."""
        status = self._processes[task].poll()
        if status is not None:
            self._free.append(self._taken.pop(task))
        return status

    def stop(self) -> None:
        """Ask every run to stop, once."""
        if not self._stopping:
            for process in self._processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
        self._stopping = True

    def reason(self, task: Task) -> str:
        """The last line that a run said."""
        lines = self._output(task).read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (all of it: {self._output(task)})"

    def _output(self, task: Task) -> Path:
        folder = places.run_folder(self._root, *task)
        return folder.with_name(f"{folder.name}_{OUTPUT}")


class _Here:
    """Runs one by one in this process."""

    def __init__(self, root: str | Path, stop: Callable[[], bool]):
        self._root, self._stop = root, stop

    def start(self, task: Task) -> None:
        from benchmarks.ablation.run import train_and_evaluate  # and with it JAX

        train_and_evaluate(self._root, *task, stop=self._stop)

    def status(self, task: Task) -> int:
        return 0

    def stop(self) -> None:
        pass


class _Stop:
    """Whether a signal has come or the time is up; a context manager."""

    def __init__(self, deadline: float | None):
        self._deadline = deadline
        self._asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "_Stop":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self._asked or (self._deadline is not None and time.monotonic() > self._deadline)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
