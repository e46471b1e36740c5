"""What the speed benchmarks share: calls timed in turn, the machine described, table and JSON."""

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Seconds of rest before a call: by then threads of the one before have gone to sleep.
_PAUSE = 0.05
PACKAGES = ("jax", "jaxlib", "flax", "torch", "torchvision", "deformops")


class Seconds(NamedTuple):
    """Wall seconds of several calls of one thing."""

    median: float
    lowest: float
    highest: float
    calls: int

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.lowest:.3g} to {self.highest:.3g})"


def seconds(samples: Sequence[float]) -> Seconds:
    """Median and spread of wall seconds."""
    return Seconds(statistics.median(samples), min(samples), max(samples), len(samples))


def time_in_turn(
    calls: Mapping[str, Callable[[], Any]], repeats: int, warm_ups: int = 1
) -> dict[str, Seconds]:
    """Time several things in one run: one call of each, then again, so that all see one machine.

    Args:
      calls: by name; each call must not return before its work is done.
      repeats: timed calls of each.
      warm_ups: calls of each before, not timed (compilation, first touch of memory).

    Returns:
      Seconds by name.
    """
    for call in calls.values():
        for _ in range(warm_ups):
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            time.sleep(_PAUSE)
            start = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - start)
    return {name: seconds(values) for name, values in samples.items()}


def environment(device: str) -> dict[str, Any]:
    """The machine and the versions of what is installed.

    Args:
      device: what computed, such as `jax.devices()[0].device_kind`.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": device,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
    }


def describe(machine: Mapping[str, Any]) -> str:
    """One line of `environment` for people."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['device']}; {machine['processor']}, {machine['cores']} cores; "
        f"Python {machine['python']}, {versions}"
    )


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table; the first row's keys are the columns."""
    rows = list(rows)
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row.get(c, "") for c in columns] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(path: str | Path | None, machine: Mapping[str, Any], rows: Iterable[Any]) -> None:
    """Write the machine and all rows as JSON; nothing where the path is None."""
    if path is not None:
        content = {"environment": dict(machine), "rows": list(rows)}
        Path(path).write_text(json.dumps(content, indent=1, default=str) + "\n")


def _processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
