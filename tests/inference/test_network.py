"""Network: compiled once whoever asks, its weights as the compiled functions read them."""

import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import VOCABULARY, make_variables, model_config

from configs import base
from ggnet_jax import models
from ggnet_jax.inference import detection
from ggnet_jax.inference.network import Network, pack, read_as, unpack
from ggnet_jax.ops import cpu_options

SIZE = (64, 96)


def trained(dtype="float32") -> detection.Trained:
    config = base.get_config()
    config.data.image_size = SIZE
    config.eval.top_k = 60
    model = models.create_model(model_config(dtype=dtype))
    return detection.Trained(config, VOCABULARY, model, make_variables(model, SIZE, seed=7), 7)


IMAGES = np.random.default_rng(1).integers(0, 256, (1, *SIZE, 3), np.uint8)


def conversions(compiled) -> int:
    """Conversions of a kernel [h, w, C, F] to bfloat16 in a compiled program."""
    return len(re.findall(r"bf16\[\d+,\d+,\d+,\d+\]\S* convert\(%?param", compiled.as_text()))


@pytest.mark.parametrize("packed", [False, True])
def test_weights_are_cast_once_and_change_no_bit(packed, monkeypatch):
    # With options a program that casts is another one for oneDNN, and rounds elsewhere.
    monkeypatch.setattr(cpu_options, "_has_amx", lambda: False)
    coarse = trained("bfloat16")
    plain = detection.make_detect(coarse.model, top_k=60, valid_pairs=VOCABULARY.valid_pairs)
    plain = plain.lower(coarse.variables, IMAGES).compile()
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), coarse.variables)
    network = Network(coarse._replace(variables=shapes), packed=packed)
    network.compile(1)  # before the weights are there
    network.put(coarse.variables)
    got, want = jax.device_get((network(IMAGES), plain(coarse.variables, IMAGES)))
    assert want.detections.valid.any()
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert (len(jax.tree.leaves(network._variables)) < 50) == packed
    cast = sum(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(network._variables))
    assert cast > 10
    assert conversions(plain) - conversions(network.compile(1)) == cast
    # Another function reads the same arrays.
    more = jax.device_get(network(IMAGES, heatmaps=2))
    np.testing.assert_allclose(more.detections.score, want.detections.score, rtol=1e-2)


def test_options_for_cpus_round_and_no_more(monkeypatch):
    """Scores by oneDNN's convolutions, beside XLA's own."""
    if not cpu_options.compiler_options("bfloat16", jax.devices()[0].platform):
        pytest.skip("no CPU with AMX, or JAX is older than 0.11")
    coarse = trained("bfloat16")
    network = Network(coarse)
    got = jax.device_get(network(IMAGES)).detections.score
    assert "onednn$convolution" in str(network.compile(1).as_text())
    monkeypatch.setattr(cpu_options, "_has_amx", lambda: False)
    network = Network(coarse)
    want = jax.device_get(network(IMAGES)).detections.score
    assert "onednn" not in str(network.compile(1).as_text())
    assert want.max() > 0.1
    np.testing.assert_allclose(got, want, rtol=2e-2)


def test_a_packed_tree_comes_back_as_it_was():
    """In the order of its leaves; arrays of one axis and another dtype are no vectors."""
    rng = np.random.default_rng(0)
    bias, scale = rng.normal(size=3).astype(np.float32), rng.normal(size=5).astype(np.float32)
    kernel = rng.normal(size=(2, 3)).astype(np.float32)
    tree = {
        "a": {"bias": bias, "kernel": kernel, "steps": np.arange(4, dtype=np.int32)},
        "z": scale,
    }
    packed = pack(tree)
    np.testing.assert_array_equal(packed.vectors, [*bias, *scale])
    assert [leaf.shape for leaf in packed.others] == [(2, 3), (4,)]
    jax.tree.map(np.testing.assert_array_equal, unpack(packed, tree), tree)
    without = {"kernel": kernel}
    jax.tree.map(np.testing.assert_array_equal, unpack(pack(without), without), without)


def test_only_what_is_always_converted_is_cast():
    def function(weights, x):
        x = x * weights["scale"]
        x = jax.jit(lambda x, w: x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16))(x, weights["a"])
        y = jax.checkpoint(lambda x, w: x @ w.astype(jnp.bfloat16))(x, weights["b"])
        once, twice = weights["both"].astype(jnp.bfloat16), weights["both"].astype(jnp.float16)
        half = jax.lax.cond(x[0, 0] > 0, lambda w: w.astype(jnp.bfloat16), jnp.zeros_like, once)
        given = weights["given"].astype(jnp.bfloat16)
        return x, y, half, twice, given, weights["given"]

    square = jax.ShapeDtypeStruct((2, 2), jnp.float32)
    weights = dict.fromkeys(("scale", "a", "b", "both", "given", "unused"), square)
    program = jax.make_jaxpr(function)(weights, square).jaxpr
    dtypes = {name: shape.dtype for name, shape in read_as(program, weights).items()}
    assert dtypes == {
        "scale": jnp.float32,
        "a": jnp.bfloat16,
        "b": jnp.bfloat16,
        "both": jnp.float32,
        "given": jnp.float32,
        "unused": jnp.float32,
    }


def test_threads_that_come_at_once_compile_once(monkeypatch):
    made = []
    real = detection.detect_function

    def noted(*arguments, **options):
        made.append(options["heatmaps"])
        return real(*arguments, **options)

    monkeypatch.setattr(detection, "detect_function", noted)
    network = Network(trained())
    start, found = threading.Barrier(4), {}

    def call(number):
        start.wait(10)
        found[number] = jax.device_get(network(IMAGES))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0] and len(found) == 4
    for one in found.values():
        jax.tree.map(np.testing.assert_array_equal, one, found[0])
