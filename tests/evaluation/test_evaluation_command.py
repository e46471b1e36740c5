"""The evaluators as commands: table, JSON, plots, errors, and what they load."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from io import StringIO

import numpy as np
import pytest
from evaluation_scenes import SMALL, random_scenes

from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import command, hico, plot, vcoco
from ggnet_jax.evaluation.results import Scores

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def files(tmp_path):
    predictions, ground_truth = random_scenes(0)
    (tmp_path / "p.json").write_text(json.dumps(predictions))
    (tmp_path / "g.json").write_text(json.dumps(ground_truth))
    SMALL.save(tmp_path / "v.json")
    return tmp_path


def arguments(folder, *more):
    return [
        f"--predictions={folder}/p.json",
        f"--ground_truth={folder}/g.json",
        f"--vocabulary={folder}/v.json",
        *more,
    ]


def test_table_json_and_plots(files, capsys):
    assert hico.main(arguments(files, f"--output={files}/out")) == 0
    printed = capsys.readouterr().out
    result = hico.evaluate(files / "p.json", files / "g.json", SMALL)
    means = result.means["known_object"]
    row = next(line for line in printed.splitlines() if line.startswith("known object"))
    assert row.split()[2:] == [f"{100 * v:.2f}" for v in means.values()] + ["0"]
    assert "hold cup" in printed, "so few classes are listed one by one"

    saved = json.loads((files / "out" / "metrics.json").read_text())
    assert saved == result.to_dict()
    assert saved["settings"]["default"]["classes"][0] == {
        "verb": "hold",
        "object": "cup",
        "rare": True,
        "ap": pytest.approx(result["default"].ap[0]),
        "recall": pytest.approx(result["default"].recall[0]),
        "ground_truth": int(result["default"].ground_truth[0]),
        "predictions": int(result["default"].predictions[0]),
        "true_positives": int(result["default"].true_positives[0]),
    }
    assert (files / "out" / "table.txt").read_text() in printed
    names = {path.name for path in (files / "out").iterdir()}
    assert names == {"metrics.json", "table.txt", "ap_default.svg", "ap_known_object.svg"}


def test_an_error_is_one_line_and_exit_code_2(files, capsys):
    assert hico.main([*arguments(files), f"--predictions={files}/none.json"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: cannot read") and streams.err.count("\n") == 1
    assert vcoco.main([f"--predictions={files}/p.json", f"--ground_truth={files}/none.json"]) == 2


def test_a_folder_that_cannot_be_written_is_an_error(files, capsys):
    assert hico.main(arguments(files, f"--output={files}/p.json")) == 2
    assert "p.json" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--unknown_images", "--unknown_pictures"])
def test_unknown_images_may_be_left_out(files, capsys, flag):
    """The second is the flag's old name."""
    entries = json.loads((files / "p.json").read_text())
    (files / "p.json").write_text(json.dumps([entries[0] | {"file_name": "z"}, *entries[1:]]))
    assert hico.main(arguments(files)) == 2
    assert "set unknown_images to 'ignore'" in capsys.readouterr().err
    assert hico.main(arguments(files, f"{flag}=ignore")) == 0
    assert "unknown images: 1" in capsys.readouterr().out


def test_run_as_a_module_without_jax_tensorflow_or_matplotlib(files):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['hico', *{arguments(files, f'--output={files}/out')!r}]\n"
        "try:\n"
        "    runpy.run_module('ggnet_jax.evaluation.hico', run_name='__main__')\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0, done.code\n"
        "import ggnet_jax.evaluation.vcoco\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'jax', 'jaxlib', 'flax', 'tensorflow', 'matplotlib', 'PIL',\n"
        "                       'scipy', 'ml_collections', 'data_pipelines'}))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def scores_of(ap, rare=None):
    number = len(ap)
    counts = np.arange(number)
    groups = {"full": np.ones(number, bool)}
    if rare is not None:
        groups |= {"rare": np.array(rare), "non_rare": ~np.array(rare)}
    return Scores(
        labels=tuple(f"sit on <{i}>" for i in range(number)),
        classes=tuple({"verb": str(i)} for i in range(number)),
        ap=np.array(ap, float),
        recall=np.array(ap, float),
        ground_truth=counts,
        predictions=counts,
        true_positives=counts,
        groups=groups,
    )


