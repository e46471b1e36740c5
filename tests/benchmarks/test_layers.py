"""What the profile's names are turned into."""

from benchmarks.layers import Operation, layer, main, operations, shares


def test_reads_instructions_of_a_compiled_program():
    text = """
  %fusion.1 = f32[2,2]{1,0} fusion(%a), kind=kLoop, metadata={op_name="jit(f)/GGNet/backbone/add"}
  ROOT %while.2 = f32[2]{0} while(%b), condition=%c, body=%d
"""
    assert operations(text) == {
        "fusion.1": Operation("fusion", "jit(f)/GGNet/backbone/add"),
        "while.2": Operation("while", ""),
    }


def test_names_layers_and_directions():
    head = "jit(train_step)/jvp(GGNet)/heads0"
    gaze = f"{head}/interactions/gaze1/gaze1"
    assert layer(f"{gaze}/deform_conv2d/while/body/dot") == "deformable convolution, forward"
    assert layer(f"{gaze}/conv".replace("jvp", "transpose(jvp)")) == (
        "glance and gaze, other, backward"
    )
    assert layer("") == "added by the compiler"


def test_shares_count_no_loop_twice():
    known = {"a": Operation("fusion", "x"), "b": Operation("while", "x"), "c": Operation("dot", "")}
    rows = shares({"a": 3.0, "b": 9.0, "c": 1.0, "elsewhere": 5.0}, known, lambda s: s or "none")
    assert rows == [{"where": "x", "share": "75.0%"}, {"where": "none", "share": "25.0%"}]


def test_runs(capsys):
    main(["--tiny", "--size=64", "--batch_size=2"])
    assert "| deformable convolution, backward |" in capsys.readouterr().out
