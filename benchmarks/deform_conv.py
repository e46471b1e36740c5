"""Seconds and memory of the deformable convolution, ours beside what one would use instead.

    python -m benchmarks.deform_conv [--cases=ggnet,dla_64,demo] [--peers=ours,torchvision]
        [--dtype=float32,bfloat16] [--repeats=5] [--output=FILE]

Outputs and gradients of every peer are compared with ours first; then all are timed in turn,
forward and forward with backward, on the device that JAX finds. "At best" is the arithmetic at the
rate of a large matrix product, or every array moved once at the rate of a large copy, whichever
takes longer; both rates are measured in the same run. JAX is all that is needed; the peers are
optional installs.
"""

import gc
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from ggnet_jax.ops import add_bias, deform_conv2d
from ggnet_jax.ops.deform_forms import FORMS

ARRAYS = ("x", "offset", "mask", "weight", "bias")
# "ours" is what the device gets by default; four gathers are the plain way in JAX.
PEERS = ("ours", *FORMS, "four_gathers", "torchvision", "deformops")
USUAL = ["ggnet", "dla_64", "dla_128", "dla_256", "dla_512", "demo"]


class Case(NamedTuple):
    """One deformable convolution that keeps the size of its input [batch, side, side, channels]."""

    batch: int
    side: int
    channels: int
    taps: int  # K, a square number
    features: int  # output channels

    def __str__(self) -> str:
        return f"{self.batch} x {self.side} x {self.side} x {self.channels}, K = {self.taps}"

    @property
    def points(self) -> int:
        """Sampling points of a call."""
        return self.batch * self.side**2 * self.taps

    def flops(self, backward: bool) -> float:
        """Multiplications and additions: one matrix product forward, three with backward."""
        product = 2.0 * self.points * self.channels * self.features
        interpolation = 8.0 * self.points * self.channels  # of four corners a sampling point
        return (3 if backward else 1) * (product + interpolation)

    def bytes(self, backward: bool, itemsize: int) -> float:
        """What has to move at least: every array once, with backward its gradient too."""
        values = self.batch * self.side**2 * (self.channels + self.features)
        values += self.taps * self.channels * self.features
        return (3 if backward else 1) * (values * itemsize + 4.0 * 3 * self.points)


CASES = {
    "ggnet": Case(1, 128, 256, 25, 256),
    "ggnet_8": Case(8, 128, 256, 25, 256),
    "dla_64": Case(1, 128, 64, 9, 64),
    "dla_128": Case(1, 64, 128, 9, 128),
    "dla_256": Case(1, 32, 256, 9, 256),
    "dla_512": Case(1, 16, 512, 9, 512),
    "demo": Case(16, 32, 32, 9, 32),
    "tiny": Case(1, 8, 4, 9, 4),
}


class Prepared(NamedTuple):
    """A call with its arrays on the device.

    Attributes:
      call: waits for its result: y and, with backward, the gradients of `ARRAYS`.
      temporary: bytes of working memory; None where it is not known.
    """

    call: Callable[[], list[Any]]
    temporary: int | None


Peer = Callable[[Mapping[str, np.ndarray], str, bool], Prepared]


