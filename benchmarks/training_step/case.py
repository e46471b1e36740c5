"""What is measured: a network, a precision, a size; and the made batch that all train on."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from benchmarks.networks import settings
from ggnet_jax import vocabularies
from ggnet_jax.inference.geometry import OUTPUT_STRIDE
from ggnet_jax.vocabularies import Vocabulary

# The baseline has no deformable convolution, where one operator could decide everything.
NETWORKS = {
    "ggnet": {},
    "baseline": {"gaze_steps": 0, "per_verb_offsets": False},
}
TINY = {"stem_width": 8, "widths": (8, 8), "blocks": (1, 1), "head_width": 8, "act_points": 9}
LEARNING_RATE = 1e-5
SLOTS = {"boxes": 128, "relations": 64}  # as `configs/base.py`; what targets cost depends on it
HUMANS, THINGS, RELATIONS = 3, 5, 6  # of every picture


class Case(NamedTuple):
    """One network at one size.

    Attributes:
      network: a name of `NETWORKS`.
      dtype: of the convolutions.
      size: side of the square input, pixels.
      batch_size: pictures a step.
      tiny: a network of two levels, to see that everything works.
    """

    network: str
    dtype: str
    size: int
    batch_size: int
    tiny: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        return vocabularies.load("hico_det")

    @property
    def model(self) -> SimpleNamespace:
        """`config.model`."""
        changes = NETWORKS[self.network] | (TINY if self.tiny else {})
        return settings("hourglass_104", self.vocabulary, dtype=self.dtype, **changes)

    @property
    def loss(self) -> SimpleNamespace:
        """`config.loss`; PPDM's baseline knows no hard negatives."""
        return SimpleNamespace(
            interaction="focal" if self.network == "baseline" else "hna",
            lambda_1=0.1,
            lambda_2=0.1,
            sharp_gaze_targets=True,
        )

    @property
    def verbs_of_object(self) -> np.ndarray:
        return self.vocabulary.valid_pairs.T

    @property
    def map_size(self) -> tuple[int, int]:
        return (self.size // OUTPUT_STRIDE, self.size // OUTPUT_STRIDE)


def made_batch(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """A training batch of noise, people, things and relations between them; see `BATCH_KEYS`."""
    rng = np.random.default_rng(seed)
    batch, boxes, relations = case.batch_size, SLOTS["boxes"], SLOTS["relations"]
    side = case.map_size[0]
    corner = rng.uniform(0, 0.7 * side, (batch, boxes, 2))
    extent = rng.uniform(0.1 * side, 0.4 * side, (batch, boxes, 2))
    classes = rng.integers(1, case.vocabulary.num_objects, (batch, boxes))
    classes[:, :HUMANS] = 0
    human = rng.integers(0, HUMANS, (batch, relations))
    thing = rng.integers(HUMANS, HUMANS + THINGS, (batch, relations))
    known = case.verbs_of_object[np.take_along_axis(classes, thing, axis=1)]
    verb = (rng.uniform(size=known.shape) * known).argmax(-1)
    return {
        "image": rng.uniform(0, 1, (batch, case.size, case.size, 3)).astype(np.float32),
        "boxes": np.concatenate([corner, corner + extent], axis=-1).astype(np.float32),
        "classes": classes.astype(np.int32),
        "box_valid": np.broadcast_to(np.arange(boxes) < HUMANS + THINGS, (batch, boxes)),
        "relations": np.stack([human, thing, verb], axis=-1).astype(np.int32),
        "relation_valid": np.broadcast_to(np.arange(relations) < RELATIONS, (batch, relations)),
        "example_weight": np.ones(batch, np.float32),
    }
