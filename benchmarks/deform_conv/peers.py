"""What people would use instead, behind one interface.

A peer is a function (arrays, dtype, backward) -> `Prepared`: ready to be called, its arrays on the
device. PyTorch and its packages are optional installs.
"""

import gc
import importlib.util
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.deform_conv.cases import ARRAYS
from ggnet_jax.ops import add_bias, deform_conv2d
from ggnet_jax.ops.deform_conv_backends import IMPLEMENTATIONS


class Prepared(NamedTuple):
    """A call that waits for its result.

    Attributes:
      call: returns y and, with backward, the gradients of `ARRAYS`, as `deform_conv2d` has them.
      temporary: bytes of working memory, None where it can't be known.
    """

    call: Callable[[], list[Any]]
    temporary: int | None


# All there may be; "ours" is the default form.
PEERS = ("ours", *IMPLEMENTATIONS, "four_gathers", "torchvision", "deformops")
Peer = Callable[[Mapping[str, np.ndarray], str, bool], Prepared]


def four_gathers(x, offset, mask, weight, bias):
    """The plain way in JAX: four gathers of all samples at once, and one einsum."""
    batch, height, width, _ = x.shape
    side = math.isqrt(mask.shape[-1])
    steps = jnp.arange(side) - side // 2
    y = jnp.arange(height)[:, None, None, None] + steps[:, None]
    x_ = jnp.arange(width)[None, :, None, None] + steps
    shape = (height, width, side, side)
    y, x_ = (jnp.broadcast_to(a, shape).reshape(*shape[:2], -1) for a in (y, x_))
    y, x_ = y + offset[..., 0], x_ + offset[..., 1]
    y0, x0 = jnp.floor(y), jnp.floor(x_)
    picture = jnp.arange(batch)[:, None, None, None]
    columns = 0.0
    for cy in (y0, y0 + 1):
        for cx in (x0, x0 + 1):
            inside = (cy >= 0) & (cy < height) & (cx >= 0) & (cx < width)
            share = (1 - jnp.abs(y - cy)) * (1 - jnp.abs(x_ - cx)) * inside * mask
            row = jnp.clip(cy, 0, height - 1).astype(jnp.int32)
            column = jnp.clip(cx, 0, width - 1).astype(jnp.int32)
            columns += x[picture, row, column] * share[..., None].astype(x.dtype)
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
        y, pull = jax.vjp(function, *inputs)
        return [y, *pull(y)]  # ones would be a constant, which XLA computes with beforehand

    compiled = jax.jit(run).lower(*inputs).compile()
    return Prepared(
        lambda: jax.block_until_ready(compiled(*inputs)),
        compiled.memory_analysis().temp_size_in_bytes,
    )


def in_torch(
    operator: Callable[..., Any],
    arrays: Mapping[str, np.ndarray],
    dtype: str,
    backward: bool,
) -> Prepared:
    """An operator with torchvision's arguments, on CUDA where PyTorch has it."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as JAX has it

    def planes(array: np.ndarray) -> Any:
        """[B, h, w, ...] -> [B, ..., h, w], on the device."""
        return put(np.moveaxis(array, (1, 2), (-2, -1)))

    def put(array: np.ndarray) -> Any:
        tensor = torch.as_tensor(np.ascontiguousarray(array)).to(device, getattr(torch, dtype))
        return tensor.requires_grad_(backward)

    offset = arrays["offset"]
    inputs = {
        "x": planes(arrays["x"]),
        "offset": planes(offset.reshape(*offset.shape[:3], -1)),
        "mask": planes(arrays["mask"]),
        "weight": put(arrays["weight"].transpose(3, 2, 0, 1)),
        "bias": put(arrays["bias"]),
    }
    others = {name: one for name, one in inputs.items() if name != "x"}
    padding = arrays["weight"].shape[0] // 2

    def call() -> list[Any]:
        with torch.set_grad_enabled(backward):
            y = operator(input=inputs["x"], **others, padding=padding)
        found = [y.detach()]
        if backward:
            found += torch.autograd.grad(y, list(inputs.values()), y.detach())
        if device.type == "cuda":
            torch.cuda.synchronize()
        return [_as_ours(name, one) for name, one in zip(("y", *inputs), found, strict=False)]

    if device.type != "cuda":  # PyTorch does not count what it allocates on a CPU
        return Prepared(call, None)
    gc.collect()
    torch.cuda.empty_cache()
    call()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    return Prepared(call, torch.cuda.max_memory_allocated() - before)


def _as_ours(name: str, tensor: Any) -> Any:
    """PyTorch's layout seen as ours; nothing is copied while the clock runs."""
    if name == "bias":
        return tensor
    if name == "weight":
        return tensor.permute(2, 3, 1, 0)
    last = tensor.permute(0, 2, 3, 1)
    return last.unflatten(-1, (-1, 2)) if name == "offset" else last


def installed_peers() -> dict[str, Peer]:
    """Ours in its forms, and what is there to compare with, by name."""
    peers: dict[str, Peer] = {
        "ours": partial(in_jax, deform_conv2d),
        **{
            name: partial(in_jax, partial(deform_conv2d, implementation=name))
            for name in IMPLEMENTATIONS
        },
        "four_gathers": partial(in_jax, four_gathers),
    }
    if importlib.util.find_spec("torchvision"):
        from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

        def torchvision(arrays, dtype, backward):
            del dtype  # the operator has no bfloat16, and runs in float32 under autocast too
            return in_torch(torchvision_deform_conv2d, arrays, "float32", backward)

        peers["torchvision"] = torchvision
    if importlib.util.find_spec("deformops"):
        from deformops.registry import conv

        peers["deformops"] = partial(in_torch, conv)
    return peers
