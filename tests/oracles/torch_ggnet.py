"""The networks once more in plain PyTorch, straight from a state dict: no part of ggnet_jax.

`tests/parity/test_parity_twin.py` checks it against the released code's numbers, in evaluation and
in training mode. Then it serves twice: as the oracle of what was never released (inputs that are
not square, GGNet's heads on DLA-34), and as what `benchmarks` measures ours against.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OPERATORS = ("grid_sample", "torchvision")


class TorchGGNet(nn.Module):
    """Hourglass or DLA-34 with the baseline's or GGNet's heads; the weights tell which.

    Under `torch.autocast` the convolutions compute in bfloat16, but for those that ours keeps in
    float32: the last of every head, those that predict offsets, and the sampling at the offsets.
    """

    def __init__(
        self, weights: Mapping[str, Any], gaze_steps: int, operator: str = "grid_sample"
    ) -> None:
        """Evaluation mode, until `train()` is called.

        Args:
            weights: arrays or tensors under the released names, convolutions [out, in, kh, kw].
            gaze_steps: how many of the weights' gaze steps to take.
            operator: deformable convolution by 'grid_sample', point by point of the kernel, or by
              'torchvision', its compiled operator.

        Raises:
            ValueError: another operator.
        """
        super().__init__()
        if operator not in OPERATORS:
            raise ValueError(f"operator is {operator!r}; it can be {' or '.join(OPERATORS)}")
        self.gaze_steps = gaze_steps
        self.operator = operator
        self.attributes = {}  # PyTorch allows no dot in the name of a parameter
        for name, value in weights.items():
            tensor = torch.as_tensor(value)
            if not tensor.is_floating_point():  # a counter beside every batch norm
                continue
            attribute = self.attributes[name] = name.replace(".", "__")
            if name.endswith(("running_mean", "running_var")):
                self.register_buffer(attribute, tensor.clone())
            else:
                self.register_parameter(attribute, nn.Parameter(tensor.clone()))
        self.eval()

    def by_name(self) -> dict[str, Tensor]:
        """Parameters and running statistics under the released names."""
        return {name: self.get(name) for name in self.attributes}

    def get(self, name: str) -> Tensor:
        return getattr(self, self.attributes[name])

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.attributes

    def conv(self, x: Tensor, name: str, stride: int = 1, exact: bool = False) -> Tensor:
        """A padded convolution; `exact`: in float32 whatever autocast says."""
        weight = self.get(f"{name}.weight")
        bias = self.get(f"{name}.bias") if f"{name}.bias" in self.attributes else None
        padding = weight.shape[-1] // 2
        if not exact:
            return F.conv2d(x, weight, bias, stride, padding)
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(at_least_float32(x), weight, bias, stride, padding)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.get(f"{name}.{part}") for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, self.training, momentum=0.1, eps=1e-5)

    def deform_conv(
        self, x: Tensor, name: str, offsets_from: Tensor, offset: Tensor | int = 0
    ) -> tuple[Tensor, Tensor]:
        """Sample x [B, C, h, w]; returns the result and the summed offsets [B, 2 K, h, w]."""
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        taps = weight.shape[-1] ** 2
        predicted = self.conv(offsets_from, f"{name}.conv_offset_mask", exact=True)
        offset = offset + predicted[:, : 2 * taps]
        mask = torch.sigmoid(predicted[:, 2 * taps :])
        sample = by_torchvision if self.operator == "torchvision" else by_grid_sample
        with torch.autocast(x.device.type, enabled=False):
            y = sample(at_least_float32(x), offset, mask, weight, bias)
        return y.to(x.dtype), offset

    def residual(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        y = torch.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
        if self.has(f"{name}.skip.0"):
            x = self.norm(self.conv(x, f"{name}.skip.0", stride), f"{name}.skip.1")
        return torch.relu(x + y)

    def residuals(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        block = 0
        while self.has(f"{name}.{block}.conv1"):
            x = self.residual(x, f"{name}.{block}", stride if block == 0 else 1)
            block += 1
        return x

    def hourglass(self, x: Tensor, name: str) -> Tensor:
        upper = self.residuals(x, f"{name}.up1")
        lower = self.residuals(x, f"{name}.low1", stride=2)
        deeper = self.has(f"{name}.low2.up1.0.conv1")
        lower = (self.hourglass if deeper else self.residuals)(lower, f"{name}.low2")
        lower = self.residuals(lower, f"{name}.low3")
        return upper + F.interpolate(lower, scale_factor=2, mode="nearest")

    def stacked_hourglass(self, image: Tensor) -> list[Tensor]:
        x = torch.relu(self.norm(self.conv(image, "pre.0.conv", 2), "pre.0.bn"))
        x = self.residual(x, "pre.1", 2)
        features, stack = [], 0
        while self.has(f"cnvs.{stack}.conv"):
            y = self.hourglass(x, f"kps.{stack}")
            y = torch.relu(self.norm(self.conv(y, f"cnvs.{stack}.conv"), f"cnvs.{stack}.bn"))
            features.append(y)
            if self.has(f"inters_.{stack}.0"):
                old = self.norm(self.conv(x, f"inters_.{stack}.0"), f"inters_.{stack}.1")
                new = self.norm(self.conv(y, f"cnvs_.{stack}.0"), f"cnvs_.{stack}.1")
                x = self.residual(torch.relu(old + new), f"inters.{stack}")
            stack += 1
        return features

    def tree(self, x, name, stride, keep_input, children=()) -> Tensor:
        bottom = F.max_pool2d(x, stride) if stride > 1 else x
        children = [*children, bottom] if keep_input else list(children)
        if not self.has(f"{name}.tree1.conv1"):
            first = self.tree(x, f"{name}.tree1", stride, False)
            return self.tree(first, f"{name}.tree2", 1, False, [*children, first])
        skip = bottom
        if self.has(f"{name}.project.0"):
            skip = self.norm(self.conv(bottom, f"{name}.project.0"), f"{name}.project.1")

        def block(x, skip, name, stride=1):
            y = torch.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
            return torch.relu(self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2") + skip)

        first = block(x, skip, f"{name}.tree1", stride)
        second = block(first, first, f"{name}.tree2")
        together = torch.cat([second, first, *children], dim=1)
        return torch.relu(self.norm(self.conv(together, f"{name}.root.conv"), f"{name}.root.bn"))

    def aggregate(self, maps: list[Tensor], name: str) -> list[Tensor]:
        maps = list(maps)

        def deformable(x, name):
            y, _ = self.deform_conv(x, f"{name}.conv", x)
            return torch.relu(self.norm(y, f"{name}.actf.0"))

        for i in range(1, len(maps)):
            y = deformable(maps[i], f"{name}.proj_{i}")
            kernel = self.get(f"{name}.up_{i}.weight")
            factor = kernel.shape[-1] // 2
            y = F.conv_transpose2d(
                y, kernel, stride=factor, padding=factor // 2, groups=kernel.shape[0]
            )
            maps[i] = deformable(y + maps[i - 1], f"{name}.node_{i}")
        return maps

    def dla(self, image: Tensor) -> list[Tensor]:
        x = image
        for name, stride in (("base_layer", 1), ("level0", 1), ("level1", 2)):
            x = self.norm(self.conv(x, f"base.{name}.0", stride), f"base.{name}.1")
            x = torch.relu(x)
        levels = []
        for level in range(2, 6):
            x = self.tree(x, f"base.level{level}", 2, keep_input=level > 2)
            levels.append(x)
        finest = []
        for i, start in enumerate((2, 1, 0)):
            levels[start:] = self.aggregate(levels[start:], f"dla_up.ida_{i}")
            finest.insert(0, levels[-1])
        return [self.aggregate(finest, "ida_up")[-1]]

    def heads(self, feature: Tensor, stack: int) -> dict[str, Tensor]:
        """Heads of one stack by their released names; the ReLU feature of `hm_rel` feeds APM."""
        hourglass, steps = self.has("pre.0.conv"), self.gaze_steps

        def layer(head, number):
            if hourglass:
                return f"{head}.{stack}.{number}" + (".conv" if number == 0 else "")
            return f"{head}.{2 * number}"

        def hidden(head, x):
            return torch.relu(self.conv(x, layer(head, 0)))

        def head(name, x):
            return self.conv(hidden(name, x), layer(name, 1), exact=True)

        glance = hidden("hm_rel", feature)
        matching = glance if steps else feature
        outputs = {name: head(name, feature) for name in ("hm", "wh", "reg")}
        outputs |= {name: head(name, matching) for name in ("sub_offset", "obj_offset")}
        outputs["hm_rel"] = self.conv(glance, layer("hm_rel", 1), exact=True)
        gaze, offset = glance, 0
        for step in range(1, steps + 1):
            number = "" if steps == 1 else str(step)
            sampled = torch.relu(self.conv(feature, f"hm_dcn{number}.{stack}.conv"))
            gaze, offset = self.deform_conv(sampled, f"refine_dcn{number}.{stack}", gaze, offset)
            gaze = torch.relu(gaze)
            name = f"refine_head{number}.{stack}"
            if step < steps:
                outputs[f"hm_rel_refine{step}"] = self.conv(gaze, f"{name}.0", exact=True)
            else:
                outputs["hm_rel_refine"] = self.conv(
                    torch.relu(self.conv(gaze, f"{name}.0.conv")), f"{name}.1", exact=True
                )
        return outputs

    def features(self, image: Tensor) -> list[Tensor]:
        """Normalized image [B, 3, H, W] (B, G, R) -> the backbone's feature of every stack."""
        return (self.stacked_hourglass if self.has("pre.0.conv") else self.dla)(image)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Normalized image [B, 3, H, W] (B, G, R) -> for every stack the head outputs by name."""
        return [self.heads(f, stack) for stack, f in enumerate(self.features(image))]

    def last_stack(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs of the last stack alone, which are all that inference needs."""
        features = self.features(image)
        return self.heads(features[-1], len(features) - 1)


def at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def by_torchvision(x, offset, mask, weight, bias) -> Tensor:
    """Deformable convolution by torchvision's operator."""
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offset, weight, bias, padding=weight.shape[-1] // 2, mask=mask)


def by_grid_sample(x, offset, mask, weight, bias) -> Tensor:
    """Deformable convolution, every point of the kernel sampled on its own."""
    side, (height, width) = weight.shape[-1], x.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
    )
    total = bias[None, :, None, None]
    for tap in range(side**2):
        y = rows + tap // side - side // 2 + offset[:, 2 * tap]
        x_ = columns + tap % side - side // 2 + offset[:, 2 * tap + 1]
        # grid_sample wants the centers of the corner pixels at -1 and 1.
        grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        sampled = F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)
        sampled = sampled * mask[:, tap, None]
        kernel = weight[:, :, tap // side, tap % side]
        total = total + torch.einsum("bchw,fc->bfhw", sampled, kernel)
    return total
