"""The training loss in plain PyTorch, on targets drawn before: paper eq. (4)-(7)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ggnet_loss(
    stacks: Sequence[Mapping[str, Tensor]],
    targets: Mapping[str, Tensor],
    *,
    lambda_1: float = 0.1,
    lambda_2: float = 0.1,
    interaction: str = "hna",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and every term.

    Args:
        stacks: what `TorchGGNet` returns.
        targets: the fields of `ggnet_jax.training.targets.Targets`, maps channels last.
        lambda_1: weight of all interaction predictions but the last, and of the matching losses.
        lambda_2: weight of the box size.
        interaction: 'hna', or 'focal' for the baseline.

    Returns:
        (total, terms), the terms under ggnet_jax's names: means over the stacks, sums for matching.
    """
    terms = {}
    for outputs in stacks:
        for name, value in _stack_terms(outputs, targets, interaction).items():
            share = value if name in ("human_offset", "object_offset") else value / len(stacks)
            terms[name] = terms[name] + share if name in terms else share
    *earlier, last = [name for name in terms if name == "glance" or name.startswith("gaze")]
    secondary = [*earlier, "human_offset", "object_offset"]
    total = (
        terms[last]
        + lambda_1 * sum(terms[name] for name in secondary)
        + terms["object_heatmap"]
        + lambda_2 * terms["box_size"]
        + terms["center_offset"]
    )
    return total, terms


def _stack_terms(outputs, targets, interaction) -> dict[str, Tensor]:
    def verbs(logits, mask_map):
        return heatmap_loss(logits, mask_map if interaction == "hna" else mask_map.clamp(min=0))

    def boxes(name, target):
        prediction = at_cells(outputs[name], targets["box_cell"])
        return masked_l1(prediction, targets[target], targets["box_valid"])

    def matching(name, target):
        prediction = at_cells(outputs[name], targets["relation_cell"]).unflatten(-1, (-1, 2))
        verb = targets["relation_verb"]
        verb = verb if prediction.shape[2] > 1 else torch.zeros_like(verb)
        prediction = prediction.take_along_dim(verb[..., None, None].long(), 2)[:, :, 0]
        return masked_l1(prediction, targets[target], targets["relation_valid"])

    glance, *gazes = [logits for name, logits in outputs.items() if name.startswith("hm_rel")]
    return {
        "object_heatmap": heatmap_loss(outputs["hm"], targets["object_heatmap"]),
        "box_size": boxes("wh", "box_size"),
        "center_offset": boxes("reg", "center_offset"),
        "glance": verbs(glance, targets["glance_mask"]),
        **{f"gaze{i}": verbs(gaze, targets["gaze_mask"]) for i, gaze in enumerate(gazes, start=1)},
        "human_offset": matching("sub_offset", "human_offset"),
        "object_offset": matching("obj_offset", "object_offset"),
    }


def heatmap_loss(logits: Tensor, mask_map: Tensor) -> Tensor:
    """Eq. (4), which without hard negatives is CornerNet's focal loss.

    Args:
        logits: [B, C, h, w].
        mask_map: M in [-1, 1], [B, h, w, C].
    """
    mask_map = mask_map.permute(0, 3, 1, 2)
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    p, not_p = log_p.exp(), log_not_p.exp()
    positive = mask_map == 1
    penalty = torch.where(mask_map == -1, (1 - mask_map) ** 7, (1 - mask_map) ** 4)
    loss = -torch.where(positive, not_p**2 * log_p, penalty * p**2 * log_not_p)
    return loss.sum() / positive.sum().clamp(min=1)


def masked_l1(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of [B, M, D] over the coordinates of the valid slots [B, M]."""
    difference = torch.where(valid[..., None], prediction - target, 0)
    return difference.abs().sum() / (valid.sum() * prediction.shape[-1] + 1e-4)


def at_cells(maps: Tensor, cell: Tensor) -> Tensor:
    """Maps [B, C, h, w] at flat cells [B, M] -> [B, M, C]."""
    flat = maps.permute(0, 2, 3, 1).flatten(1, 2)
    return flat.gather(1, cell[..., None].long().expand(-1, -1, flat.shape[-1]))