def make_arrays(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 arrays as `deform_conv2d` takes them.

    Offsets have a standard deviation of one cell: neighboring pixels look at neighboring places, as
    trained ActPoints do.
    """
    rng = np.random.default_rng(seed)
    side = math.isqrt(case.taps)
    shape = (case.batch, case.side, case.side)
    scale = np.float32((case.taps * case.channels) ** -0.5)
    return {
        "x": rng.standard_normal((*shape, case.channels), np.float32),
        "offset": rng.standard_normal((*shape, case.taps, 2), np.float32),
        "mask": rng.random((*shape, case.taps), np.float32),
        "weight": scale
        * rng.standard_normal((side, side, case.channels, case.features), np.float32),
        "bias": rng.standard_normal(case.features, np.float32),
    }


def four_gathers(x, offset, mask, weight, bias):
    """The plain way in JAX: a gather of all samples for each of the four corners, one einsum."""
    batch, height, width, _ = x.shape
    side = math.isqrt(mask.shape[-1])
    steps = jnp.arange(side) - side // 2
    y = jnp.arange(height)[:, None, None] + jnp.repeat(steps, side) + offset[..., 0]
    x_ = jnp.arange(width)[:, None] + jnp.tile(steps, side) + offset[..., 1]
    y0, x0 = jnp.floor(y), jnp.floor(x_)
    image = jnp.arange(batch)[:, None, None, None]
    columns = 0.0
    for row in (y0, y0 + 1):
        for column in (x0, x0 + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            share = (1 - jnp.abs(y - row)) * (1 - jnp.abs(x_ - column)) * inside * mask
            rows = jnp.clip(row, 0, height - 1).astype(jnp.int32)
            cells = jnp.clip(column, 0, width - 1).astype(jnp.int32)
            columns += x[image, rows, cells] * share[..., None].astype(x.dtype)
    kernel = weight.reshape(-1, *weight.shape[2:])
    return add_bias(jnp.einsum("bhwkc,kcf->bhwf", columns, kernel), bias)


def in_jax(
    function: Callable[..., jax.Array],
    arrays: Mapping[str, np.ndarray],
    dtype: str,
    backward: bool,
) -> Prepared:
    """A function of jax.Arrays, compiled."""
    inputs = [
        jnp.asarray(arrays[name], jnp.float32 if name in ("offset", "mask") else dtype)
        for name in ARRAYS
    ]

    def run(*inputs):
        if not backward:
            return [function(*inputs)]
        y, pull_back = jax.vjp(function, *inputs)
        return [y, *pull_back(y)]  # XLA would compute with a constant cotangent beforehand

    compiled = jax.jit(run).lower(*inputs).compile()
    return Prepared(
        lambda: jax.block_until_ready(compiled(*inputs)),
        compiled.memory_analysis().temp_size_in_bytes,
    )


def in_torch(
    operator: Callable[..., Any],
    device: Any,
    arrays: Mapping[str, np.ndarray],
    dtype: str,
    backward: bool,
) -> Prepared:
    """An operator with torchvision's arguments."""
    import torch

    def put(array: np.ndarray) -> Any:
        tensor = torch.as_tensor(np.ascontiguousarray(array)).to(device, getattr(torch, dtype))
        return tensor.requires_grad_(backward)

    planes = {name: np.moveaxis(arrays[name], (1, 2), (-2, -1)) for name in ("x", "mask")}
    offset = arrays["offset"].reshape(*arrays["offset"].shape[:3], -1)
    inputs = {
        "input": put(planes["x"]),
        "offset": put(np.moveaxis(offset, -1, 1)),
        "mask": put(planes["mask"]),
        "weight": put(arrays["weight"].transpose(3, 2, 0, 1)),
        "bias": put(arrays["bias"]),
    }
    padding = arrays["weight"].shape[0] // 2

    def call() -> list[Any]:
        with torch.set_grad_enabled(backward):
            y = operator(**inputs, padding=padding)
        found = [y.detach()]
        if backward:
            found += torch.autograd.grad(y, list(inputs.values()), y.detach())
        if device.type == "cuda":
            torch.cuda.synchronize()
        return [_channels_last(name, one) for name, one in zip(("y", *inputs), found, strict=False)]

    if device.type != "cuda":  # PyTorch does not count what it allocates on a CPU
        return Prepared(call, None)
    call()
    gc.collect()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return Prepared(call, torch.cuda.max_memory_allocated() - before)


def _channels_last(name: str, tensor: Any) -> Any:
    """PyTorch's layout seen as ours; nothing is copied while the clock runs."""
    if name == "bias":
        return tensor
    if name == "weight":
        return tensor.permute(2, 3, 1, 0)
    last = tensor.permute(0, 2, 3, 1)
    return last.unflatten(-1, (-1, 2)) if name == "offset" else last


def installed_peers() -> dict[str, Peer]:
    """Ours, its implementations, and what is installed to compare with, by name."""
    peers: dict[str, Peer] = {"ours": partial(in_jax, deform_conv2d)}
    for name in FORMS:
        peers[name] = partial(in_jax, partial(deform_conv2d, form=name))
    peers["four_gathers"] = partial(in_jax, four_gathers)
    device = timing.torch_device()
    if device and importlib.util.find_spec("torchvision"):
        from torchvision.ops import deform_conv2d as operator

        # The operator has no bfloat16, and under autocast it computes in float32 too.
        peers["torchvision"] = lambda arrays, dtype, backward: in_torch(
            operator, device, arrays, "float32", backward
        )
    if device and importlib.util.find_spec("deformops"):
        from deformops.registry import conv

        peers["deformops"] = partial(in_torch, conv, device)
    return peers


def device_rates(dtype: str) -> dict[str, float]:
    """FLOP/s of a large matrix product and bytes/s of a large copy, on JAX's default device."""
    on_cpu = jax.default_backend() == "cpu"
    side = 2048 if on_cpu else 8192
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    big = jnp.ones((2**26 if on_cpu else 2**29,), dtype)
    product, copy = jax.jit(jnp.matmul), jax.jit(jnp.negative)
    took = timing.time_in_turn(
        {
            "product": lambda: jax.block_until_ready(product(a, a)),
            "copy": lambda: jax.block_until_ready(copy(big)),
        },
        repeats=5,
    )
    return {
        "flops": 2 * side**3 / took["product"].lowest,
        "bytes": 2 * big.nbytes / took["copy"].lowest,
    }


def measure(
    case: Case, peers: Mapping[str, Peer], dtype: str, backward: bool, repeats: int
) -> list[dict[str, Any]]:
    """A row for each peer, the first is ours."""
    arrays = make_arrays(case)
    prepared = {name: prepare(arrays, dtype, backward) for name, prepare in peers.items()}
    found = {name: one.call() for name, one in prepared.items()}
    differences = {name: _difference(found["ours"], values) for name, values in found.items()}
    del found
    took = timing.time_in_turn({n: one.call for n, one in prepared.items()}, repeats, warm_ups=0)
    return [
        {
            "peer": name,
            "dtype": dtype,
            "backward": backward,
            "seconds": took[name],
            "temporary": one.temporary,
            "difference": differences[name],
            "agrees": differences[name] < _tolerance(dtype),
        }
        for name, one in prepared.items()
    ]


def _tolerance(dtype: str) -> float:
    """The largest difference that rounding may make; GPUs round what they multiply to TF32."""
    if dtype != "float32":
        return 5e-2
    return 1e-4 if jax.default_backend() == "cpu" else 5e-3


def _difference(ours: Sequence[Any], others: Sequence[Any]) -> float:
    """The largest difference of output and gradients, each relative to our largest entry."""

    def differ(one: Any, other: Any) -> float:
        one = np.asarray(one, np.float32)
        other = np.asarray(other.float().cpu() if hasattr(other, "cpu") else other, np.float32)
        return float(np.abs(one - other).max() / np.abs(one).max())

    return max(differ(one, other) for one, other in zip(ours, others, strict=True))


def report(rows: Sequence[Mapping[str, Any]], least: float) -> str:
    """The table of one case in one direction, which takes `least` seconds at best."""
    ours = rows[0]["seconds"].median
    return timing.table(
        {
            "peer": row["peer"],
            "s (min to max)": row["seconds"],
            "time / ours": f"{row['seconds'].median / ours:.2f}",
            "temporary, MB": None if row["temporary"] is None else f"{row['temporary'] / 1e6:.0f}",
            "difference": f"{row['difference']:.0e}" + ("" if row["agrees"] else ", TOO LARGE"),
            "of the best": f"{least / row['seconds'].median:.0%}",
        }
        for row in rows
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a peer's results differ from ours."""
    parser = timing.parser(__doc__, dtype=["float32"], repeats=5)
    parser.add_argument(
        "--cases", type=timing.names(CASES), default=USUAL, help=f"of {', '.join(CASES)}"
    )
    parser.add_argument(
        "--peers", type=timing.names(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}"
    )
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    peers = installed_peers()
    if missing := [name for name in arguments.peers if name not in peers]:
        print(f"Not installed, or not for this device: {', '.join(missing)}.\n")
    chosen = dict.fromkeys(("ours", *arguments.peers))
    peers = {name: peers[name] for name in chosen if name in peers}
    rows: list[dict[str, Any]] = []
    for dtype in arguments.dtype:
        rates = device_rates(dtype)
        print(f"{dtype}: {rates['flops'] / 1e9:.0f} GFLOP/s, {rates['bytes'] / 1e9:.1f} GB/s\n")
        for name in arguments.cases:
            case = CASES[name]
            for backward in (False, True):
                arithmetic = case.flops(backward) / rates["flops"]
                traffic = case.bytes(backward, jnp.dtype(dtype).itemsize) / rates["bytes"]
                measured = measure(case, peers, dtype, backward, arguments.repeats)
                least = max(arithmetic, traffic)
                direction = "forward and backward" if backward else "forward"
                print(f"{name}: {case}, {dtype}, {direction}; at best {least:.2g} s\n")
                print(report(measured, least) + "\n", flush=True)
                limits = {"arithmetic": arithmetic, "traffic": traffic}
                rows += [{"case": name, "shape": str(case)} | row | limits for row in measured]
                timing.write(arguments.output, machine, rows)
    return int(not all(row["agrees"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
