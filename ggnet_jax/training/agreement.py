"""What the processes of one run tell each other before they train: that they do the same.

Another learning rate in one process would give other weights without a word, another number of
steps a process that waits for ever. With one process nothing here does anything.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.folder import differences_of

T = TypeVar("T")
_SHOWN = 5  # differences


def together(action: Callable[[], T]) -> T:
    """Do something in every process; an error in one of them ends it in all.

    Args:
        action: needs no other process.

    Raises:
        UserError: what another process could not do.
        Exception: the process's own.
    """
    if jax.process_count() == 1:
        return action()
    result, error = None, None
    try:
        result = action()
    except Exception as raised:
        error = raised
    said = _gather("" if error is None else str(error) or type(error).__name__)
    if error is not None:
        raise error
    for process, message in enumerate(said):
        if message:
            raise UserError(f"process {process} could not start: {message}")
    return result  # type: ignore[return-value]  # no error, so there is one


def compare(facts: Mapping[str, Any]) -> None:
    """Raise a UserError in all processes unless they all have the same facts.

    Args:
        facts: of JSON's types, by name; nested mappings are compared field by field. A value that
            is a list `[text, number]` under the name "workdir" is a path and its inode, of which
            one is enough: hosts may reach a folder by different paths.
    """
    if jax.process_count() == 1:
        return
    all_facts = [json.loads(text) for text in _gather(json.dumps(facts))]
    differences = []
    for process, other in enumerate(all_facts[1:], 1):
        for name, first, here in differences_of(all_facts[0], other):
            if name == "workdir" and first[1] is not None and first[1] == here[1]:
                continue
            if name == "workdir":
                first, here = first[0], here[0]
            differences.append(f"{name} is {first} in process 0 and {here} in process {process}")
    if differences:
        more = f", and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise UserError(
            f"the processes of this run differ: {'; '.join(differences[:_SHOWN])}{more}. "
            "Start all with the same command"
        )


def of_first(value: T) -> T:
    """What the first process says, in every process; of JSON's types."""
    if jax.process_count() == 1:
        return value
    return json.loads(_gather(json.dumps(value))[0])


def _gather(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    data = np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([data.size], np.int32)))
    sizes = sizes.reshape(-1)
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [
        row[:size].tobytes().decode("utf-8", "surrogateescape")
        for row, size in zip(rows, sizes, strict=True)
    ]
