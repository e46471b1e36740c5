"""Seconds and memory of the deformable convolution, ours beside what one would use instead.

    python -m benchmarks.deform_conv [--cases=ggnet,dla_64,demo] [--peers=ours,torchvision]
        [--dtype=float32,bfloat16] [--repeats=5] [--output=FILE]

Outputs and gradients of every peer are compared with ours first; then all are timed in turn,
forward and forward with backward, on the device that JAX finds; on GPUs ten calls in a row. "Best"
is the rate of a large matrix product in the same run. JAX is all that is needed; torchvision is an
optional install.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from ggnet_jax.ops import add_bias, deform_conv2d
from ggnet_jax.ops.deform_conv_backends import IMPLEMENTATIONS

ARRAYS = ("x", "offset", "mask", "weight", "bias")
# "ours" is what the device gets by default; four gathers are the plain way in JAX.
PEERS = ("ours", *IMPLEMENTATIONS, "four_gathers", "torchvision")
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

    def flops(self, backward: bool) -> float:
        """Multiplications and additions: one matrix product forward, three with backward."""
        values = self.batch * self.side**2 * self.taps * self.channels
        corners = 8.0  # four products and sums to interpolate a value
        return (3 if backward else 1) * values * (2 * self.features + corners)


CASES = {
    "ggnet": Case(1, 128, 256, 25, 256),
    "ggnet_8": Case(8, 128, 256, 25, 256),
    "dla_64": Case(1, 128, 64, 9, 64),
    "dla_128": Case(1, 64, 128, 9, 128),
    "dla_256": Case(1, 32, 256, 9, 256),
    "dla_512": Case(1, 16, 512, 9, 512),
    "dla_64_8": Case(8, 128, 64, 9, 64),
    "dla_128_8": Case(8, 64, 128, 9, 128),
    "dla_256_8": Case(8, 32, 256, 9, 256),
    "dla_512_8": Case(8, 16, 512, 9, 512),
    "demo": Case(16, 32, 32, 9, 32),
    "tiny": Case(1, 8, 4, 9, 4),
}


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
) -> timing.Peer:
    """A function of jax.Arrays, compiled."""
    inputs = [
        jnp.asarray(arrays[name], jnp.float32 if name in ("offset", "mask") else dtype)
        for name in ARRAYS
    ]

    def run(*inputs: jax.Array) -> list[jax.Array]:
        if not backward:
            return [function(*inputs)]
        y, pull_back = jax.vjp(function, *inputs)
        return [y, *pull_back(y)]  # XLA would compute with a constant cotangent beforehand

    compiled = jax.jit(run).lower(*inputs).compile()
    in_a_row = timing.calls_in_a_row()

    def call() -> None:
        for _ in range(in_a_row):
            result = compiled(*inputs)
        jax.block_until_ready(result)

    values = partial(compiled, *inputs)
    return timing.Peer(call, values, timing.temporary_bytes(compiled), in_a_row)


def in_torch(
    operator: Callable[..., Any], arrays: Mapping[str, np.ndarray], dtype: str, backward: bool
) -> timing.Peer:
    """An operator with torchvision's arguments, on PyTorch's device."""
    import torch

    device = timing.torch_device()
    offset = arrays["offset"].reshape(*arrays["offset"].shape[:3], -1)
    inputs = {
        "input": arrays["x"].transpose(0, 3, 1, 2),
        "offset": offset.transpose(0, 3, 1, 2),
        "mask": arrays["mask"].transpose(0, 3, 1, 2),
        "weight": arrays["weight"].transpose(3, 2, 0, 1),
        "bias": arrays["bias"],
    }
    tensors = {
        name: torch.tensor(
            np.ascontiguousarray(array),
            dtype=getattr(torch, dtype),
            device=device,
            requires_grad=backward,
        )
        for name, array in inputs.items()
    }
    padding = arrays["weight"].shape[0] // 2

    def call() -> list[torch.Tensor]:
        with torch.set_grad_enabled(backward):
            y = operator(**tensors, padding=padding)
        gradients = torch.autograd.grad(y, list(tensors.values()), y.detach()) if backward else ()
        return [y.detach(), *gradients]

    def values() -> list[np.ndarray]:
        y, *gradients = (tensor.float().cpu().numpy() for tensor in call())
        found = [y.transpose(0, 2, 3, 1)]
        if gradients:
            x, offset, mask, weight, bias = gradients
            offset = offset.transpose(0, 2, 3, 1).reshape(arrays["offset"].shape)
            found += [x.transpose(0, 2, 3, 1), offset, mask.transpose(0, 2, 3, 1)]
            found += [weight.transpose(2, 3, 1, 0), bias]
        return found

    call()
    return timing.torch_peer(call, values, device, timing.calls_in_a_row())


def installed_peers() -> dict[str, Callable[..., timing.Peer]]:
    """(arrays, dtype, backward) -> peer, of ours and of what is installed, by name."""
    peers: dict[str, Callable[..., timing.Peer]] = {"ours": partial(in_jax, deform_conv2d)}
    for name in IMPLEMENTATIONS:
        peers[name] = partial(in_jax, partial(deform_conv2d, implementation=name))
    peers["four_gathers"] = partial(in_jax, four_gathers)
    if timing.torch_device() and importlib.util.find_spec("torchvision"):
        from torchvision.ops import deform_conv2d as operator

        # The operator has no bfloat16, and under autocast it computes in float32 too.
        peers["torchvision"] = lambda arrays, dtype, backward: in_torch(
            operator, arrays, "float32", backward
        )
    return peers


@cache
def matmul_rate(dtype: str) -> float:
    """FLOP/s of a large matrix product on JAX's default device."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (side, side), dtype)
    multiply = jax.jit(jnp.matmul)
    took = timing.time_in_turn({"": lambda: jax.block_until_ready(multiply(a, a))}, repeats=5)
    return 2 * side**3 / took[""].lowest


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a peer's results differ from ours."""
    parser = timing.parser(
        __doc__, cases=(CASES, USUAL), peers=(PEERS, PEERS), dtype=["float32"], repeats=5
    )
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    peers = installed_peers()
    if missing := [name for name in arguments.peers if name not in peers]:
        print(f"Not installed, or not for this device: {', '.join(missing)}.\n")
    chosen = [name for name in dict.fromkeys(("ours", *arguments.peers)) if name in peers]
    rows: list[dict[str, Any]] = []
    for dtype, name, backward in product(arguments.dtype, arguments.cases, (False, True)):
        case = CASES[name]
        arrays = make_arrays(case)
        measured = timing.measure_peers(
            {peer: partial(peers[peer], arrays, dtype, backward) for peer in chosen},
            arguments.repeats,
            timing.tolerance(dtype, 1e-4, 5e-2),
            case=name,
            dtype=dtype,
            backward=backward,
        )
        best = matmul_rate(dtype)
        for row in measured:
            if "seconds" in row:
                row["percent"] = 100 * case.flops(backward) / row["seconds"].median / best
        direction = "forward and backward" if backward else "forward"
        print(f"{name}: {case}, {dtype}, {direction}; {best / 1e9:.0f} GFLOP/s at best\n")
        print(timing.report_peers(measured, percent="% of best") + "\n", flush=True)
        rows += measured
        timing.write(arguments.output, machine, rows)
    return timing.status(rows)


if __name__ == "__main__":
    sys.exit(main())
