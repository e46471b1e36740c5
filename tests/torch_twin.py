"""The networks once more, written with PyTorch straight from a state dict: slow and obvious.

`test_parity_twin.py` holds it against the released code's numbers first, and then uses it for what
was never released: inputs that are not square, GGNet's heads on DLA-34.
"""

import torch
from torch.nn import functional as F


class Twin:
    """Evaluation mode. `weights`: tensors under the released names."""

    def __init__(self, weights):
        self.weights = {name: torch.as_tensor(value) for name, value in weights.items()}

    def has(self, name):
        return f"{name}.weight" in self.weights

    def conv(self, x, name, stride=1):
        weight = self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def norm(self, x, name):
        mean, var, weight, bias = (
            self.weights[f"{name}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def deform_conv(self, x, name, offsets_from, offset=0):
        """Sampled point by point of the kernel; returns the result and the summed offsets."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        side, taps = weight.shape[-1], weight.shape[-1] ** 2
        predicted = self.conv(offsets_from, f"{name}.conv_offset_mask")
        offset = offset + predicted[:, : 2 * taps]
        mask = torch.sigmoid(predicted[:, 2 * taps :])
        height, width = x.shape[2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        total = bias[None, :, None, None]
        for tap in range(taps):
            y = rows + tap // side - side // 2 + offset[:, 2 * tap]
            x_ = columns + tap % side - side // 2 + offset[:, 2 * tap + 1]
            # grid_sample wants the centres of the corner pixels at -1 and 1.
            grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
            sampled = F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)
            sampled = sampled * mask[:, tap, None]
            kernel = weight[:, :, tap // side, tap % side]
            total = total + torch.einsum("bchw,fc->bfhw", sampled, kernel)
        return total, offset

    def residual(self, x, name, stride=1):
        y = torch.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = self.norm(self.conv(y, f"{name}.conv2"), f"{name}.bn2")
        if self.has(f"{name}.skip.0"):
            x = self.norm(self.conv(x, f"{name}.skip.0", stride), f"{name}.skip.1")
        return torch.relu(x + y)

    def residuals(self, x, name, stride=1):
        block = 0
        while self.has(f"{name}.{block}.conv1"):
            x = self.residual(x, f"{name}.{block}", stride if block == 0 else 1)
            block += 1
        return x

    def hourglass(self, x, name):
        upper = self.residuals(x, f"{name}.up1")
        lower = self.residuals(x, f"{name}.low1", stride=2)
        deeper = self.has(f"{name}.low2.up1.0.conv1")
        lower = (self.hourglass if deeper else self.residuals)(lower, f"{name}.low2")
        lower = self.residuals(lower, f"{name}.low3")
        return upper + F.interpolate(lower, scale_factor=2, mode="nearest")

    def stacked_hourglass(self, image):
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

    def tree(self, x, name, stride, keep_input, children=()):
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

    def aggregate(self, maps, name):
        maps = list(maps)

        def deformable(x, name):
            y, _ = self.deform_conv(x, f"{name}.conv", x)
            return torch.relu(self.norm(y, f"{name}.actf.0"))

        for i in range(1, len(maps)):
            y = deformable(maps[i], f"{name}.proj_{i}")
            kernel = self.weights[f"{name}.up_{i}.weight"]
            factor = kernel.shape[-1] // 2
            y = F.conv_transpose2d(
                y, kernel, stride=factor, padding=factor // 2, groups=kernel.shape[0]
            )
            maps[i] = deformable(y + maps[i - 1], f"{name}.node_{i}")
        return maps

    def dla(self, image):
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

    def heads(self, feature, stack, steps):
        """Heads of one stack by their released names; the ReLU feature of `hm_rel` feeds APM."""
        hourglass = self.has("pre.0.conv")

        def layer(head, number):
            if hourglass:
                return f"{head}.{stack}.{number}" + (".conv" if number == 0 else "")
            return f"{head}.{2 * number}"

        def hidden(head, x):
            return torch.relu(self.conv(x, layer(head, 0)))

        def head(name, x):
            return self.conv(hidden(name, x), layer(name, 1))

        glance = hidden("hm_rel", feature)
        matching = glance if steps else feature
        outputs = {name: head(name, feature) for name in ("hm", "wh", "reg")}
        outputs |= {name: head(name, matching) for name in ("sub_offset", "obj_offset")}
        outputs["hm_rel"] = self.conv(glance, layer("hm_rel", 1))
        gaze, offset = glance, 0
        for step in range(1, steps + 1):
            number = "" if steps == 1 else str(step)
            sampled = torch.relu(self.conv(feature, f"hm_dcn{number}.{stack}.conv"))
            gaze, offset = self.deform_conv(sampled, f"refine_dcn{number}.{stack}", gaze, offset)
            gaze = torch.relu(gaze)
            name = f"refine_head{number}.{stack}"
            if step < steps:
                outputs[f"hm_rel_refine{step}"] = self.conv(gaze, f"{name}.0")
            else:
                outputs["hm_rel_refine"] = self.conv(
                    torch.relu(self.conv(gaze, f"{name}.0.conv")), f"{name}.1"
                )
        return outputs

    @torch.no_grad()
    def __call__(self, image, steps):
        """Image [B, 3, H, W] (B, G, R) -> for every stack the head outputs by name."""
        image = torch.as_tensor(image)
        backbone = self.stacked_hourglass if self.has("pre.0.conv") else self.dla
        return [self.heads(f, stack, steps) for stack, f in enumerate(backbone(image))]
