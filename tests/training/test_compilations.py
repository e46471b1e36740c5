"""Training and evaluating over and over compile each function once; counted by JAX's own events."""

import jax
import numpy as np
import pytest
from tiny import VOCABULARY, make_run, model_config
from tiny_config import get_config

import data_pipelines
from ggnet_jax import models
from ggnet_jax.cli import validation
from ggnet_jax.inference import detection
from ggnet_jax.inference.detector import Detector
from ggnet_jax.training import loop

COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = "/jax/core/compile/jaxpr_trace_duration"


@pytest.fixture
def events():
    """What JAX traces and compiles: (event, name of the function), as it happens."""
    seen = []

    def note(event, duration, **about):
        if event in (COMPILED, TRACED):
            seen.append((event, about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seen
    jax.monitoring.unregister_event_duration_listener(note)


def test_nothing_is_compiled_after_the_first_epoch(events, tmp_path, capsys):
    """Each epoch ends with a batch that is too small to train on, and one filled up to evaluate."""
    config = get_config()
    config.data.data_dir = str(tmp_path / "data")
    config.data.figures.update(num_train=9, num_test=5)  # batches of 2 and of 4
    config.data.image_size = (64, 72)  # for which no other test compiles
    config.num_epochs, config.eval_every_epochs = 4, 1
    epochs = []

    def evaluate(config, workdir, step):
        scores = validation.evaluate_in_training(config, workdir, step, data=data_pipelines)
        epochs.append((step, list(events)))
        events.clear()
        return scores

    result = loop.train(config, tmp_path / "run", data_pipelines, evaluate=evaluate)
    assert result == loop.TrainResult(16, True)
    assert [step for step, _ in epochs] == [4, 8, 12]
    compiled = [function for event, function in epochs[0][1] if event == COMPILED]
    for name in ("train_step", "detect_on_mesh"):
        assert sum(name in function for function in compiled) == 1, compiled
    assert epochs[1][1] == epochs[2][1] == events == []


def test_equal_detectors_are_one():
    """Two runs of one network share what was compiled, and nobody else does."""
    pairs = VOCABULARY.valid_pairs
    model = models.create_model(model_config())
    detect = detection.make_detect(model, top_k=5, valid_pairs=pairs)
    again = models.create_model(model_config())
    assert detection.make_detect(again, top_k=5, valid_pairs=np.array(pairs)) is detect
    assert detection.make_detect(again, top_k=6, valid_pairs=pairs) is not detect
    assert detection.make_detect(again, top_k=5, valid_pairs=~pairs) is not detect
    assert detection.make_detect(again, top_k=5) is not detect
    other = models.create_model(model_config(gaze_steps=1))
    assert detection.make_detect(other, top_k=5, valid_pairs=pairs) is not detect


def test_what_is_compiled_while_weights_are_read_is_used(events, tmp_path):
    """Neither `explain` nor `detect` then trace or compile the network."""
    run = make_run(tmp_path, image_size=(72, 88))  # that no other test has compiled for
    image = np.zeros((40, 60, 3), np.uint8)
    for explained, call in (
        (7, lambda detector: detector.explain(image, top_k=7)),
        (0, lambda detector: detector.detect(image)),
        (1000, lambda detector: detector.explain(image, top_k=1000)),  # more than eval.top_k
    ):
        detector = Detector.load(run, explained=explained)
        assert sum("detect" in function for event, function in events if event == COMPILED) == 1
        events.clear()
        call(detector)
        assert not [function for _, function in events if "detect" in function]
