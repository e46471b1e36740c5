"""A workdir with a tiny, untrained network, for tests of what is built on one."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np

from ggnet_jax import models
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

MODEL = {
    "backbone": "hourglass",
    "stem_width": 8,
    "widths": (8, 8),
    "blocks": (1, 1),
    "stacks": 1,
    "head_width": 8,
    "num_verbs": 4,
    "num_objects": 3,
    "gaze_steps": 2,
    "act_points": 9,
    "per_verb_offsets": True,
    "share_gaze_features": False,
    "dtype": "float32",
    "remat": False,
}


def model_config(**changes) -> SimpleNamespace:
    """`config.model` of the tiny network."""
    return SimpleNamespace(**(MODEL | changes))


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


def make_run(folder: Path, *, image_size=(64, 96), steps=(7,)) -> Path:
    """Write a run's configuration, classes and a checkpoint of each step, all of other weights."""
    config = {
        "model": MODEL,
        "data": {"image_size": image_size, "eval_split": "test"},
        "eval": {
            "top_k": 60, "batch_size": 2, "detections": "", "protocol": "hico", "threshold": 0.0,
        },
    }  # fmt: skip
    workdir.prepare(folder, config, VOCABULARY.to_dict())
    model = models.create_model(model_config())
    with Checkpoints(folder, keep=len(steps)) as checkpoints:
        for step in steps:
            variables = make_variables(model, image_size, seed=step)
            checkpoints.save(step, variables, {"count": np.zeros(())})
    return folder
