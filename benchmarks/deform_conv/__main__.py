"""Seconds and memory of deformable convolution: ours, torchvision's, deformops', plain gathers.

    python -m benchmarks.deform_conv [--cases=ggnet,dla_64,demo] [--dtype=float32,bfloat16]
        [--peers=ours,torchvision] [--repeats=5] [--output=deform_conv.json]

Whatever is installed is measured in turn, forward and forward with backward, after its output and
gradients have been compared with ours. JAX alone is needed; on a GPU both JAX and PyTorch use it.
The last columns compare with the limit: arithmetic at the rate of a large matrix product and every
array moved once at the rate of a large copy, both measured in the same run.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from benchmarks.arguments import DTYPES, names, new_file, number
from benchmarks.deform_conv.cases import CASES, Case, made_arrays
from benchmarks.deform_conv.peers import PEERS, Peer, installed_peers


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a peer's results differ from ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = ["ggnet", "dla_64", "dla_128", "dla_256", "dla_512", "demo"]
    parser.add_argument("--cases", type=names(CASES), default=usual)
    parser.add_argument("--dtype", type=names(DTYPES), default=["float32"])
    parser.add_argument("--peers", type=names(PEERS), help="by default all that are installed")
    parser.add_argument("--repeats", type=number, default=5)
    parser.add_argument("--output", type=new_file, help="JSON file")
    arguments = parser.parse_args(argv)
    # Read when JAX first looks for devices. PyTorch wants memory too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    peers = installed_peers()
    chosen = arguments.peers or list(peers)
    if missing := [name for name in chosen if name not in peers]:
        print(f"left out, not installed or not for this device: {', '.join(missing)}")
    peers = {name: peers[name] for name in dict.fromkeys(("ours", *chosen)) if name in peers}
    machine = timing.environment(jax.devices()[0].device_kind)
    print(timing.describe(machine))
    rows, wrong = [], 0
    for dtype in arguments.dtype:
        rates = device_rates(dtype)
        print(f"\n{dtype}: {rates['flops'] / 1e9:.0f} GFLOP/s, {rates['bytes'] / 1e9:.1f} GB/s\n")
        for name in arguments.cases:
            for backward in (False, True):
                measured = measure(name, CASES[name], peers, dtype, backward, arguments.repeats)
                for row in measured:
                    row["limit"] = limit(CASES[name], dtype, backward, rates)
                wrong += sum(not row["agrees"] for row in measured)
                print(report(measured), flush=True)
                rows += measured
                timing.write(arguments.output, machine, rows)
    return int(wrong > 0)


def measure(
    name: str,
    case: Case,
    peers: Mapping[str, Peer],
    dtype: str,
    backward: bool,
    repeats: int,
) -> list[dict[str, Any]]:
    """A row for each peer, the first is ours."""
    arrays = made_arrays(case)
    prepared = {peer: prepare(arrays, dtype, backward) for peer, prepare in peers.items()}
    found = {peer: one.call() for peer, one in prepared.items()}
    ours = [np.asarray(a, np.float32) for a in found["ours"]]
    bound = _bound(dtype)
    differences = {peer: _difference(ours, values) for peer, values in found.items()}
    del found
    seconds = timing.time_in_turn(
        {peer: one.call for peer, one in prepared.items()}, repeats, warm_ups=0
    )
    common = {"case": name, "shape": str(case), "dtype": dtype, "backward": backward}
    return [
        common
        | {
            "peer": peer,
            "seconds": seconds[peer]._asdict(),
            "times": seconds[peer].median / seconds["ours"].median,
            "temporary": one.temporary,
            "difference": differences[peer],
            "agrees": differences[peer] < bound,
        }
        for peer, one in prepared.items()
    ]


def _bound(dtype: str) -> float:
    """The largest difference that rounding may make; GPUs round what they multiply to TF32."""
    if dtype != "float32":
        return 5e-2
    return 1e-4 if jax.default_backend() == "cpu" else 5e-3


def _difference(ours: Sequence[np.ndarray], others: Sequence[Any]) -> float:
    """Of output and gradients the largest difference to ours, relative to the largest entry."""
    differences = []
    for one, other in zip(ours, others, strict=True):
        other = np.asarray(other.float().cpu() if hasattr(other, "cpu") else other, np.float32)
        differences.append(np.abs(one - other).max() / np.abs(one).max())
    return float(max(differences))


def device_rates(dtype: str) -> dict[str, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy, on JAX's default device."""
    on_cpu = jax.default_backend() == "cpu"
    side = 2048 if on_cpu else 8192
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    big = jnp.ones((2**26 if on_cpu else 2**29,), dtype)
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    copy = jax.jit(jnp.negative).lower(big).compile()
    calls: dict[str, Callable[[], Any]] = {
        "product": partial(_wait, product, a, a),
        "copy": partial(_wait, copy, big),
    }
    seconds = timing.time_in_turn(calls, repeats=5)
    return {
        "flops": 2 * side**3 / seconds["product"].lowest,
        "bytes": 2 * big.nbytes / seconds["copy"].lowest,
    }


def _wait(function: Callable[..., Any], *arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


def limit(case: Case, dtype: str, backward: bool, rates: Mapping[str, float]) -> dict[str, float]:
    """Seconds that arithmetic and memory traffic need at the least."""
    return {
        "arithmetic": case.flops(backward) / rates["flops"],
        "traffic": case.bytes(backward, jnp.dtype(dtype).itemsize) / rates["bytes"],
    }


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of one case."""
    head = rows[0]
    direction = "forward and backward" if head["backward"] else "forward"
    least = max(head["limit"].values())

    def line(row: Mapping[str, Any]) -> dict[str, str]:
        memory = row["temporary"]
        return {
            "operator": row["peer"],
            "seconds": str(timing.Seconds(**row["seconds"])),
            "times ours": f"{row['times']:.2f}",
            "temporary, MB": "not known" if memory is None else f"{memory / 1e6:.0f}",
            "difference": f"{row['difference']:.0e}",
            "share of the limit": f"{least / row['seconds']['median']:.0%}",
        }

    title = (
        f"{head['case']}, {head['shape']}, {head['dtype']}, {direction}; the limit is "
        f"{head['limit']['arithmetic']:.2g} s of arithmetic, {head['limit']['traffic']:.2g} s of "
        "traffic\n"
    )
    return f"{title}\n{timing.table(line(row) for row in rows)}\n"


if __name__ == "__main__":
    sys.exit(main())
