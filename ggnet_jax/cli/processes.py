"""Several processes that work together: how one joins, and how they wait for each other."""

import sys
from typing import Any

import jax
from jax.experimental import multihost_utils

from ggnet_jax.errors import UserError


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
        jax.distributed.initialize(*arguments)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"cannot join the other processes: {error}") from error


def wait_for_all(what: str) -> None:
    """Let all processes come to the same place, which `what` names."""
    if jax.process_count() > 1:
        sys.stdout.flush()
        multihost_utils.sync_global_devices(what)
