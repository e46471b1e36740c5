"""The whole model overfits to two images: targets, losses, gradients and decoding agree."""

import jax
import numpy as np
import optax
from tiny import training_config

from data_pipelines.figures_hoi import scenes
from ggnet_jax.inference.decoding import decode
from ggnet_jax.models import create_model
from ggnet_jax.ops.normalize import normalize_images
from ggnet_jax.training.state import create_state
from ggnet_jax.training.step import make_train_step

SIZE = 64
STEPS = 150


def overlap(a, b):
    """IoU of two boxes (x1, y1, x2, y2)."""
    width, height = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    areas = (box[2:] - box[:2] for box in (a, b))
    return width * height / (sum(w * h for w, h in areas) - width * height)


def rendered_batch(indices):
    """Images of the rendered data set with their annotation in map cells, by hand."""
    vocabulary = scenes.vocabulary()
    batch = {
        "image": np.zeros((len(indices), SIZE, SIZE, 3), np.uint8),
        "boxes": np.zeros((len(indices), 8, 4), np.float32),
        "classes": np.zeros((len(indices), 8), np.int32),
        "box_valid": np.zeros((len(indices), 8), bool),
        "relations": np.zeros((len(indices), 6, 3), np.int32),
        "relation_valid": np.zeros((len(indices), 6), bool),
        "example_weight": np.ones(len(indices), np.float32),
    }
    for row, index in enumerate(indices):
        scene = scenes.compose(0, "train", index)
        entry = scenes.entry(scene, "train", index, SIZE)
        batch["image"][row] = np.asarray(scenes.render(scene, SIZE))
        for i, one in enumerate(entry["annotations"]):
            batch["boxes"][row, i] = np.array(one["bbox"]) / 4
            batch["classes"][row, i] = vocabulary.object_index(one["category_id"])
            batch["box_valid"][row, i] = True
        for i, one in enumerate(entry["hoi_annotation"]):
            verb = vocabulary.verb_index(one["category_id"])
            batch["relations"][row, i] = one["subject_id"], one["object_id"], verb
            batch["relation_valid"][row, i] = True
    return batch, vocabulary


def test_overfits_to_two_images():
    batch, vocabulary = rendered_batch([2, 3])
    config = training_config(
        model__stem_width=16, model__widths=(24, 24), model__head_width=24,
        model__num_verbs=vocabulary.num_verbs, model__num_objects=vocabulary.num_objects,
    )  # fmt: skip
    model = create_model(config.model)
    schedule = optax.constant_schedule(3e-3)
    optimizer = optax.adam(schedule)
    state = jax.jit(lambda: create_state(model, optimizer, (SIZE, SIZE), 0))()
    pairs = vocabulary.valid_pairs
    step = jax.jit(make_train_step(model, optimizer, schedule, config.loss, pairs.T))
    for _ in range(STEPS):
        state, metrics = step(state, batch)
    assert metrics["finite"]

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = jax.jit(
        lambda v, x: decode(model.apply(v, normalize_images(x))[-1], valid_pairs=pairs)
    )(variables, batch["image"])
    annotated = 0
    for row in range(2):
        count = int(batch["relation_valid"][row].sum())
        annotated += count
        for human, obj, verb in batch["relations"][row, :count]:
            matches = [
                overlap(np.asarray(found.human_box[row, i]), batch["boxes"][row, human]) > 0.5
                and overlap(np.asarray(found.object_box[row, i]), batch["boxes"][row, obj]) > 0.5
                and int(found.verb[row, i]) == verb
                for i in range(count + 2)
                if found.valid[row, i]
            ]
            assert any(matches), (row, human, obj, verb)
    assert annotated >= 4
