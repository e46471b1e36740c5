"""The benchmark of deformable convolution keeps working, and counts what it says."""

import json

import numpy as np

from benchmarks.deform_conv.__main__ import main
from benchmarks.deform_conv.cases import Case, made_arrays
from benchmarks.deform_conv.peers import four_gathers, in_jax
from ggnet_jax.ops import deform_conv2d


def test_runs_and_writes(tmp_path, capsys):
    output = tmp_path / "rows.json"
    peers = ["products", "sums", "cells", "sorted", "one_hot", "four_gathers"]
    arguments = ["--cases=tiny", f"--peers={','.join(peers)}", "--repeats=1"]
    assert main([*arguments, f"--output={output}"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["peer"] for row in rows] == 2 * ["ours", *peers]
    assert all(row["seconds"]["median"] > 0 for row in rows)
    assert "| four_gathers |" in capsys.readouterr().out


def test_plain_gathers_have_the_same_gradients():
    """Else their speed would compare different work."""
    arrays = made_arrays(Case(2, 6, 3, 9, 4))
    ours, plain = (
        in_jax(function, arrays, "float32", backward=True).call()
        for function in (deform_conv2d, four_gathers)
    )
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(np.abs(a).max()))


def test_counts_of_one_point():
    case = Case(batch=1, side=1, channels=1, taps=1, features=1)
    assert case.flops(backward=False) == 2 + 8
    # x, y and the weight in two bytes each; offset and mask in four.
    assert case.bytes(backward=False, itemsize=2) == 3 * 2 + 3 * 4
