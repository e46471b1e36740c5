"""--config: a file of anybody's, the run's own configuration, and what is wrong with either."""

import json

import pytest
from subprocesses import run_python
from tiny import make_run

# main.py's parsing without TensorFlow: prints the batch size of the configuration that results.
PARSE = """
import sys
from configs import base
from ggnet_jax.cli import command, config_flag
command.parse(sys.argv, base=base.get_config())
config = config_flag.value()
print(config.eval.batch_size, config.data.eval_annotations, config.model.stacks)
"""
START = "from configs import base\ndef get_config():\n    config = base.get_config()\n"

MISTAKES = {
    "misspelt field": (START + "    config.num_epoch = 1", "line 4", "config.num_epochs?"),
    "misspelt nested field": (
        START + "    config.model.gaze_step = 1",
        "line 4",
        "config.model.gaze_steps?",
    ),
    "another branch's field": (
        START + "    config.image_size = (64, 64)",
        "line 4",
        "config.data.image_size?",
    ),
    "wrong kind": (START + "    config.num_epochs = 'ten'", "line 4", "num_epochs"),
    "not a number": (START + "    config.learning_rate = float('nan')\n    return config",
                     "config.learning_rate is nan", "0.00015"),
    "wrong kind in a tuple": (START + "    config.lr_drop_epochs = ('foo',)\n    return config",
                              "config.lr_drop_epochs is ('foo',)", "(90,)"),
    "no get_config": ("def config():\n    pass", "no function get_config()", "config.py"),
    "nothing returned": (START + "    config.num_epochs = 3", "get_config() returns a NoneType",
                         "ConfigDict"),
    "own fields only": (
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'num_epochs': 3})",
        "lacks config.accumulate_steps",
        "configs.base",
    ),
    "own field beside them": (
        START + "    with config.unlocked():\n        config.lerning_rate = 1.0\n    return config",
        "no field config.lerning_rate",
        "config.learning_rate?",
    ),
    "syntax": ("def get_config(:", "line 1", "SyntaxError"),
    "import": ("import nothing_there", "line 1", "nothing_there"),
    "bug": (START + "    return 1 // 0", "line 4", "ZeroDivisionError"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_file_names_the_place(tmp_path, name):
    text, *expected = MISTAKES[name]
    path = tmp_path / "config.py"
    path.write_text(text)
    done = run_python("-c", PARSE, f"--config={path}", f"--workdir={tmp_path}")
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: "), done.stderr
    for words in expected:
        assert words in done.stderr


@pytest.mark.parametrize("override", ["--config.eval.batch_size=5", "--config.eval.batch_sizes=5"])
def test_overrides_change_the_configuration_of_the_run(tmp_path, override):
    """Without --config; the run's fields stay, younger ones have the base's values."""
    run = make_run(tmp_path / "run")
    saved = json.loads((run / "config.json").read_text())
    saved["model"]["deform_conv"] = "auto"  # an older run's
    (run / "config.json").write_text(json.dumps(saved))
    done = run_python(
        "-c", PARSE, "--mode=evaluate", f"--workdir={run}", override,
        "--config.data.eval_annotations=mine.json",
    )  # fmt: skip
    if "sizes" in override:
        assert done.returncode == 2
        assert "did you mean config.eval.batch_size?" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["5", "mine.json", "1"]


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--port=80x", "flag --port=80x: '80x' is no whole number"),
        ("--threshold=half", "flag --threshold=half: 'half' is no number"),
    ],
)
def test_what_is_no_number_is_one_line(tmp_path, flag, says):
    done = run_python("-c", PARSE, "--mode=serve", f"--workdir={tmp_path}", flag)
    assert done.returncode == 2 and done.stderr.strip() == f"error: {says}"


@pytest.mark.parametrize(
    ("mode", "flag", "reader"),
    [
        ("evaluate", "--output=there", "--mode=predict"),
        ("train", "--images=photo.jpg", "--mode=predict"),
        ("train", "--step=3", "--mode=evaluate, --mode=predict"),
        ("train", "--checkpoint=model.pth", "--mode=import"),
        ("predict", "--config=configs/demo.py", "--mode=evaluate"),
        ("import", "--threshold=0.5", "--mode=predict"),
    ],
)
def test_a_flag_that_the_mode_does_not_read_is_refused(tmp_path, mode, flag, reader):
    done = run_python("-c", PARSE, f"--mode={mode}", f"--workdir={tmp_path}", flag)
    assert done.returncode == 2
    assert f"--mode={mode} does not read {flag.split('=')[0]}" in done.stderr
    assert reader in done.stderr
