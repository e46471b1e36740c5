"""What the benchmarks share: arguments, peers compared and timed in turn, tables and JSON."""

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

import numpy as np

from ggnet_jax.errors import UserError

DTYPES = ("float32", "bfloat16")
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "tensorflow-cpu", "torch", "torchvision")
# Seconds of rest before a call: by then threads of the one before have gone to sleep.
_PAUSE = 0.05


class Parser(argparse.ArgumentParser):
    """An argument parser that answers what it cannot use in one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage, and end."""
        self.exit(2, f"error: {message}\n")


def parser(doc: str | None, **defaults: Any) -> Parser:
    """A program's parser, with `--output` and those of the shared options that it takes.

    Args:
        doc: the program's docstring.
        **defaults: of the options in `_SHARED`; others choose among names, all of them and those
            that are usual.
    """
    result = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        if name in _SHARED:
            kind, text = _SHARED[name]
        else:
            allowed, default = default
            kind, text = names(allowed), f"of {', '.join(allowed)}"
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

    def ms(self, parts: int = 1) -> str:
        """Milliseconds for each of the equal parts of a call, for people."""
        median, lowest, highest = (figure(1000 * value / parts) for value in self)
        return f"{median} ({lowest} to {highest})"


def seconds(samples: Sequence[float]) -> Seconds:
    """Median, minimum and maximum."""
    return Seconds(statistics.median(samples), min(samples), max(samples))


def figure(value: float) -> str:
    """A number to three digits, without an exponent where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


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


class Peer(NamedTuple):
    """One way to compute something, compiled and with its arrays on the device.

    Attributes:
        call: computes once more, or `in_a_row` times, and waits for the result.
        values: computes once, or tells of the first call, what is compared with the other ways.
        temporary: bytes of working memory; None where it is not known.
        in_a_row: how often a call computes; seconds are reported for one.
    """

    call: Callable[[], Any]
    values: Callable[[], Sequence[Any]]
    temporary: int | None
    in_a_row: int = 1


def measure_peers(
    prepare: Mapping[str, Callable[[], Peer]],
    repeats: int,
    tolerance: float,
    *,
    keep: Sequence[str] = (),
    **shape: Any,
) -> list[dict[str, Any]]:
    """Compare peers with the first of them, then time all in turn.

    Args:
        prepare: functions that make the peers, by name.
        repeats: timed calls of each.
        tolerance: the largest difference that rounding may make, relative to the largest entry.
        keep: names of the first values, numbers that are kept in the rows.
        **shape: what was computed, for the rows; a `batch_size` counts the images of a call.

    Returns:
        A row for each peer; of one that failed, out of memory above all, with an "error".
    """
    peers: dict[str, Peer] = {}
    rows = {name: {**shape, "peer": name} for name in prepare}
    expected: list[np.ndarray] = []
    for name, make in prepare.items():
        try:
            peers[name] = make()
            values = [np.asarray(value, np.float32) for value in peers[name].values()]
        except UserError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            rows[name]["error"] = f"{type(error).__name__}: {lines[0][:100]}"
            peers.pop(name, None)
            if not expected:
                break
            continue
        expected = expected or values
        pairs = zip(expected, values, strict=True)
        difference = float(np.max([_relative_difference(a, b) for a, b in pairs]))  # keeps NaN
        rows[name] |= {"difference": difference, "agrees": difference < tolerance}
        rows[name] |= dict(zip(keep, map(float, values), strict=False))
        rows[name]["temporary"] = peers[name].temporary
    calls = {name: peer.call for name, peer in peers.items()}
    for name, took in time_in_turn(calls, repeats, warm_ups=0).items():
        rows[name]["seconds"] = Seconds(*(value / peers[name].in_a_row for value in took))
    return [row for row in rows.values() if "seconds" in row or "error" in row]


def _relative_difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference, relative to the largest value; 0 of two that are all zeros."""
    largest = float(np.abs(expected - found).max())
    return largest / float(np.abs(expected).max() or 1) if largest else 0.0


