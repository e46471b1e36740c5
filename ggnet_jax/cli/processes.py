"""Several processes that work together: how one joins, waits for the others, and leaves them."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from ggnet_jax.errors import UserError

_HEARTBEAT = 30  # seconds without one, and a process counts as dead
_FAREWELL = 15.0  # seconds that a process with an error waits for the others to end as well
_LOST = (
    "error: aborted, most likely because another process of this run ended (see its output); the "
    "same command for all of them goes on from the last checkpoint\n"
)
_SAID_OF_A_LOSS = ("Gloo", "NCCL", "UNAVAILABLE", "Socket closed", "heartbeat")  # by collectives
_keep: list[Any] = []  # what C calls must not be collected


def join(processes: str) -> None:
    """Become one of several processes that train together; before anything else uses JAX.

    Args:
        processes: "host:port,count,id" with the address of the first process, the number of
            processes and which of them this one is (0 is the first); or "auto" where JAX finds
            all three by itself (TPU pods, Slurm).

    Raises:
        UserError: another text, or the others can't be reached.
    """
    arguments: tuple[Any, ...] = ()
    if processes != "auto":
        try:
            address, count, number = processes.split(",")
            arguments = (address, int(count), int(number))
        except ValueError:
            raise UserError(
                f"--distributed={processes}; give HOST:PORT,COUNT,ID or 'auto'"
            ) from None
    try:
        jax.distributed.initialize(*arguments, heartbeat_timeout_seconds=_HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"cannot join the other processes: {error}") from error
    _end_an_abort_with(_LOST)


@contextlib.contextmanager
def ends_with_the_others() -> Iterator[None]:
    """A context in which an error of one of several processes ends all of them.

    Each says one line. With one process, errors pass.
    """
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized() or jax.process_count() == 1:
            raise
        sys.stdout.flush()
        if isinstance(error, UserError | OSError):
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            _leave(2)
        if isinstance(error, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            _leave(130)
        if any(word in str(error) for word in _SAID_OF_A_LOSS):
            sys.stderr.write(_LOST)
        else:
            traceback.print_exc()
        _leave(1)


def _leave(status: int) -> NoReturn:
    """End this process with an error, of which it has said what there is to say.

    If the others do not end as well, they wait for this one and would never know: then it goes
    without them, and its silence ends them.
    """
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C++ has no more to say
    _end_an_abort_with("", status)
    farewell = threading.Thread(target=_shut_down, daemon=True)
    farewell.start()
    farewell.join(_FAREWELL)
    os._exit(status)


def _shut_down() -> None:
    with contextlib.suppress(Exception):  # of processes that are gone
        jax.distributed.shutdown()


def _end_an_abort_with(line: str, status: int = 1) -> None:
    """Let an abort of this process say a line and exit with a status.

    JAX's coordination service aborts a process from a thread of its own when another one is gone,
    with a C++ stack trace; no Python code is asked before. (Its callback for the purpose,
    `missed_heartbeat_callback`, cannot be called from jaxlib 0.10 to 0.12.)
    """
    data = line.encode()

    def end(_: int) -> None:
        os.write(2, data)
        os._exit(status)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    _keep.append(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


def wait_for_all(what: str) -> None:
    """Let all processes come to the same place, which `what` names."""
    if jax.process_count() > 1:
        sys.stdout.flush()
        multihost_utils.sync_global_devices(what)
