"""The ablation at its smallest: batches on disk, rows as processes, stopping, going on, tables."""

import json
import signal
import time

import numpy as np
import pytest
from subprocesses import run_python, start_python

import data_pipelines
from benchmarks.ablation import folder, prepare, report, schedule
from benchmarks.ablation import run as one_run
from benchmarks.ablation.batches import Batches
from benchmarks.ablation.prepare import Task
from configs import ablation
from ggnet_jax.errors import UserError


def tiny(name):
    """A row's configuration: eight steps of two pictures, a network of two levels."""
    config = ablation.get_config(name)
    config.update(
        batch_size=2, num_epochs=2, warmup_steps=2, log_every_steps=1, checkpoint_every_steps=3
    )
    config.data.image_size = (64, 64)
    config.data.figures.update(size=64, num_train=8, num_test=5)
    config.model.update(stem_width=8, widths=(8, 8), blocks=(1, 1), head_width=8, act_points=9)
    config.eval.update(batch_size=4, top_k=20)
    return config


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def root(tmp_path_factory, data_dir):
    """An ablation of the tiny rows with batches of two seeds, nothing trained."""

    def make(name):
        config = tiny(name)
        config.data.data_dir = data_dir
        return config

    path = tmp_path_factory.mktemp("ablation")
    prepare.prepare(path, [0, 1], say=lambda line: None, make_config=make)
    return path


def test_batches_on_disk_are_those_of_the_pipeline(root, data_dir):
    config = tiny("table1_full")
    config.seed = 1
    config.data.data_dir = data_dir
    dataset = data_pipelines.load_dataset(config.data)
    stored = Batches(root)
    assert stored.order(1).shape == (8, 2)
    assert not np.array_equal(stored.order(0), stored.order(1))
    fresh = data_pipelines.train_batches(dataset, config, start_step=3)
    for ours, theirs in zip(stored.train(1, start_step=3), fresh, strict=False):
        assert ours["image"].dtype == np.uint8
        np.testing.assert_allclose(ours.pop("image") / 255, theirs.pop("image"), atol=1e-6)
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
    split = list(data_pipelines.eval_batches(dataset, config, "test"))
    for ours, theirs in zip(stored.test(4), split, strict=True):
        np.testing.assert_array_equal(ours["example_weight"], theirs["example_weight"])
        real = theirs["example_weight"] > 0
        for name in ("image", "image_id", "size"):
            np.testing.assert_array_equal(ours[name][real], theirs[name][real])
    assert stored.truth == dataset.ground_truth("test")
    np.testing.assert_array_equal(stored.verbs_of_object, dataset.verbs_of_object)


def test_batches_of_another_budget_are_not_mixed_in(root):
    def longer(name):
        config = tiny(name)
        config.num_epochs = 3
        return config

    before = {name: folder.row_file(root, name).read_text() for name in prepare.row_names(root)}
    try:
        with pytest.raises(UserError, match="another budget"):
            prepare.prepare(root, [0], make_config=longer)
    finally:
        for name, text in before.items():
            folder.row_file(root, name).write_text(text)


def test_pictures_that_bytes_cannot_hold_are_refused(tmp_path, data_dir):
    config = tiny("table1_full")
    config.data.data_dir = data_dir
    config.data.augment.color = True
    with pytest.raises(UserError, match="8 bits"):
        prepare.batches.write(tmp_path, config, [0], say=lambda line: None)


def test_rows_that_repeat_others_are_trained_once_and_table_1_comes_first(root):
    rows = ["table3_point", "table2_points9", "table1_baseline", "table1_full", "table2_steps2"]
    assert prepare.tasks(root, rows, [0, 1]) == [
        Task("table1_baseline", 0), Task("table1_full", 0),
        Task("table1_baseline", 1), Task("table1_full", 1),
        Task("table2_points9", 0), Task("table2_points9", 1),
    ]  # fmt: skip
    with pytest.raises(UserError, match="no row 'table9'"):
        prepare.tasks(root, ["table9"], [0])


def test_every_row_has_the_same_budget_and_pictures():
    """Rows differ in the network and the loss of the interactions, in nothing else."""
    plain = ablation.get_config().to_dict()
    for name in ("table1_baseline", "table2_shared", "table3_both"):
        other = ablation.get_config(name).to_dict()
        for part in plain.keys() - {"model", "loss"}:
            assert other[part] == plain[part], (name, part)
        assert {k for k in plain["loss"] if plain["loss"][k] != other["loss"][k]} <= {"interaction"}
        sizes = ("backbone", "stem_width", "widths", "blocks", "stacks", "head_width", "dtype")
        assert all(other["model"][field] == plain["model"][field] for field in sizes)


def test_a_row_is_trained_and_scored(root):
    task = Task("table1_baseline", 0)
    assert schedule.run(root, [task], 0) == 0
    result = folder.read_result(root, *task)
    assert result["metrics"]["settings"]["default"]["means"].keys() == set(report.GROUPS)
    log = folder.run_folder(root, *task) / folder.LOG
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(np.isfinite(line["loss"]) for line in lines)


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_result(root):
    """In this process; the parts' log and weights are those of a training in one go."""
    row, steps = "table1_without_gaze", []

    def stop_after_five():
        steps.append(1)
        return len(steps) == 5

    assert one_run.train_and_evaluate(root, row, 0, stop=stop_after_five) is None
    assert folder.read_result(root, row, 0) is None
    assert folder.last_entry_of(folder.run_folder(root, row, 0))["step"] == 5
    parts = one_run.train_and_evaluate(root, row, 0)
    log = folder.run_folder(root, row, 0) / folder.LOG
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))

    folder.run_folder(root, row, 0).rename(root / "parts")
    whole = one_run.train_and_evaluate(root, row, 0)
    again = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["loss"] for line in again] == [line["loss"] for line in lines]
    assert parts["metrics"] == whole["metrics"]
    assert folder.read_result(root, row, 0) == whole


WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "ml_collections"):
    sys.modules[name] = None
from benchmarks.ablation.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_runs_without_tensorflow_as_processes_and_stops_when_asked(root, tmp_path):
    command = ["-c", WITHOUT_TENSORFLOW, f"--workdir={root}", "--rows=table1_full", "--jobs=2"]
    process = start_python(*command, "--seeds=0,1", cache=tmp_path)
    logs = [folder.run_folder(root, "table1_full", seed) for seed in (0, 1)]
    deadline = time.monotonic() + 200
    while not any(folder.last_entry_of(log) for log in logs) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[0]
    assert process.returncode in (0, 1), said  # 0: both were done before they heard of it

    last = run_python(*command, "--seeds=0,1", cache=tmp_path)
    assert last.returncode == 0, last.stderr
    assert all(folder.read_result(root, "table1_full", seed) for seed in (0, 1))
    assert "| GGNet | 2 |" in last.stdout
    again = run_python(*command, "--seeds=0,1", cache=tmp_path)
    assert again.returncode == 0 and "steps" not in again.stderr  # nothing was trained

    missing = run_python(*command, "--seeds=7", cache=tmp_path)
    assert missing.returncode == 2
    assert "no batches of seed 7" in missing.stderr and "Traceback" not in missing.stderr


def fake_result(root, row, seed, full):
    """A finished run with a given Full mAP."""
    path = folder.run_folder(root, row, seed)
    path.mkdir(parents=True)
    means = {"full": full, "rare": full / 2, "non_rare": None}
    content = {
        "config": folder.read_row(root, row)["config"] | {"seed": seed},
        "metrics": {"settings": {"default": {"means": means}}},
        "parameters": 1234, "train_seconds": 60.0, "evaluate_seconds": 30.0,
        "device": "cpu", "cpu_cores": 2,
    }  # fmt: skip
    (path / folder.RESULT).write_text(json.dumps(content))


@pytest.fixture
def finished(tmp_path):
    """An ablation with made-up results: GGNet has 3 seeds, its baseline 2."""
    prepare.write_rows(tmp_path, tiny)
    for seed, full in enumerate((0.80, 0.84, 0.70)):
        fake_result(tmp_path, "table1_full", seed, full)
    for seed, full in enumerate((0.70, 0.76)):
        fake_result(tmp_path, "table1_baseline", seed, full)
    return tmp_path


def test_tables_hold_means_deviations_and_paired_differences(finished):
    rows = {row["name"]: row for row in report.collect(finished)["rows"]}
    full = rows["table1_full"]
    assert full["map"]["full"]["mean"] == pytest.approx(78.0)
    assert full["map"]["full"]["std"] == pytest.approx(np.std([80, 84, 70], ddof=1), abs=1e-4)
    assert full["map"]["non_rare"] is None
    # Seeds 0 and 1 alone have a baseline: 10 and 8 points.
    assert full["difference"]["full"]["values"] == [10.0, 8.0]
    assert full["paper_difference"] == {"v_coco": 3.66, "hico_det": 1.87}
    # Table 2's two steps are GGNet; Table 3's first row is the baseline.
    assert rows["table2_steps2"]["map"] == full["map"]
    assert rows["table3_point"]["map"] == rows["table1_baseline"]["map"]
    text = report.write(finished)[0].read_text()
    assert "| GGNet | 3 | 78.00 ± 7.21 | 39.00 ± 3.61 |  | +9.00 ± 1.41 | 54.72 (+3.66) |" in text
    assert "| baseline * | 2 |" in text
    assert json.loads((finished / report.JSON).read_text())["rows"]


def test_the_plot_is_drawn_whatever_is_there(finished, tmp_path):
    assert report.plot(finished).stat().st_size > 5000
    for path in finished.glob("runs/*/*/result.json"):
        path.unlink()
    assert report.plot(finished).is_file()


def test_a_result_of_another_configuration_does_not_count(finished):
    assert folder.read_result(finished, "table1_full", 0)
    path = folder.row_file(finished, "table1_full")
    content = json.loads(path.read_text())
    content["config"]["learning_rate"] = 0.5
    path.write_text(json.dumps(content))
    assert folder.read_result(finished, "table1_full", 0) is None


def test_a_failing_run_is_told_and_the_others_go_on(root, monkeypatch, capsys):
    class Pool:
        def __init__(self, *arguments):
            pass

        def start(self, task):
            if task.seed:
                fake_result(root, *task, 0.5)

        def status(self, task):
            return 0 if task.seed else 2

        def reason(self, task):
            return "the loss is not finite"

    monkeypatch.setattr(schedule, "_Pool", Pool)
    calls = []
    tasks = [Task("table1_hna", 0), Task("table1_hna", 1)]
    left = schedule.run(root, tasks, 1, finished=lambda: calls.append(1), every=0)
    assert left == 1 and len(calls) == 1
    assert "table1_hna, seed 0, failed: the loss is not finite" in "".join(capsys.readouterr())


def test_there_is_always_room_for_one_run():
    assert 1 <= schedule.default_jobs() <= 8