def tolerance(dtype: str, exact: float, coarse: float) -> float:
    """`exact` for float32 on a CPU; `coarse` where products are rounded to bfloat16 or TF32."""
    import jax

    return exact if dtype == "float32" and jax.default_backend() == "cpu" else coarse


def report_peers(rows: Sequence[Mapping[str, Any]], **columns: str) -> str:
    """The table of `measure_peers`; further columns by the key of a row and their title."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        line: dict[str, Any] = {"peer": row["peer"]}
        if "error" in row:
            lines.append(line | {"ms (min to max)": row["error"]})
            continue
        median, memory = row["seconds"].median, row["temporary"]
        line["ms (min to max)"] = row["seconds"].ms()
        line[f"time / {rows[0]['peer']}"] = f"{median / rows[0]['seconds'].median:.2f}"
        if "batch_size" in row:
            line["images/s"] = figure(row["batch_size"] / median)
        line["temporary, MB"] = None if memory is None else figure(memory / 1e6)
        line |= {title: figure(row[key]) for key, title in columns.items() if key in row}
        line["difference"] = f"{row['difference']:.0e}" + ("" if row["agrees"] else ", TOO LARGE")
        lines.append(line)
    return table(lines)


def status(rows: Sequence[Mapping[str, Any]]) -> int:
    """Exit status 1 if a peer's results differ from ours, or if ours failed."""
    failed = any("error" in row and row["peer"] == "ours" for row in rows)
    return int(failed or not all(row.get("agrees", True) for row in rows))


def threads() -> int:
    """Threads that this process may run at once; JAX takes all of them."""
    return len(os.sched_getaffinity(0))


def start_jax() -> str:
    """Start JAX so that PyTorch finds memory beside it; the name of the device."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    return jax.devices()[0].device_kind


def temporary_bytes(compiled: Any) -> int | None:
    """Working memory of what JAX has compiled, where XLA tells it."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else analysis.temp_size_in_bytes


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


def calls_in_a_row() -> int:
    """How often an operation or a training step is computed without waiting.

    A GPU computes while the next calls are on their way, as in a network and in training; alone,
    a call of less than a millisecond would be timed as its way there and back.
    """
    import jax

    return 1 if jax.default_backend() == "cpu" else 10


def torch_peer(
    call: Callable[[], Any],
    values: Callable[[], Sequence[Any]],
    device: Any,
    in_a_row: int = 1,
) -> Peer:
    """A PyTorch function that has run before; on a CPU PyTorch does not count its memory."""
    if device.type != "cuda":
        return Peer(call, values, None)
    import torch

    def waiting() -> None:
        for _ in range(in_a_row):
            call()
        torch.cuda.synchronize()

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    waiting()
    return Peer(waiting, values, torch.cuda.max_memory_allocated() - before, in_a_row)


def machine(device: str) -> str:
    """Print and return what is measured on: the device, the processor, threads and versions.

    Args:
        device: what computes, such as `start_jax` tells.
    """
    found = [f"{device}; {_processor()}, {threads()} threads; Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    print(", ".join(found) + "\n", flush=True)
    return ", ".join(found)


def _processor() -> str:
    """The processor's name where Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.machine()


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """A Markdown table with a column for each key; None is an empty cell."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([row.get(c) for c in columns] for row in rows)]
    cells = (["" if cell is None else str(cell) for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def write(path: Path | None, machine: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the command, the machine and all rows as JSON; nothing where the path is None."""
    if path is None:
        return
    command = ["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]
    plain = [
        {key: v._asdict() if isinstance(v, Seconds) else v for key, v in row.items()}
        for row in rows
    ]
    content = {"command": " ".join(command), "machine": machine, "rows": plain}
    path.write_text(json.dumps(content, indent=1) + "\n")
