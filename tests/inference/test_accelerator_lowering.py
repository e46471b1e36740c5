"""Both compiled functions lower for GPUs and TPUs on a machine that has none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from tiny import make_batch, training_config, verbs_of_object

from ggnet_jax.inference import detection
from ggnet_jax.models import create_model
from ggnet_jax.training import loop
from ggnet_jax.training.step import BATCH_KEYS


class NotCompiled:
    """The step as it is, for a test that jits it itself."""

    axis_name = None

    def compile(self, train_step, dtype):
        return train_step


@pytest.fixture(params=["cuda", "tpu"])
def platform(request, monkeypatch):
    """The platform to lower for; operators choose their implementation as if it were there."""
    backend = {"cuda": "gpu"}.get(request.param, request.param)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jax.clear_caches()  # nothing may be used again that was traced for another backend
    yield request.param
    jax.clear_caches()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_step(platform, dtype):
    config = training_config(model__dtype=dtype, model__remat=True)
    parallel: Any = NotCompiled()
    step, make_state = loop.build(config, verbs_of_object(), 10, parallel)
    batch = {name: make_batch(0, 2)[name] for name in BATCH_KEYS}
    exporter = export.export(jax.jit(step, donate_argnums=0), platforms=[platform])
    exported = exporter(jax.eval_shape(make_state), jax.eval_shape(lambda: batch))
    assert exported.platforms == (platform,)
    assert len(exported.mlir_module_serialized) > 10_000


def test_inference(platform):
    model = create_model(training_config().model)
    detect = detection.make_detect(model, top_k=20, valid_pairs=verbs_of_object().T)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), np.uint8)
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
    )
    exported = export.export(detect, platforms=[platform])(variables, images)
    assert exported.platforms == (platform,)
