"""What benchmarks refuse before they measure anything: one line that names it."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("program", "argument", "said"),
    [
        ("deform_conv", "--cases=nothing", "'nothing' is none of ggnet, "),
        ("deform_conv", "--peers=ours,nobody", "'nobody' is none of ours, "),
        ("deform_conv", "--dtype=float8", "'float8' is none of float32, bfloat16"),
        ("deform_conv", "--repeats=0", "'0' is no whole number from 1 on"),
        ("deform_conv", "--output=/nowhere/a.json", "its folder does not exist"),
        ("training_step", "--batch_size=1,a", "'a' is no whole number from 1 on"),
        ("compiled", "--batch_size=0", "'0' is no whole number from 1 on"),
        ("compiled", "--program=inference --count=8", "inference is compiled for one device"),
        ("compiled", "--program=inference --forms=pallas", "a network are products, sums, cells"),
        ("ablation", "--seeds=0,-1", "'-1' is no whole number from 0 on"),
    ],
)
def test_one_line_says_what_is_wrong(program, argument, said, capsys):
    main = importlib.import_module(f"benchmarks.{program}.__main__").main
    with pytest.raises(SystemExit) as stopped:
        main(argument.split())
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
