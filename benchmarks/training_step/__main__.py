"""Seconds and images/s of a training step: ours, PyTorch eager and torch.compile, in turn.

    python -m benchmarks.training_step [--size=512] [--batch_size=1,2] [--dtype=bfloat16]
        [--networks=ggnet,baseline] [--frameworks=ours,eager,compile] [--output=step.json]

Hourglass-104 with HICO-DET's classes, random weights and made batches, the same for all; whole
steps, from pictures and boxes to updated weights. Works on a CPU and on one GPU, whichever JAX and
PyTorch find; limit cores with `taskset`. PyTorch is an optional install, and so is torchvision.
Batch sizes that do not fit are reported, so that the largest can be found; with --alone only one
framework at a time holds memory. PyTorch's batch norm refuses one picture of 128 x 128, which the
network brings down to a single cell.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from benchmarks import timing
from benchmarks.arguments import DTYPES, names, new_file, number, numbers
from benchmarks.training_step.case import NETWORKS, Case
from benchmarks.training_step.workers import FRAMEWORKS, Worker, WorkerError


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if ours could not be measured somewhere."""
    arguments = _parse(argv)
    machine, rows = None, []
    cases = product(arguments.networks, arguments.dtype, arguments.batch_size)
    for network, dtype, batch_size in cases:
        case = Case(network, dtype, arguments.size, batch_size, arguments.tiny)
        measured = measure(case, arguments)
        devices = [row["device"] for row in measured if "device" in row]
        if machine is None and devices:
            machine = timing.environment(" / ".join(dict.fromkeys(devices)))
            print(timing.describe(machine) + "\n", flush=True)
        print(_report(measured), flush=True)
        rows += measured
        timing.write(arguments.output, machine or {}, rows)
    return int(any(row["framework"] == "ours" and "error" in row for row in rows))


def measure(case: Case, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each framework, all in turn or, with `alone`, one after the other."""
    names = arguments.frameworks
    rows = {}
    for group in [[name] for name in names] if arguments.alone else [names]:
        rows |= _measure_together(case, group, arguments.repeats, arguments.steps)
    for row in rows.values():
        if "seconds" in row and "seconds" in rows.get("eager", {}):
            row["times_eager"] = rows["eager"]["seconds"]["median"] / row["seconds"]["median"]
        if "seconds" in row and "flops" in rows.get("ours", {}):
            row["flops_per_second"] = rows["ours"]["flops"] / row["seconds"]["median"]
    return [rows[name] for name in names]


def _measure_together(
    case: Case, names: Sequence[str], repeats: int, steps: int
) -> dict[str, dict[str, Any]]:
    """Rows by framework; one that fails leaves an 'error'."""
    rows = {name: {"framework": name, **case._asdict()} for name in names}
    workers: dict[str, Worker] = {}
    try:
        for name in names:
            print(f"{name}: first step of {case}", file=sys.stderr, flush=True)
            try:
                workers[name] = Worker(name, case)
                rows[name] |= workers[name].facts
            except WorkerError as error:
                rows[name]["error"] = error.reason
        for name, seconds in _time(workers, rows, repeats, steps).items():
            framework, call = name
            key = "seconds" if call == "step" else f"{call}_seconds"
            rows[framework][key] = seconds
            if call == "step":
                rows[framework]["images_per_second"] = case.batch_size / seconds["median"]
    finally:
        for name, worker in workers.items():
            rows[name] |= worker.stop()
    return rows


def _time(
    workers: dict[str, Worker], rows: Mapping[str, dict], repeats: int, steps: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """Seconds a step by (framework, call); who fails is left out and the others start again."""
    failed: set[str] = set()
    while True:
        calls = {
            (name, call): worker.call(call, steps)
            for name, worker in workers.items()
            for call in (("step", "targets", "matmul") if name == "ours" else ("step",))
            if name not in failed
        }
        try:
            timed = timing.time_in_turn(calls, repeats)
        except WorkerError as error:
            rows[error.framework]["error"] = error.reason
            failed.add(error.framework)
            continue
        return {
            name: {
                **{key: getattr(s, key) / steps for key in ("median", "lowest", "highest")},
                "calls": s.calls,
            }
            for name, s in timed.items()
        }


def _report(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of one case, and what only ours can tell."""
    first = rows[0]
    lines = [
        f"{first['network']}, {first['dtype']}, {first['size']} x {first['size']}, "
        f"batch {first['batch_size']}\n",
        timing.table(map(_cells, rows)),
        "",
    ]
    ours = next((row for row in rows if "targets_seconds" in row), None)
    if ours is not None:
        step, drawing = ours["seconds"]["median"], ours["targets_seconds"]["median"]
        rate, best = ours["flops"] / step, ours["matmul_flops"] / ours["matmul_seconds"]["median"]
        lines.append(
            f"{ours['parameters'] / 1e6:.1f} million parameters. Target drawing takes "
            f"{1e3 * drawing:.3g} ms, {drawing / step:.2%} of the step. The network's "
            f"{ours['flops'] / 1e9:.4g} GFLOP a step are {rate / 1e9:.4g} GFLOP/s, "
            f"{rate / best:.0%} of what {ours['matmul_side']} x {ours['matmul_side']} matrix "
            f"products in {ours['matmul_dtype']} reach.\n"
        )
    for key in ("first_loss", "last_loss"):
        losses = [row[key] for row in rows if key in row]
        if losses and not max(losses) - min(losses) <= 0.01 * abs(min(losses)):
            lines.append(f"{key} differs by more than 1%: not the same computation.\n")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """One line of the table for people."""
    name = row["framework"] + (f" ({row['operator']})" if row.get("operator") else "")
    cells = dict.fromkeys(
        ("s a step", "images/s", "x eager", "GiB host", "GiB device", "first s", "losses"), ""
    )
    if "seconds" in row:
        cells["s a step"] = str(timing.Seconds(**row["seconds"]))
        cells["images/s"] = f"{row['images_per_second']:.3g}"
    columns = {
        "times_eager": ("x eager", ".2f"),
        "host_gib": ("GiB host", ".2f"),
        "device_gib": ("GiB device", ".2f"),
        "first_seconds": ("first s", ".1f"),
    }
    for key, (column, style) in columns.items():
        if row.get(key) is not None:
            cells[column] = format(row[key], style)
    if "last_loss" in row:
        cells["losses"] = f"{row['first_loss']:.6g} to {row['last_loss']:.6g}"
    if "error" in row:
        cells["s a step"] = row["error"]
    return {"framework": name, **cells}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.training_step", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--size", type=number, default=512, help="side of the square input")
    parser.add_argument("--batch_size", type=numbers, default=[1])
    parser.add_argument("--dtype", type=names(DTYPES), default=["float32"])
    parser.add_argument("--networks", type=names(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--frameworks", type=names(FRAMEWORKS), default=list(FRAMEWORKS))
    parser.add_argument("--repeats", type=number, default=5, help="turns of each framework")
    parser.add_argument("--steps", type=number, default=1, help="steps a turn; 10 on a GPU")
    parser.add_argument("--alone", action="store_true", help="one framework after the other")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, to see that it works")
    parser.add_argument("--output", type=new_file, help="JSON file")
    return parser.parse_args(argv)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
