"""A tiny network, its workdir and batches of noise, so that a test takes seconds.

`tiny_config.py` is a configuration for --config; it trains on the rendered data set.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from configs import base
from ggnet_jax import models
from ggnet_jax.config import ModelConfig
from ggnet_jax.run_dir import folder as workdir
from ggnet_jax.run_dir.checkpoints import Checkpoints
from ggnet_jax.vocabularies import Vocabulary

VOCABULARY = Vocabulary(
    name="tiny",
    objects=("person", "bicycle", "kite"),
    object_ids=(1, 2, 38),
    verbs=("ride", "push", "fly", "hug"),
    verb_ids=(3, 5, 8, 9),
    classes=((0, 1), (1, 1), (2, 2), (3, 0)),
)

MODEL = ModelConfig(
    stem_width=8,
    widths=(8, 8),
    blocks=(1, 1),
    stacks=1,
    head_width=8,
    num_verbs=VOCABULARY.num_verbs,
    num_objects=VOCABULARY.num_objects,
    act_points=9,
)


def model_config(**changes) -> ModelConfig:
    """The tiny network, with some fields changed."""
    return dataclasses.replace(MODEL, **changes)


def make_variables(model, image_size=(64, 64), seed=0):
    """Random weights whose ActPoints move, unlike those that training starts from.

    Only the shapes come from the network: compiling its initialisation would take seconds.
    """
    images = np.zeros((1, *image_size, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        name = path[-1].key
        if path[0].key == "batch_stats":
            return np.full(leaf.shape, float(name == "var"), np.float32)
        fan_in = max(1, int(np.prod(leaf.shape[:-1])))
        spread = 0.1 if len(leaf.shape) == 1 else fan_in**-0.5
        values = rng.standard_normal(leaf.shape) * spread + float(name == "scale")
        return values.astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def make_run(
    folder: Path, *, image_size=(64, 96), steps=(7,), vocabulary: Vocabulary = VOCABULARY
) -> Path:
    """Write a run's configuration, classes and a checkpoint of each step, all of other weights."""
    config = {
        "model": MODEL.to_fields(),
        "data": {"image_size": image_size, "eval_split": "test"},
        "eval": {
            "top_k": 60, "batch_size": 2, "detections": "", "protocol": "hico", "threshold": 0.0,
        },
    }  # fmt: skip
    workdir.prepare(folder, config, vocabulary.to_dict())
    model = models.create_model(MODEL)
    with Checkpoints(folder, keep=len(steps)) as checkpoints:
        for step in steps:
            variables = make_variables(model, image_size, seed=step)
            checkpoints.save(step, variables, {"count": np.zeros(())})
    return folder


# Of the batches of noise.
NUM_VERBS, NUM_OBJECTS = 3, 4
IMAGE_SIZE = (64, 64)


def training_config(**changes):
    """configs/base.py with a network of two levels, changed by dotted names (`__` for the dot)."""
    config = base.get_config()
    config.update(
        batch_size=4, num_epochs=2, learning_rate=1e-3, lr_drop_epochs=(1,), log_every_steps=1
    )
    config.data.update(image_size=IMAGE_SIZE, max_boxes=6, max_relations=5)
    config.model.update(MODEL.to_fields())
    config.model.update(num_verbs=NUM_VERBS, num_objects=NUM_OBJECTS)
    for name, value in changes.items():
        place = config
        *folders, field = name.split("__")
        for folder in folders:
            place = place[folder]
        place[field] = value
    return config


def verbs_of_object() -> np.ndarray:
    """[O, V]: nobody does anything to a person, most verbs go with most objects."""
    seen = np.ones((NUM_OBJECTS, NUM_VERBS), bool)
    seen[0] = False
    seen[3, 1] = False
    return seen


def make_batch(seed: int, size: int, *, empty: tuple[int, ...] = (), dtype=np.float32) -> dict:
    """A batch of noise with boxes and relations; the images in `empty` have no relation."""
    rng = np.random.default_rng(seed)
    boxes, relations = 6, 5
    corner = rng.uniform(0, 10, (size, boxes, 2))
    classes = rng.integers(1, NUM_OBJECTS, (size, boxes))
    classes[:, :2] = 0
    used = rng.integers(3, boxes + 1, (size, 1))
    pairs = np.stack(
        [
            rng.integers(0, 2, (size, relations)),
            rng.integers(2, used, (size, relations)),
            rng.integers(0, NUM_VERBS, (size, relations)),
        ],
        axis=-1,
    )
    relation_valid = np.arange(relations) < rng.integers(1, relations + 1, (size, 1))
    relation_valid[list(empty)] = False
    return {
        "image": rng.uniform(0, 1, (size, *IMAGE_SIZE, 3)).astype(dtype),
        "boxes": np.concatenate([corner, corner + rng.uniform(2, 7, corner.shape)], -1).astype(
            dtype
        ),
        "classes": classes.astype(np.int32),
        "box_valid": np.arange(boxes) < used,
        "relations": pairs.astype(np.int32),
        "relation_valid": relation_valid,
        "example_weight": np.ones(size, dtype),
        "image_id": np.arange(size, dtype=np.int32),
        "size": np.full((size, 2), 64, np.int32),
    }


def exact_batch(step: int, size: int) -> dict:
    """A batch whose images have so few bits that their sum is exact, in any order."""
    batch = make_batch(step, size)
    batch["image"] = np.round(batch["image"] * 256) / 256
    return batch