@pytest.mark.parametrize("number", [0, 1, 5, 60, 61, 600])
def test_a_plot_has_a_bar_for_every_class_best_first_and_rare_ones_marked(number):
    rng = np.random.default_rng(0)
    ap, rare = rng.random(number), rng.random(number) < 0.4
    if number > 3:
        ap[2] = np.nan
    image = ElementTree.fromstring(plot.draw(scores_of(ap, rare), "<title>"))
    bars = [r for r in image.iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
    there = np.flatnonzero(~np.isnan(ap))
    expected = there[np.argsort(-ap[there])]
    assert len(bars) == len(there)
    for bar, index in zip(bars, expected, strict=True):
        story = f"sit on <{index}>: AP {100 * ap[index]:.2f}"
        assert bar.find(f"{SVG}title").text.startswith(story)
        assert bar.get("fill") == (plot.RARE if rare[index] else plot.OTHER)
    texts = [str(t.text) for t in image.iter(f"{SVG}text")]
    assert ("1 class without AP left out" in texts[0]) == (number > 3)
    named = [text for text in texts if text.startswith("sit on")]
    assert len(named) == (len(there) if len(there) <= 60 else 0)


def test_a_plot_without_rare_flags():
    text = plot.draw(scores_of([0.5, 0.25]), "AP")
    assert plot.RARE not in text
    assert "full (2): mAP 37.50" in text


def test_progress_is_silent_for_two_seconds_then_one_line(capsys):
    for delay in (2.0, 0.0):  # a log, which is no terminal, has no line that is written over
        bar = command.ProgressBar(delay)
        bar("reading", 0.5)
        bar.close()
    assert capsys.readouterr().err == ""
    terminal = StringIO()
    terminal.isatty = lambda: True
    for delay in (2.0, 0.0):
        bar = command.ProgressBar(delay, terminal)
        bar("reading predictions", 0.5)
        bar.close()
    shown = terminal.getvalue()
    assert shown.count("reading") == 1
    assert "reading predictions [###############...............]  50 %" in shown
    assert "\n" not in shown and shown.endswith("\r")


def test_the_evaluators_tell_how_far_they_are(files):
    seen = []
    hico.evaluate(
        files / "p.json", files / "g.json", SMALL, progress=lambda *args: seen.append(args[0])
    )
    assert seen == ["reading ground truth", "reading predictions", "matching"]


def test_a_vocabulary_without_classes_is_refused():
    empty = type(SMALL)("e", SMALL.objects, SMALL.object_ids, SMALL.verbs, SMALL.verb_ids, ())
    with pytest.raises(UserError, match="'e' has no class"):
        hico.evaluate([], [], empty)


def run_command(files, *, prepare=None, **streams):
    """The command in a process of its own; its exit status and what it said on stderr."""
    run = subprocess.run(
        [sys.executable, "-m", "ggnet_jax.evaluation", "hico", *arguments(files)],
        stderr=subprocess.PIPE,
        preexec_fn=prepare,
        text=True,
        timeout=60,
        check=False,
        **streams,
    )
    return run.returncode, run.stderr


def test_what_happens_to_the_output_is_no_traceback(files):
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does once it has seen enough
    with os.fdopen(writing, "w") as pipe:
        assert run_command(files, stdout=pipe) == (0, "")
    with open("/dev/full", "w") as full:
        status, said = run_command(files, stdout=full)
    assert (status, said.count("\n")) == (2, 1)
    assert "cannot write to the output: No space left on device" in said


@pytest.mark.parametrize("where", ["evaluate", "write"])
def test_ctrl_c_is_one_line_and_leaves_no_draft(files, monkeypatch, capsys, where):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        *((hico, "evaluate", interrupted) if where == "evaluate" else (plot, "draw", interrupted))
    )
    assert hico.main(arguments(files, f"--output={files}/out")) == 130
    streams = capsys.readouterr()
    assert (streams.out, streams.err) == ("", "error: interrupted\n")
    assert not list(files.glob("out/*.unfinished"))


def test_a_class_list_as_training_takes_it_is_a_vocabulary(files, capsys):
    """Its classes are the pairs of the ground truth, in the order of verbs and objects."""
    lists = {
        "objects": dict(zip(map(str, SMALL.object_ids), SMALL.objects, strict=True)),
        "verbs": dict(zip(map(str, SMALL.verb_ids), SMALL.verbs, strict=True)),
    }
    (files / "classes.json").write_text(json.dumps(lists))
    assert hico.main([*arguments(files), f"--vocabulary={files}/classes.json"]) == 0
    printed = capsys.readouterr().out
    assert (
        "classes.json is a class list: the 5 pairs of the ground truth are the classes" in printed
    )
    result = hico.evaluate(files / "p.json", files / "g.json", SMALL)
    row = next(line for line in printed.splitlines() if line.startswith("default"))
    assert row.split() == ["default", f"{100 * result.means['default']['full']:.2f}", "0"]
    truth = json.loads((files / "g.json").read_text())
    for entry in truth:
        entry["hoi_annotations"] = entry.pop("hoi_annotation")
    (files / "g.json").write_text(json.dumps(truth))
    assert hico.main([*arguments(files), f"--vocabulary={files}/classes.json"]) == 2
    assert "rename 'hoi_annotations'" in capsys.readouterr().err
    (files / "classes.json").write_text(json.dumps({"objects": 3, "verbs": None}))
    assert hico.main([*arguments(files), f"--vocabulary={files}/classes.json"]) == 2
    assert "classes.json" in capsys.readouterr().err


def test_names_that_the_terminal_cannot_show_are_written_with_their_numbers(files, tmp_path):
    vocabulary = json.loads((files / "v.json").read_text())
    vocabulary["objects"][1] = "чашка"
    (files / "v.json").write_text(json.dumps(vocabulary))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with open(tmp_path / "said", "w") as said:
        assert run_command(files, stdout=said, env=environment) == (0, "")
    assert r"hold \u0447\u0430" in (tmp_path / "said").read_text()
