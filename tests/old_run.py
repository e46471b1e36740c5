"""A run that an older revision began: how `fixtures/old_run.zip` was made, and its batches.

Works with that revision and with this one: `fixtures/make_old_run.py` and the test import it.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ARCHIVE = Path(__file__).parent / "fixtures" / "old_run.zip"
EXPECTED = "expected.json"  # in the archive, beside the workdir: what that revision found
WORKDIR = "run"
STEPS_PER_EPOCH = 4
EPOCHS = 30
STEPS = EPOCHS * STEPS_PER_EPOCH  # behind the checkpoint
IMAGE_SIZE = (64, 96)
FOUND = 3  # interactions that are compared
VOCABULARY = {
    "name": "old",
    "objects": ("person", "bicycle", "kite"),
    "object_ids": (1, 2, 38),
    "verbs": ("ride", "push", "fly", "hug"),
    "verb_ids": (3, 5, 8, 9),
    "classes": ((0, 1), (1, 1), (2, 2), (3, 0)),
}


def configure(config: Any, *, num_epochs: int) -> Any:
    """`configs/base.py`'s configuration made tiny."""
    config.update(
        batch_size=2, num_epochs=num_epochs, learning_rate=1e-2, log_every_steps=1,
        checkpoint_every_steps=STEPS_PER_EPOCH, keep_checkpoints=1,
    )  # fmt: skip
    config.data.update(image_size=IMAGE_SIZE, max_boxes=4, max_relations=3)
    config.model.update(
        stem_width=4, widths=(6, 6), blocks=(1, 1), stacks=1, head_width=6, act_points=9
    )
    config.eval.update(batch_size=2, pictures=0)
    return config


class Data:
    """The data set: two batches of noise with a few pairs, one after the other."""

    def __init__(self, vocabulary: Any):
        verbs_of_object = np.ones((3, 4), bool)
        verbs_of_object[0, :3] = False
        self.dataset = SimpleNamespace(
            vocabulary=vocabulary, verbs_of_object=verbs_of_object, num_train=2 * STEPS_PER_EPOCH
        )

    def load_dataset(self, config: Any, **_: Any) -> Any:
        return self.dataset

    def steps_per_epoch(self, dataset: Any, config: Any) -> int:
        return STEPS_PER_EPOCH

    def train_batches(
        self, dataset: Any, config: Any, *, start_step: int = 0, **_: Any
    ) -> Iterator[dict[str, np.ndarray]]:
        step = start_step
        while True:
            step += 1
            yield make_batch(step % 2)


def make_batch(seed: int) -> dict[str, np.ndarray]:
    """Two images with a person and two objects each, by NumPy's frozen legacy generator."""
    rng = np.random.RandomState(seed)
    corner = rng.uniform(0, 10, (2, 4, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 6, corner.shape)], axis=-1)
    pairs = np.stack(
        [np.zeros((2, 3)), rng.randint(1, 3, (2, 3)), rng.randint(0, 4, (2, 3))], axis=-1
    )
    return {
        "image": rng.randint(0, 256, (2, *IMAGE_SIZE, 3)).astype(np.uint8),
        "boxes": boxes.astype(np.float32),
        "classes": np.array([[0, 1, 2, 0]] * 2, np.int32),
        "box_valid": np.array([[True, True, True, False]] * 2),
        "relations": pairs.astype(np.int32),
        "relation_valid": np.array([[True, True, False]] * 2),
        "example_weight": np.ones(2, np.float32),
        "image_id": np.arange(2, dtype=np.int32) + 2 * seed,
    }


def make_image() -> np.ndarray:
    """What the detector is shown: an image that was trained on."""
    return make_batch(0)["image"][0]


def describe(interaction: Any) -> dict[str, Any]:
    """What is compared of an interaction."""
    return {
        "verb": interaction.verb,
        "object": interaction.object,
        "score": float(interaction.score),
        "human_box": [float(x) for x in interaction.human_box],
        "object_box": [float(x) for x in interaction.object_box],
        "act_points": np.asarray(interaction.act_points[-1][0], float).tolist(),
    }
