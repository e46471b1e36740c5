"""The compiled detector: what it computes, what it does not, and streams of batches."""

import json

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import IMAGE_SIZE, VOCABULARY, make_run, make_variables, model_config

from ggnet_jax import models
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.ops import normalize_images


@pytest.fixture(scope="module")
def tiny():
    model = models.create_model(model_config())
    images = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    variables = make_variables(model, (64, 96), seed=7)
    detect = detection.make_detect(model, top_k=60, valid_pairs=VOCABULARY.valid_pairs, heatmaps=3)
    return model, variables, images, detect


def test_act_points_and_targets_are_those_of_the_interaction_cell(tiny):
    model, variables, images, detect = tiny
    found = jax.device_get(detect(variables, images))
    last = jax.device_get(
        jax.jit(model.apply)(variables, normalize_images(jnp.asarray(images)))[-1]
    )
    assert found.detections.valid.any()
    assert len(found.act_points) == 2 and found.heatmaps.shape == (2, 3, 3, 16, 24)
    for image in range(2):
        for slot in range(60):
            y, x = divmod(int(found.detections.interaction_cell[image, slot]), 24)
            verb = found.detections.verb[image, slot]
            np.testing.assert_array_equal(found.interaction_point[image, slot], (x, y))
            for got, want in zip(found.act_points, last.act_points, strict=True):
                np.testing.assert_allclose(
                    got.position[image, slot], want.position[image, y, x] + (x, y), atol=1e-4
                )
                np.testing.assert_allclose(
                    got.weight[image, slot], want.weight[image, y, x], atol=1e-5
                )
            np.testing.assert_allclose(
                found.human_target[image, slot],
                (x, y) - last.human_offset[image, y, x, verb],
                atol=1e-4,
            )
            np.testing.assert_allclose(
                found.object_target[image, slot],
                (x, y) - last.object_offset[image, y, x, verb],
                atol=1e-4,
            )
            if slot < 3:
                for step, logits in enumerate(last.interaction_logits):
                    np.testing.assert_allclose(
                        found.heatmaps[image, slot, step],
                        1 / (1 + np.exp(-logits[image, ..., verb].astype(np.float64))),
                        atol=1e-5,
                    )


def flops(function, *arguments) -> float:
    """What the compiler says a jitted function computes."""
    return function.lower(*arguments).compile().cost_analysis()["flops"]


def test_heads_that_only_train_are_not_computed():
    """The compiled detector lacks the first stack's heads and the earlier classifiers.

    With 400 verbs the classifiers weigh so much that each one left out shows in the count.
    """
    verbs, width, cells = 400, 8, 16 * 16
    classifier = 2 * cells * width * verbs  # one 1x1 convolution
    model = models.create_model(model_config(num_verbs=verbs, stacks=2))
    images = jnp.zeros((1, 64, 64, 3), jnp.uint8)
    normalized = normalize_images(images)
    variables = jax.eval_shape(model.init, jax.random.key(0), normalized)
    everything = flops(jax.jit(model.apply), variables, normalized)
    detecting = flops(detection.make_detect(model, top_k=5), variables, images)
    explaining = flops(detection.make_detect(model, top_k=5, heatmaps=2), variables, images)
    # Not computed: the first stack's three classifiers, its two matching regressors of 2V channels
    # each (four classifiers' worth), and the glance's and first gaze step's classifiers.
    assert everything - detecting > 9 * classifier
    # Drawings with heatmaps need the two classifiers of the last stack back, and nothing more.
    assert 2 * classifier < explaining - detecting < 3 * classifier


def test_stream_gives_every_batch_in_order_and_equals_single_calls(tiny):
    model, variables, images, single = tiny
    mesh = detection.local_mesh(2 * len(jax.local_devices()))
    given = np.resize(images, (2 * mesh.size, *images.shape[1:]))
    detect = detection.make_detect(model, top_k=60, valid_pairs=VOCABULARY.valid_pairs, mesh=mesh)
    batches = [{"image": given, "image_id": np.array([k])} for k in range(3)]
    batches[1]["image"] = given[::-1]
    results = list(detection.detect_batches(detect, variables, iter(batches), mesh=mesh))
    assert [int(batch["image_id"][0]) for batch, _ in results] == [0, 1, 2]
    for batch, found in results:
        want = jax.device_get(single(variables, batch["image"]))
        np.testing.assert_allclose(found.detections.score, want.detections.score, rtol=1e-4)
        assert found.heatmaps is None


def test_a_batch_that_is_not_divisible_by_the_devices_is_refused():
    with pytest.raises(UserError, match="batch of 0 images"):
        detection.local_mesh(0)


def test_weights_of_another_network_are_one_line(tmp_path):
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["model"]["head_width"] += 8
    (run / "config.json").write_text(json.dumps(config))
    trained = detection.load(run)
    images = np.zeros((1, *IMAGE_SIZE, 3), np.uint8)
    with pytest.raises(UserError, match=r"the run's config.json describes: .*Restore") as caught:
        detection.make_detect(trained.model)(trained.variables, images)
    assert "\n" not in str(caught.value)


def test_lowers_for_a_tpu_where_there_is_none(tiny):
    _, variables, images, detect = tiny
    exported = jax.export.export(detect, platforms=["tpu"])(variables, images)
    assert exported.platforms == ("tpu",)


def test_stream_of_nothing_gives_nothing(tiny):
    model, variables, _, _ = tiny
    mesh = detection.local_mesh(len(jax.local_devices()))
    detect = detection.make_detect(model, mesh=mesh)
    assert list(detection.detect_batches(detect, variables, iter(()), mesh=mesh)) == []
