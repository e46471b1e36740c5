"""PyTorch's side: the mirror's training step, eager or compiled, as fast as PyTorch's own means go.

channels_last, cuDNN's search for the best convolution, TF32 where JAX has it too, fused Adam,
torchvision's operator where it is installed. Normalised pictures and drawn targets lie on the
device already, which ours has to do in every step.
"""

import importlib.util
import os
import time
from typing import Any

import jax
import torch

from benchmarks.torch_ggnet import TorchGGNet
from benchmarks.torch_losses import ggnet_loss
from benchmarks.torch_weights import by_torch_name
from benchmarks.training_step.case import LEARNING_RATE, Case, made_batch
from benchmarks.training_step.ours import draw_targets, initial_variables
from benchmarks.training_step.work import Work
from ggnet_jax.ops.normalize import normalize_images


def build(case: Case, compiled: bool = False) -> Work:
    """Call 'step'. JAX only prepares, on the CPU."""
    jax.config.update("jax_platforms", "cpu")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    operator = "torchvision" if importlib.util.find_spec("torchvision") else "grid_sample"

    variables = initial_variables(case)
    weights = {}
    for part in ("params", "batch_stats"):
        named = by_torch_name(variables[part], case.model)
        weights |= {name: torch.as_tensor(array.copy()) for name, array in named.items()}
    network = TorchGGNet(weights, case.model.gaze_steps, operator).train()
    network = network.to(device, memory_format=torch.channels_last)
    del variables, weights

    batch = made_batch(case)
    drawn = draw_targets(case)(batch)._asdict()
    targets = {name: torch.tensor(jax.device_get(v)).to(device) for name, v in drawn.items()}
    planes = jax.device_get(normalize_images(batch["image"]))[..., ::-1].transpose(0, 3, 1, 2)
    image = torch.as_tensor(planes.copy()).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)

    def loss_of(image: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=case.dtype == "bfloat16"):
            stacks = network(image)
        return ggnet_loss(
            stacks,
            targets,
            lambda_1=case.loss.lambda_1,
            lambda_2=case.loss.lambda_2,
            interaction=case.loss.interaction,
        )[0]

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)
    loss = None

    def step(times: int) -> None:
        nonlocal loss
        for _ in range(times):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(image, targets)
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    start = time.perf_counter()
    step(1)
    facts = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "first_seconds": time.perf_counter() - start,
        "first_loss": loss.item(),
        "operator": operator if case.model.gaze_steps else "",
    }

    def closing() -> dict[str, Any]:
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
        return {"last_loss": loss.item(), "device_gib": peak}

    return Work({"step": step}, facts, closing)
