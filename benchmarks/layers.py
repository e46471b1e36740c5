"""Where the time of a training step goes, by layer and by operation, from a profile.

    python -m benchmarks.layers [--network=ggnet] [--size=256] [--batch_size=1] [--dtype=float32]

JAX's profiler tells how long each compiled operation ran, the compiled program which line of the
network it came from. Operations of several threads overlap, so shares of the sum are given; what
the compiler adds (copies into another layout, above all) has no layer.
"""

import argparse
import collections
import glob
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from benchmarks import timing
from benchmarks.arguments import DTYPES, number
from benchmarks.training_step.case import NETWORKS, Case
from benchmarks.training_step.ours import prepare

_LOOPS = ("while", "call", "conditional")  # contain what is counted anyway
_LAYERS = (  # first match names the layer
    ("deformable convolution", r"deform_conv2d"),
    ("targets", r"render_targets|targets"),
    ("glance and gaze, other", r"/interactions/"),
    ("APM", r"/matching/"),
    ("object branch", r"/objects/"),
    ("backbone", r"/backbone"),
)


class Operation(NamedTuple):
    """One instruction of a compiled program."""

    kind: str
    source: str  # its path through the network, '' if the compiler added it


def operations(compiled_text: str) -> dict[str, Operation]:
    """Instructions of XLA's text by name."""
    found = {}
    for line in compiled_text.splitlines():
        match = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = \S+ ([\w\-]+)\(", line)
        if match:
            source = re.search(r'op_name="([^"]*)"', line)
            found[match[1]] = Operation(match[2], source[1] if source else "")
    return found


def layer(source: str) -> str:
    """Which part of the step an operation belongs to, and which way."""
    if not source:
        return "added by the compiler"
    for name, pattern in _LAYERS:
        if re.search(pattern, source):
            return f"{name}, {'backward' if 'transpose(' in source else 'forward'}"
    return "losses, Adam, other"


def profile(call: Callable[[], Any]) -> dict[str, float]:
    """Seconds by the name of an instruction, of one call."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(call())
        (path,) = glob.glob(f"{folder}/**/*.trace.json.gz", recursive=True)
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
    seconds: dict[str, float] = collections.Counter()
    for event in events:
        if event.get("ph") == "X":
            seconds[event["name"].lstrip("%")] += event["dur"] / 1e6
    return seconds


def shares(
    seconds: Mapping[str, float], known: Mapping[str, Operation], key: Callable[[str], str]
) -> list[dict[str, str]]:
    """Rows of name and share, the largest first.

    Args:
      seconds: by instruction.
      known: the instructions of the program.
      key: the name to add under, of a source.
    """
    sums: dict[str, float] = collections.Counter()
    for name, spent in seconds.items():
        if name in known and known[name].kind not in _LOOPS:
            sums[key(known[name].source)] += spent
    total = sum(sums.values())
    ordered = sorted(sums.items(), key=lambda item: -item[1])
    return [
        {"where": name, "share": f"{spent / total:.1%}"}
        for name, spent in ordered
        if spent > total / 100
    ]


def _operation(source: str) -> str:
    """The last piece of a path, such as conv_general_dilated."""
    if not source:
        return "added by the compiler"
    way = "backward" if "transpose(" in source else "forward"
    return f"{source.rsplit('/', 1)[-1]}, {way}"


def main(argv: Sequence[str] | None = None) -> None:
    """Profile one step after the first and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="ggnet")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--size", type=number, default=256)
    parser.add_argument("--batch_size", type=number, default=1)
    parser.add_argument("--tiny", action="store_true", help="to see that it works")
    arguments = parser.parse_args(argv)
    case = Case(**vars(arguments))
    train_step, state, batch = prepare(case)
    compiled = train_step.lower(state, batch).compile()
    state, _ = jax.block_until_ready(compiled(state, batch))
    seconds = profile(lambda: compiled(state, batch))
    known = operations(compiled.as_text())
    print(timing.describe(timing.environment(jax.devices()[0].device_kind)))
    print(f"\n{case}\n\n{timing.table(shares(seconds, known, layer))}")
    print(f"\n{timing.table(shares(seconds, known, _operation))}")


if __name__ == "__main__":
    main()
