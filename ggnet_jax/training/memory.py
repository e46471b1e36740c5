"""A memory that is full, said in one line."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from ggnet_jax.errors import UserError

_FULL = re.compile("RESOURCE_EXHAUSTED|ResourceExhausted|[Oo]ut of memory|OOM when")


def is_full(error: Exception) -> bool:
    """Whether an error says that a memory is full."""
    return isinstance(error, MemoryError) or bool(_FULL.search(str(error) or type(error).__name__))


@contextlib.contextmanager
def memory_in_one_line(config: Any) -> Iterator[None]:
    """Turn a memory of the host or a device that is full into a UserError: what needs less."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = str(error).strip() or type(error).__name__
        if not is_full(error):
            raise
        raise UserError(
            f"out of memory ({text.splitlines()[0][:200]}); lower --config.batch_size "
            f"({config.batch_size}) or work through it in parts, --config.accumulate_steps "
            f"({config.accumulate_steps}), set --config.model.remat=True (it is "
            f"{config.model.remat}), or lower --config.data.image_size "
            f"{tuple(config.data.image_size)}"
        ) from error
