"""What the benchmarks share: arguments, calls timed in turn, PyTorch set up alike, tables, JSON."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

DTYPES = ("float32", "bfloat16")
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "tensorflow", "torch", "torchvision", "deformops")
# Seconds of rest before a call: by then threads of the one before have gone to sleep.
_PAUSE = 0.05


class Parser(argparse.ArgumentParser):
    """An argument parser that answers what it cannot use in one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage, and end."""
        self.exit(2, f"error: {message}\n")


def parser(doc: str | None, **defaults: Any) -> Parser:
    """A program's parser with the options that the benchmarks share; `--output` is always one.

    Args:
      doc: the program's docstring.
      **defaults: the shared options that this program takes, by name; see `_SHARED`.
    """
    result = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        kind, text = _SHARED[name]
        result.add_argument(f"--{name}", type=kind, default=default, help=text)
    result.add_argument("--output", type=new_file, help="a JSON file to write")
    return result


def names(allowed: Collection[str]) -> Callable[[str], list[str]]:
    """An argument type: names of `allowed`, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return list(dict.fromkeys(chosen))

    return parse


def number(text: str, *, least: int = 1) -> int:
    """An argument type: an integer of at least `least`."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least {least}")
    return value


def numbers(text: str, *, least: int = 1) -> list[int]:
    """An argument type: integers of at least `least`, separated by commas."""
    return [number(one, least=least) for one in text.split(",")]


def new_file(text: str) -> Path:
    """An argument type: a file to write, in a folder that exists."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder, or its folder does not exist")
    return path


_SHARED: dict[str, tuple[Callable[[str], Any], str]] = {
    "batch_size": (numbers, "images at a time; several separated by commas"),
    "dtype": (names(DTYPES), "of the convolutions: float32, bfloat16 or both"),
    "size": (number, "side of the square input in pixels; the network's own by default"),
    "repeats": (number, "timed calls of each, of which the median is taken"),
    "images": (number, "how many images"),
    "seeds": (partial(numbers, least=0), "separated by commas"),
    "jobs": (partial(number, least=0), "runs at a time; 0 starts none and prints what there is"),
}


class Seconds(NamedTuple):
    """Wall seconds of several calls of the same function."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.lowest:.3g} to {self.highest:.3g})"

    def per(self, count: float) -> "Seconds":
        """The same for each of `count` parts of a call."""
        return Seconds(*(value / count for value in self))


def seconds(samples: Sequence[float]) -> Seconds:
    """Median, minimum and maximum."""
    return Seconds(statistics.median(samples), min(samples), max(samples))


def time_in_turn(
    calls: Mapping[str, Callable[[], Any]], repeats: int, warm_ups: int = 1
) -> dict[str, Seconds]:
    """Time several functions in turn, so that a change of the machine's load meets all of them.

    Args:
      calls: by name; each must not return before its work is done.
      repeats: timed calls of each.
      warm_ups: calls of each beforehand (compilation, first touch of memory).

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


def threads() -> int:
    """Threads that this process may run at once, which JAX takes all of."""
    return len(os.sched_getaffinity(0))


def start_jax() -> str:
    """Start JAX so that PyTorch finds memory beside it; the name of the device."""
    from ggnet_jax.cli.cuda_atomics import use_native_atomics

    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_native_atomics(os.environ)  # read, like the line above, when JAX first looks for devices
    import jax

    return jax.devices()[0].device_kind


def torch_device() -> Any:
    """PyTorch's device of the kind that JAX computes on; None if there is none to compare with.

    PyTorch is given as many threads as JAX has and, on GPUs, TF32, which JAX uses too, and cuDNN's
    search for the fastest convolution.
    """
    import jax

    backend = jax.default_backend()
    if not importlib.util.find_spec("torch") or backend not in ("cpu", "gpu"):
        return None
    import torch

    if backend == "gpu" and not torch.cuda.is_available():
        return None
    torch.set_num_threads(threads())
    if backend == "gpu":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return torch.device("cuda" if backend == "gpu" else "cpu")


def machine(device: str) -> dict[str, Any]:
    """What was measured on; printed as the first line of every benchmark.

    Args:
      device: what computed, from `start_jax` or "NumPy" and the like.
    """
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {
        "device": device,
        "processor": _processor(),
        "threads": threads(),
        "python": platform.python_version(),
        "versions": versions,
    }
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(
        f"{device}; {found['processor']}, {found['threads']} threads; "
        f"Python {found['python']}, {listed}\n",
        flush=True,
    )
    return found


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table with a column for each key; None is an empty cell."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([row.get(c) for c in columns] for row in rows)]
    cells = (["" if cell is None else str(cell) for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def write(path: Path | None, machine: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the machine, the command and all rows as JSON; nothing where the path is None."""
    if path is not None:
        command = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
        rows = [
            {k: v._asdict() if isinstance(v, Seconds) else v for k, v in r.items()} for r in rows
        ]
        content = {"command": " ".join(command), "machine": dict(machine), "rows": rows}
        path.write_text(json.dumps(content, indent=1, default=str) + "\n")


def _processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()
