"""A toy in the network's place, for tests of the training loop."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import exact_batch, verbs_of_object

import data_pipelines
from ggnet_jax.training import loop
from ggnet_jax.training.state import TrainState
from ggnet_jax.vocabularies import Vocabulary

VOCABULARY = Vocabulary(
    name="toy",
    objects=("person", "bicycle", "kite", "cup"),
    object_ids=(1, 2, 38, 47),
    verbs=("ride", "push", "fly"),
    verb_ids=(1, 2, 3),
    classes=((0, 1), (1, 1), (2, 2)),
)
NUM_TRAIN = 21  # five steps of four images an epoch


@pytest.fixture
def toy(monkeypatch):
    """Replace data set and network; returns what the test may change and look at.

    The toy's state is a running sum of means of images: order and number of batches show in it.
    """
    seen = SimpleNamespace(batches=[], bad_step=None, at_step=lambda step: None)

    def load_dataset(config):
        return SimpleNamespace(
            vocabulary=VOCABULARY,
            verbs_of_object=verbs_of_object(),
            num_train=NUM_TRAIN,
            train_split="train",
        )

    def train_batches(dataset, config, *, start_step=0, process_index=0, process_count=1):
        step = start_step
        while True:
            step += 1
            seen.batches.append(step)
            seen.at_step(step)
            batch = exact_batch(step, config.batch_size)
            batch["image_id"] = np.arange(4, dtype=np.int32) + 100 * step
            if step == seen.bad_step:
                batch["image"][1, 2, 3] = np.nan
            yield batch

    def build(config, verbs, steps_per_epoch, parallel):
        def make_state():
            zero = jnp.zeros(())
            return TrainState(jnp.zeros((), jnp.int32), {"w": zero}, {"m": zero}, {"a": zero})

        def step(state, batch):
            mean = batch["image"].mean()
            params = {"w": state.params["w"] * 0.9 + mean}
            metrics = {"loss": mean, "finite": jnp.isfinite(mean)}
            return dataclasses.replace(state, step=state.step + 1, params=params), metrics

        return parallel.compile(step), make_state

    monkeypatch.setattr(loop, "build", build)
    seen.data = SimpleNamespace(
        load_dataset=load_dataset,
        train_batches=train_batches,
        steps_per_epoch=data_pipelines.steps_per_epoch,
    )
    return seen
