"""What the side of one framework hands to the process that it runs in."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Work(NamedTuple):
    """A training step that has run once, so that it is compiled and known to fit.

    Attributes:
      calls: by name, something to run so many times; none returns before its work is done.
      facts: device, loss of the first step, seconds of that step with compilation, ...
      closing: facts of afterwards: loss of the last step, and GiB that the accelerator has held at
        most, None on a CPU.
    """

    calls: dict[str, Callable[[int], None]]
    facts: dict[str, Any]
    closing: Callable[[], dict[str, Any]]
