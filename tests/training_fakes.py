"""A tiny network and made-up pictures, so that a training test takes seconds."""

import numpy as np

from configs import base

NUM_VERBS, NUM_OBJECTS = 3, 4
IMAGE_SIZE = (64, 64)


def tiny_config(**changes):
    """configs/base.py with a network of two levels, changed by dotted names (`__` for the dot)."""
    config = base.get_config()
    config.update(
        batch_size=4, num_epochs=2, learning_rate=1e-3, lr_drop_epochs=(1,), log_every_steps=1
    )
    config.data.update(image_size=IMAGE_SIZE, max_boxes=6, max_relations=5)
    config.model.update(
        stem_width=8, widths=(8, 8), blocks=(1, 1), stacks=1, head_width=8, act_points=9
    )
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
    """A batch of noise with boxes and relations; the pictures in `empty` have no relation."""
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
