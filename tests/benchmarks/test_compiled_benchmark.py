"""What is read off compiled programs, against programs that are known."""

import os
import sys

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import topologies

from benchmarks.compiled import text
from benchmarks.compiled.__main__ import describe, main

# As XLA writes for a TPU: how often a loop runs is only in what its condition compares with.
TPU_PROGRAM = """
%body.1 (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0:T(128)}) parameter(0)
  %step.2 = f32[8]{0} fusion(%p), kind=kLoop, backend_config={"estimated_cycles":"100"}
  ROOT %next = (s32[], f32[8]) tuple(%p, %step.2)
}

%condition.1 (q: (s32[], f32[8])) -> pred[] {
  %constant.9 = s32[]{:T(128)} constant(13)
  %q = (s32[], f32[8]{0:T(128)}) parameter(0)
  ROOT %lt = pred[] compare(%q, %constant.9), direction=LT
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %sum.1 = (f32[4,8]{1,0}, f32[]) all-reduce-start(%x, %x), to_apply=%add
  %sum.2 = (f32[4,8]{1,0}, f32[]) all-reduce-done(%sum.1)
  %copy.1 = f32[8]{0} copy(%x), backend_config={"estimated_cycles":"7"}
  %loop = (s32[], f32[8]) while(%copy.1), condition=%condition.1, body=%body.1
  ROOT %out = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


def test_loops_count_as_often_as_they_run():
    program = text.instructions(TPU_PROGRAM)
    assert text.kernels(program) == 1 + 1 + 13  # all-reduce, copy, the loop's fusion
    assert text.cycles(program) == 7 + 13 * 100
    assert text.exchanged(program) == {"all-reduce": 4 * 8 + 1}


def test_loops_of_a_program_that_xla_has_just_compiled(tmp_path):
    def thrice_five(x):
        once = lax.fori_loop(0, 5, lambda _, y: jnp.sort(y), x)
        return lax.fori_loop(0, 3, lambda _, y: lax.fori_loop(0, 5, lambda _, z: -z[::-1], y), once)

    lowered = jax.jit(thrice_five).lower(jnp.ones(64))
    program = text.instructions(lowered.compile().as_text())
    assert [one.times for one in program if one.opcode == "sort"] == [5]
    assert max(one.times for one in program) == 15
    row = describe(lowered, "gpu", tmp_path)
    assert row["kernels"] == text.kernels(program)
    assert row["arguments, GiB"] == round(64 * 4 / 2**30, 3)


def test_the_longer_branch_counts():
    def one_of_two(x, few):
        return lax.cond(
            few, lambda y: y, lambda y: lax.fori_loop(0, 4, lambda _, z: jnp.sort(z), y), x
        )

    program = text.instructions(jax.jit(one_of_two).lower(jnp.ones(64), True).compile().as_text())
    assert [one.times for one in program if one.opcode == "sort"] == [4]


def test_additions_of_assembler():
    lines = """
        atom.global.v4.f32.add %v4, [%rd1], {%f1, %f2, %f3, %f4};
        red.relaxed.sys.global.add.f32 [%rd2], %f1;
        atom.relaxed.sys.global.cas.b32 %r1, [%rd3], %r2, %r3;
        red.shared.add.u32 [%r4], 1;
    """
    assert text.additions(lines) == {"native": 2, "swaps": 1}


def test_a_loop_of_unknown_length_is_not_guessed():
    with pytest.raises(ValueError, match="how often this loop runs: %loop"):
        text.instructions(TPU_PROGRAM.replace("constant(13)", "copy(%n)"))


@pytest.mark.parametrize(("device", "extra"), [("H200", "cuda12"), ("v5e", "tpu")])
def test_a_compiler_that_is_missing_is_named(device, extra, monkeypatch, capsys):
    def none(**_):
        raise NotImplementedError

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.setattr(topologies, "get_topology_desc", none)
    assert main([f"--devices={device}"]) == 1
    assert capsys.readouterr().err == f'error: {device} needs pip install "jax[{extra}]"\n'
