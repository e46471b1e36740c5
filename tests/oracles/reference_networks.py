"""The released networks in our terms: their configuration, and our outputs under their names."""

import dataclasses

import numpy as np

from ggnet_jax.config import ModelConfig

GAZE_STEPS = {"hourglassggnet2": 2, "hourglassggnet1": 1}
HOURGLASS_104 = {
    "arch": "hourglassggnet2",
    "pre_dim": 128,
    "dims": (256, 256, 384, 384, 384, 512),
    "modules": (2, 2, 2, 2, 2, 4),
    "nstack": 2,
    "cnv_dim": 256,
    "heads": {"hm": 80, "hm_rel": 117},
}


def model_config(meta: dict, **changes) -> ModelConfig:
    """`config.model` of a released Hourglass network, full-size or small."""
    steps = GAZE_STEPS.get(meta["arch"], 0)
    config = ModelConfig(
        stem_width=meta["pre_dim"],
        widths=tuple(meta["dims"]),
        blocks=tuple(meta["modules"]),
        stacks=meta["nstack"],
        head_width=meta["cnv_dim"],
        num_verbs=meta["heads"]["hm_rel"],
        num_objects=meta["heads"]["hm"],
        gaze_steps=steps,
        per_verb_offsets=steps > 0,
    )
    return dataclasses.replace(config, **changes)


def dla_config(**changes) -> ModelConfig:
    """`config.model` of PPDM's DLA-34 baseline for HICO-DET."""
    meta = HOURGLASS_104 | {"arch": "dla_34", "nstack": 1}
    return model_config(meta, **({"backbone": "dla34"} | changes))


def heads_by_name(outputs) -> dict[str, np.ndarray]:
    """One of our `Outputs` -> the released names and layout, [B, C, h, w]."""
    last_name = "hm_rel" if len(outputs.interaction_logits) == 1 else "hm_rel_refine"
    heads = {
        "hm": outputs.object_logits,
        "wh": outputs.box_size,
        "reg": outputs.center_offset,
        "sub_offset": outputs.human_offset,
        "obj_offset": outputs.object_offset,
        "hm_rel": outputs.interaction_logits[0],
        last_name: outputs.interaction_logits[-1],
    }
    for step, logits in enumerate(outputs.interaction_logits[1:-1], start=1):
        heads[f"hm_rel_refine{step}"] = logits
    flat = {k: np.asarray(v).reshape(*v.shape[:3], -1) for k, v in heads.items()}
    return {k: v.transpose(0, 3, 1, 2) for k, v in flat.items()}


def difference(ours: np.ndarray, theirs: np.ndarray, largest: float | None = None) -> float:
    """Largest absolute difference, relative to the largest entry of the reference."""
    ours, theirs = np.asarray(ours), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    if largest is None:
        largest = np.abs(theirs).max()
    return float(np.abs(ours - theirs).max() / largest)
