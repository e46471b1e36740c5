"""The benchmark of the training step: that it runs, what it counts, and that both sides agree."""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks.training_step import flops
from benchmarks.training_step.__main__ import main
from benchmarks.training_step.case import Case
from ggnet_jax.models import create_model

ONLY_OURS = ("--tiny", "--networks=ggnet", "--frameworks=ours", "--repeats=1")


def test_command_on_a_tiny_network(tmp_path, capsys):
    output = tmp_path / "step.json"
    assert main([*ONLY_OURS, "--size=64", "--steps=2", f"--output={output}"]) == 0
    content = json.loads(output.read_text())
    (row,) = content["rows"]
    assert row["images_per_second"] == pytest.approx(1 / row["seconds"]["median"])
    assert row["flops"] > 0 and row["matmul_seconds"]["median"] > 0
    assert row["last_loss"] < row["first_loss"]
    printed = capsys.readouterr().out
    assert "Target drawing takes" in printed and "| ours |" in printed


def test_a_size_that_cannot_be_is_a_line_of_the_table(capsys):
    assert main([*ONLY_OURS, "--size=60"]) == 1
    assert "divisible by 8, got 60 x 60" in capsys.readouterr().out


def test_operations_are_counted_as_often_as_they_run():
    """Against counts by hand: a loop's body as often as it runs, and inside a custom gradient."""
    kernel = jnp.ones((3, 3, 5, 7))

    def convolve(x):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "VALID", dimension_numbers=numbers)

    assert flops.count(convolve, jnp.ones((2, 11, 9, 5))) == 2 * (2 * 5 * 4 * 7) * (3 * 3 * 5)

    @jax.custom_vjp
    def product(a):
        return a @ jnp.ones((4, 6))

    product.defvjp(lambda a: (product(a), None), lambda _, g: (g @ jnp.ones((6, 4)),))
    assert (
        flops.count(lambda a: jax.lax.map(product, a), jnp.ones((10, 3, 4))) == 10 * 2 * 3 * 4 * 6
    )


def test_the_whole_network_is_counted():
    """Where nothing loops XLA counts the same, and the additions and norms besides."""
    case = Case("baseline", "float32", 128, 1, tiny=True)
    model = create_model(case.model)
    images = jnp.zeros((1, case.size, case.size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    ours = flops.count(model.apply, variables, images)
    xla = jax.jit(model.apply).lower(variables, images).cost_analysis()["flops"]
    assert 0.9 < ours / xla < 1.1


@pytest.mark.parametrize("network", ["ggnet", "baseline"])
def test_both_frameworks_take_the_same_steps(network):
    """Loss of the same batch, and after three updates of all weights and running statistics."""
    pytest.importorskip("torch", reason="PyTorch is an optional install: pip install torch")
    from benchmarks.training_step import mirror, ours

    case = Case(network, "float32", 64, 2, tiny=True)
    losses = []
    for framework in (ours, mirror):
        work = framework.build(case)
        work.calls["step"](3)
        losses.append((work.facts["first_loss"], work.closing()["last_loss"]))
    (first, last), (their_first, their_last) = losses
    assert first == pytest.approx(their_first, rel=1e-5)
    assert last - first == pytest.approx(their_last - their_first, rel=1e-2)
    assert last < first
