"""Every framework in a process of its own, which waits for its turn.

So neither has the other's threads beside it, memory is counted for each, and one that runs out of
memory ends nothing but itself.
"""

import importlib
import multiprocessing
import os
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # both frameworks have to fit

from benchmarks.training_step.case import Case
from benchmarks.training_step.work import Work

FRAMEWORKS = {
    "ours": ("ours", {}),
    "eager": ("mirror", {"compiled": False}),
    "compile": ("mirror", {"compiled": True}),
}


class WorkerError(RuntimeError):
    """A framework could not do it; says why in one line."""

    def __init__(self, framework: str, reason: str) -> None:
        super().__init__(f"{framework}: {reason}")
        self.framework, self.reason = framework, reason


class Worker:
    """A process with one framework's training step; has run it once when it is made."""

    def __init__(self, framework: str, case: Case) -> None:
        """Start and wait.

        Raises:
          WorkerError: not installed, not enough memory, or whatever else went wrong.
        """
        self.framework = framework
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(framework, case, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.facts: dict[str, Any] = self._answer()

    def call(self, name: str, times: int) -> Callable[[], None]:
        """A function that has the process run one of its calls and waits for it.

        Raises:
          WorkerError: from the function.
        """

        def run() -> None:
            self._connection.send((name, times))
            self._answer()

        return run

    def stop(self) -> dict[str, Any]:
        """End the process; `Work.closing` and the GiB of memory that it held at most."""
        try:
            self._connection.send(None)
            facts = self._answer()
        except (WorkerError, OSError):
            facts = {}
        self._process.join()
        return facts

    def _answer(self) -> Any:
        try:
            error, answer = self._connection.recv()
        except EOFError:
            self._process.join()
            error = f"its process ended with code {self._process.exitcode}: out of memory?"
        if error:
            raise WorkerError(self.framework, error)
        return answer


def _serve(framework: str, case: Case, connection: Connection) -> None:
    """In the new process: build, then do as told until told to end."""
    try:
        work = _build(framework, case)
        connection.send((None, work.facts))
        while (order := connection.recv()) is not None:
            name, times = order
            work.calls[name](times)
            connection.send((None, None))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        connection.send((None, {"host_gib": peak, **work.closing()}))
    except ModuleNotFoundError as error:
        connection.send((f"{error.name} is not installed", None))
    except Exception as error:  # any framework's any error: a line in the table
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        connection.send((f"{type(error).__name__}: {lines[0] if lines else ''}"[:300], None))


def _build(framework: str, case: Case) -> Work:
    module, options = FRAMEWORKS[framework]
    return importlib.import_module(f"benchmarks.training_step.{module}").build(case, **options)
