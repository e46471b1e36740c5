"""A training step of the PyTorch network, eager or compiled, as fast as PyTorch's own means go.

channels_last, fused Adam, torchvision's operator where it is installed. The normalized images and
the rendered targets lie on the device beforehand, whereas ours renders targets in every step.
"""

import importlib.util
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch

from ggnet_jax.config import OUTPUT_STRIDE
from ggnet_jax.ops.normalize import normalize_images
from ggnet_jax.training.targets import Annotations, render_targets
from tests.oracles.torch_ggnet import TorchGGNet
from tests.oracles.torch_losses import ggnet_loss
from tests.oracles.torch_weights import by_torch_name


def make_network(config: Any, variables: Mapping[str, Any], device: torch.device) -> TorchGGNet:
    """The PyTorch network with our weights, in evaluation mode and channels_last.

    Args:
        config: `config.model`.
        variables: ours, `params` and `batch_stats`.
        device: where to compute.
    """
    named = {}
    for collection in ("params", "batch_stats"):
        named |= by_torch_name(variables[collection], config)
    weights = {name: torch.tensor(array.copy()) for name, array in named.items()}
    operator = "torchvision" if importlib.util.find_spec("torchvision") else "grid_sample"
    network = TorchGGNet(weights, config.gaze_steps, operator)
    return network.to(device, memory_format=torch.channels_last)


def make_planes(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """Images [B, H, W, 3] as our networks take them -> normalized planes [B, 3, H, W], B, G, R."""
    planes = jax.device_get(normalize_images(images))[..., ::-1].transpose(0, 3, 1, 2)
    planes = torch.tensor(np.ascontiguousarray(planes))
    return planes.to(device, memory_format=torch.channels_last)


class TorchStep:
    """Forward, loss, backward and Adam's update on one batch; every call takes one step.

    Attributes:
        network: the network that is trained.
    """

    def __init__(
        self,
        config: Any,
        variables: Mapping[str, Any],
        batch: Mapping[str, np.ndarray],
        verbs_of_object: np.ndarray,
        *,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        """Put the network, the batch and its targets on the device.

        Args:
            config: resolved; the fields `model`, `loss` and `learning_rate` are used.
            variables: initial `params` and `batch_stats` of ours.
            batch: arrays as `make_train_step` takes them.
            verbs_of_object: [O, V] bool, the pairs seen in training.
            device: where to compute.
            compiled: by `torch.compile`.
        """
        self.network = make_network(config.model, variables, device).train()
        image = make_planes(batch["image"], device)
        num_objects, num_verbs = verbs_of_object.shape
        drawn = jax.jit(
            lambda annotations: render_targets(
                annotations,
                map_size=tuple(side // OUTPUT_STRIDE for side in image.shape[2:]),
                num_verbs=num_verbs,
                num_objects=num_objects,
                verbs_of_object=verbs_of_object,
                sharp_gaze_targets=config.loss.sharp_gaze_targets,
            )
        )(Annotations(*(batch[name] for name in Annotations._fields)))
        targets = {
            name: torch.tensor(np.asarray(value)).to(device)
            for name, value in drawn._asdict().items()
        }
        half = config.model.dtype == "bfloat16"
        options = {name: config.loss[name] for name in ("interaction", "lambda_1", "lambda_2")}

        def loss_of() -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                stacks = self.network(image)
            return ggnet_loss(stacks, targets, **options)[0]

        self._loss_of = torch.compile(loss_of, dynamic=False) if compiled else loss_of
        self._optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )

    def __call__(self) -> torch.Tensor:
        """Take a step; the loss before it, a scalar on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def gradient_norm(self) -> float:
        """Global norm of the last step's gradient."""
        squares = [p.grad.square().sum() for p in self.network.parameters() if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt())
