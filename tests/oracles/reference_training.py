"""One training step of the released networks: its targets in our terms, and all that came out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import reference_weights as reference
from reference_networks import difference

from ggnet_jax.training.targets import Targets

LOSS_NAMES = {
    "hm_loss": "object_heatmap",
    "wh_loss": "box_size",
    "off_loss": "center_offset",
    "hm_rel_loss": "glance",
    "hm_rel_refine_loss": "gaze1",
    "hm_rel_refine_loss1": "gaze1",
    "hm_rel_refine_loss2": "gaze2",
    "sub_offset_loss": "human_offset",
    "obj_offset_loss": "object_offset",
}


def released_targets(arrays: Mapping[str, np.ndarray], per_verb: bool, precision: Any) -> Targets:
    """The released dense targets; a slot's verb is the one whose two channels are switched on."""
    given = {k.removeprefix("target/"): arrays[k] for k in arrays if "target/" in k}
    slots = given["rel_ind"].shape
    verb = given["offset_mask_offset"].argmax(-1) // 2 if per_verb else np.zeros(slots, int)

    def heatmap(name):
        return given[name].transpose(0, 2, 3, 1).astype(precision)

    def offset(name):
        pairs = given[name].reshape(*slots, -1, 2).astype(precision)
        return np.take_along_axis(pairs, verb[..., None, None], axis=2)[:, :, 0]

    return Targets(
        object_heatmap=heatmap("hm"),
        glance_mask=heatmap("hm_rel"),
        gaze_mask=heatmap("hm_rel_hard"),
        box_cell=given["ind"],
        box_size=given["wh"].astype(precision),
        center_offset=given["reg"].astype(precision),
        box_valid=given["reg_mask"].astype(bool),
        relation_cell=given["rel_ind"],
        relation_verb=verb,
        human_offset=offset("sub_offset"),
        object_offset=offset("obj_offset"),
        relation_valid=given["offset_mask"].astype(bool),
    )


def assert_same_step(
    arrays: Mapping[str, np.ndarray],
    *,
    loss: float,
    terms: Mapping[str, float],
    gradients: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    heads: Mapping[str, np.ndarray],
    bound: float,
) -> None:
    """Compare a training step with the released one.

    Args:
        arrays: the fixture `train_...`.
        loss, terms: the total and its terms by our names.
        gradients: of every parameter, by released name and in PyTorch's layout.
        statistics: running statistics after the step, likewise.
        heads: of the last stack, by released name, [B, C, h, w].
        bound: of the gradients, relative to the largest entry.
    """
    names = [n.removeprefix("loss/") for n in arrays if n.startswith("loss/")]
    for name in names:
        ours = loss if name == "loss" else terms[LOSS_NAMES[name]]
        assert ours == pytest.approx(float(arrays[f"loss/{name}"]), rel=1e-5), name
    assert len(names) == len(terms) + 1

    for key in (n for n in arrays if n.startswith("grad/")):
        name = key.removeprefix("grad/")
        values = gradients[name].ravel()
        values = values[:: max(1, len(values) // reference.GRADIENT_ENTRIES)]
        assert difference(values, arrays[key], arrays[f"largest/{name}"]) < bound, name
    norms = dict(zip(str(arrays["parameter_names"]).split("\n"), arrays["grad_norms"], strict=True))
    assert norms.keys() == gradients.keys()
    for name, norm in norms.items():
        assert np.linalg.norm(gradients[name]) == pytest.approx(
            norm, rel=bound, abs=bound * 1e-3 * max(norms.values())
        ), name

    for key in (n for n in arrays if n.startswith("bn/")):
        assert difference(statistics[key.removeprefix("bn/")], arrays[key]) < 1e-5, key
    for head, values in heads.items():
        assert difference(values[..., ::6, ::4], arrays[f"out/1/{head}"]) < 1e-4, head
