"""Every benchmark once on the smallest case, as the command that a person gives."""

import json

import numpy as np
import pytest
from evaluation_scenes import SMALL, found, truth
from subprocesses import run_python

from benchmarks import ablation_mistakes, timing
from benchmarks import fine_tuning as fine_tuning_benchmark
from configs import ablation
from ggnet_jax.evaluation import hico

WRONG = [
    ("deform_conv --cases=nothing", "'nothing' is none of ggnet, "),
    ("deform_conv --peers=ours,nobody", "'nobody' is none of ours, "),
    ("deform_conv --dtype=float8", "'float8' is none of float32, bfloat16"),
    ("deform_conv --output=/nowhere/a.json", "its folder does not exist"),
    ("training_step --batch_size=1,a", "'a' is not an integer of at least 1"),
    ("training_step --network=tiny --size=60", "height and width must be divisible by 8"),
    ("inference --network=tiny --size=60", "height and width must be divisible by 8"),
    ("inference --photo=/nowhere/a.jpg", "no such file"),
    ("input_pipeline --photos=/nowhere", "no .jpg, .jpeg or .png in '/nowhere'"),
    ("evaluators --repeats=0", "'0' is not an integer of at least 1"),
    ("evaluators --protocol=vcoco", "vcoco needs --predictions"),
    ("evaluators --predictions=a.json --ground_truth=/nowhere/b.json", "cannot read"),
    ("ablation --rows=table9", "'table9' is none of table1_baseline, "),
    ("ablation --seeds=0,-1", "'-1' is not an integer of at least 0"),
    ("ablation --config.nonsense=1 --jobs=0", "no such field"),
    ("ablation --lr=1", "unrecognized argument: --lr=1"),
    ("ablation_mistakes --rows=table9", "'table9' is none of table1_baseline, "),
    ("ablation_mistakes --reference=table9", "invalid choice: 'table9'"),
    ("ablation_mistakes --lr=1", "unrecognized argument: --lr=1"),
    ("accumulation_and_average --runs=ema", "'ema' is none of plain, ema_99, "),
    ("accumulation_and_average --lr=1", "unrecognized argument: --lr=1"),
    ("fine_tuning --rows=source", "'source' is none of scratch, tuned, slow, frozen"),
]
# All in one process, which imports JAX and TensorFlow once.
RUN_WRONG = """
import contextlib, io, json, runpy, sys
answers = []
for line in json.loads(sys.argv[1]):
    program, *arguments = line.split()
    sys.argv[1:] = arguments
    with contextlib.redirect_stderr(io.StringIO()) as said:
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                runpy.run_module(f"benchmarks.{program}", run_name="__main__", alter_sys=True)
            except SystemExit as stopped:
                answers.append([stopped.code, said.getvalue()])
print(json.dumps(answers))
"""


def run(program, *arguments, tmp_path, status=0, **options):
    """What a benchmark prints, and the rows that it writes."""
    output = tmp_path / "rows.json"
    command = ("-m", f"benchmarks.{program}", *arguments, f"--output={output}")
    done = run_python(*command, cache=tmp_path, **options)
    assert done.returncode == status, done.stderr
    content = json.loads(output.read_text())
    assert content["command"].startswith(f"python -m benchmarks.{program} ")
    return done.stdout, content["rows"]


def test_wrong_arguments_are_answered_in_one_line():
    done = run_python("-c", RUN_WRONG, json.dumps([line for line, _ in WRONG]))
    assert done.returncode == 0, done.stderr
    for (line, expected), (status, said) in zip(WRONG, json.loads(done.stdout), strict=True):
        assert status == 2 and said.count("\n") == 1 and expected in said, (line, said)


def test_deform_conv(tmp_path):
    printed, rows = run("deform_conv", "--cases=tiny", "--repeats=1", tmp_path=tmp_path)
    peers = [row["peer"] for row in rows if row["backward"]]
    assert peers[0] == "ours" and "four_gathers" in peers and len(rows) == 2 * len(peers)
    for row in rows:
        assert row["agrees"] and row["seconds"]["median"] > 0 and row["percent"] > 0
        assert f"| {row['peer']} |" in printed
    assert rows[0]["temporary"] > 0


def test_evaluators(tmp_path):
    printed, rows = run("evaluators", "--images=20", "--repeats=1", tmp_path=tmp_path)
    assert [row["protocol"] for row in rows] == ["hico", "hico_ppdm", "vcoco_ppdm"]
    for row in rows:
        assert row["difference"] < 1e-9 and row["peak_megabytes"] > 10
        assert f"| {row['protocol']} |" in printed


@pytest.mark.slow
def test_training_step(tmp_path):
    printed, rows = run(
        "training_step", "--network=tiny", "--batch_size=2", "--repeats=1", tmp_path=tmp_path
    )
    assert rows[0]["peer"] == "ours" and rows[0]["temporary"] > 0
    assert all(row["agrees"] and row["seconds"]["median"] > 0 for row in rows)
    assert "| ours |" in printed


@pytest.mark.slow
def test_inference(tmp_path):
    printed, rows = run(
        "inference", "--network=tiny", "--batch_size=2", "--images=3", "--repeats=1",
        tmp_path=tmp_path,
    )  # fmt: skip
    assert all(row["seconds"]["median"] > 0 for row in rows)
    assert all(row["agrees"] for row in rows if "peer" in row)
    assert "| network and decoding |" in printed and "a list of 3 images" in printed


@pytest.mark.slow
def test_input_pipeline(tmp_path):
    printed, rows = run(
        "input_pipeline", "--size=64", "--batch_size=4", "--images=8", "--repeats=1",
        tmp_path=tmp_path,
    )  # fmt: skip
    assert [row["pipeline"] for row in rows][:2] == ["evaluation", "training"]
    for row in rows:
        assert row["images"] == 8 and row["cpu_seconds"]["median"] > 0
        assert f"| {row['pipeline']} |" in printed


def make_run(workdir, row, seed, full, config=""):
    """What main.py leaves of a finished run, as far as it is read."""
    folder = workdir / row / f"seed{seed}"
    (folder / "evaluation").mkdir(parents=True)
    config = ablation.get_config(config or row)
    config.seed = seed
    (folder / "config.json").write_text(config.to_json())
    means = {"full": full, "rare": full / 2, "non_rare": None}
    metrics = {"settings": {"default": {"means": means}}}
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    log = [{"step": step, "loss": 3 - step, "images_per_second": 50} for step in (1, 2)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


@pytest.fixture
def finished(tmp_path):
    """Two rows of made results: GGNet has three seeds, its baseline two."""
    for seed, full in enumerate((0.80, 0.84, 0.70)):
        make_run(tmp_path, "table1_full", seed, full)
    for seed, full in enumerate((0.70, 0.76)):
        make_run(tmp_path, "table1_baseline", seed, full)
    return tmp_path


def test_accumulation_is_compared_with_the_plain_run_of_the_same_seed(tmp_path):
    """Of a seed without a plain run there is no difference; what is missing is no result."""
    for name, seed, full in (
        ("plain", 0, 0.70), ("plain", 1, 0.80), ("ema_99", 0, 0.75), ("ema_99", 1, 0.81),
        ("ema_99", 2, 0.10),
    ):  # fmt: skip
        make_run(tmp_path / "all", name, seed, full, config="table1_full")
    printed, rows = run(
        "accumulation_and_average", "--jobs=0", f"--workdir={tmp_path / 'all'}",
        tmp_path=tmp_path, status=1,
    )  # fmt: skip
    assert "| plain |  | 2 | 75.00 ± 7.07 | 37.50 ± 3.54 |  |  |" in printed
    assert "| ema_99 | --config.ema_decay=0.99 | 3 | 55.33 ±" in printed
    assert "| +3.00 ± 2.83 |" in printed and "| parts_2 |" in printed
    assert len(rows) == 5


def test_ablation_tables_hold_means_deviations_and_paired_differences(finished, tmp_path):
    rows = "--rows=table1_baseline,table1_full,table2_steps2,table3_point"
    printed, rows = run(
        "ablation", rows, "--jobs=0", f"--workdir={finished}", tmp_path=tmp_path, status=1
    )
    # Two differences, 10 and 8, whose mean is 1 off by Student's t of one degree, 12.706.
    line = (
        "| GGNet | 3 | 78.00 ± 7.21 | 39.00 ± 3.61 |  | +9.00 ± 1.41 | -3.71 to +21.71 "
        "| 54.72 (+3.66) | 22.03 (+1"
    )
    assert line in printed
    assert "| baseline * | 2 | 73.00 ± 4.24 |" in printed
    rows = {row["row"]: row for row in rows}
    # Seeds 0 and 1 alone have a baseline. Table 2's two steps are GGNet; Table 3 starts from it.
    assert rows["table1_full"]["differences"] == pytest.approx([10, 8])
    assert rows["table2_steps2"]["results"] == rows["table1_full"]["results"]
    assert rows["table3_point"]["results"] == rows["table1_baseline"]["results"]
    assert rows["table1_full"]["results"][0]["loss"] == 1

    printed, _ = run(
        "ablation", "--rows=table1_full", "--jobs=0", "--config.learning_rate=0.5",
        f"--workdir={finished}", tmp_path=tmp_path, status=1,
    )  # fmt: skip
    assert "| GGNet | 0 |" in printed  # runs of another configuration do not count


TINY = [
    "--config.num_epochs=1", "--config.batch_size=2", "--config.log_every_steps=1",
    "--config.data.figures.num_train=4", "--config.data.figures.num_test=3",
    "--config.data.figures.size=64", "--config.data.image_size=(64,64)",
    "--config.model.stem_width=8", "--config.model.widths=(8,8)", "--config.model.blocks=(1,1)",
    "--config.model.head_width=8", "--config.model.act_points=9", "--config.eval.batch_size=3",
]  # fmt: skip


@pytest.mark.slow
def test_ablation_trains_what_is_missing_and_says_what_failed(tmp_path):
    """One of two runs fails: its folder holds other files. When these are gone it is done alone."""
    arguments = [
        *TINY, "--rows=table1_baseline", "--seeds=0,1", "--jobs=2", f"--workdir={tmp_path / 'all'}",
        f"--config.data.data_dir={tmp_path / 'data'}",
    ]  # fmt: skip
    foreign = tmp_path / "all" / "table1_baseline" / "seed1" / "letter.txt"
    foreign.parent.mkdir(parents=True)
    foreign.touch()
    printed, rows = run("ablation", *arguments, tmp_path=tmp_path, status=1)
    assert "table1_baseline, seed 0, has ended" in printed
    assert "table1_baseline, seed 1, failed: error: the workdir" in printed
    assert rows[0]["seeds"] == [0]

    foreign.unlink()
    printed, rows = run("ablation", *arguments, tmp_path=tmp_path)
    assert "1 of 1: table1_baseline, seed 1, has ended" in printed
    assert rows[0]["seeds"] == [0, 1]
    assert "| baseline * | 2 |" in printed

    trained = [option for option in arguments if option != "--jobs=2"]
    printed, mistakes = run("ablation_mistakes", *trained, tmp_path=tmp_path)
    full = [result["full"] for result in rows[0]["results"]]
    assert [run["costs"]["full"]["mAP"] for run in mistakes] == pytest.approx(full)
    assert "Percent of the annotated pairs" in printed and "| baseline * | 2 |" in printed


@pytest.mark.parametrize(
    ("other", "difference", "agrees"), [(0.0, 0, True), (0.5, 0.5, False), (np.nan, np.nan, False)]
)
def test_outputs_that_are_all_zeros_agree(other, difference, agrees):
    """One of two outputs is zero everywhere: relative to it nothing can be said."""

    def peer(value):
        outputs = [np.zeros(3), np.array([4.0, 1.0, 4 * value])]
        return lambda: timing.Peer(lambda: None, lambda: outputs, None)

    first, second = timing.measure_peers({"ours": peer(0.0), "other": peer(other)}, 1, 1e-3)
    assert (first["difference"], first["agrees"]) == (0, True)
    np.testing.assert_equal(second["difference"], difference)
    assert second["agrees"] == agrees


def test_mistakes_of_an_ablation_without_finished_runs(tmp_path):
    done = run_python(
        "-m", "benchmarks.ablation_mistakes", f"--workdir={tmp_path}", cache=tmp_path
    )  # fmt: skip
    assert done.returncode == 1
    assert "has no finished run of these rows;" in done.stdout


def test_costs_of_mistakes_are_compared_seed_by_seed():
    """Differences of 10 and 8 in mAP, as in the ablation's own table; the third has no partner."""

    def run_of(points):
        return {"costs": {"full": dict.fromkeys(("mAP", *ablation_mistakes.KINDS), points)}}

    seeds = {"table1_full": (80, 84, 70), "table1_hna": (70, 76)}
    looked = {
        ablation_mistakes.Run(row, seed): run_of(points)
        for row, by_seed in seeds.items()
        for seed, points in enumerate(by_seed)
    }
    references = dict.fromkeys(("table1_hna", "table2_steps2"), "table1_hna")  # the second is GGNet
    printed = ablation_mistakes.report_costs(looked, references, (0, 1, 2), "full")
    assert "| + HNA * | 2 | 73.00 ± 4.24 | 73.00" in printed
    assert "| 3 | 78.00 ± 7.21 (-3.71 to +21.71) | 78.00 ± 7.21 (-3.71" in printed


PERSON, CUP, DOG = SMALL.object_ids
HOLD, PET, CARRY = SMALL.verb_ids


def test_verbs_and_humans_of_annotated_pairs():
    """Two people and a cup that both hold; in the second image one of two pets a dog."""
    near, far, cup = (0, 0, 20, 20, PERSON), (0, 60, 20, 80, PERSON), (40, 0, 60, 20, CUP)
    dog = (0, 90, 20, 110, DOG)
    annotated = [
        truth("a.jpg", [near, far, cup], [(0, 2, HOLD), (1, 2, HOLD)]),
        truth("b.jpg", [near, far, dog], [(1, 2, PET)]),
        truth("c.jpg", [near, cup], [(0, 1, CARRY)]),
    ]
    predicted = [
        # The second verb on the first pair has the higher score; nobody holds the cup from afar.
        found("a.jpg", [near, far, cup], [(0, 2, HOLD, 0.4), (0, 2, CARRY, 0.6)]),
        # The dog's best human is the wrong one; on its own pair the verb is right.
        found("b.jpg", [far, near, dog], [(0, 2, PET, 0.3), (1, 2, PET, 0.9)]),
        # A cup that is out of its place.
        found("c.jpg", [near, (0, 40, 20, 60, CUP)], [(0, 1, CARRY, 0.5)]),
    ]
    matched = hico.evaluate_and_match(predicted, annotated, SMALL)[1]()
    pairs = ablation_mistakes.look_at_pairs(matched)
    assert pairs.distance == pytest.approx([40, np.hypot(40, 60), 30, 40])
    assert pairs.people.tolist() == [2, 2, 2, 1]
    none = np.nan
    np.testing.assert_array_equal(pairs.wrong_verb, [1, none, 0, none])
    np.testing.assert_array_equal(pairs.wrong_human, [0, 0, 1, none])


def test_percentages_of_pairs_by_distance_and_by_people():
    """300 pairs: each third of the distance has its own share of wrong verbs."""
    third = np.repeat([0, 1, 2], 100)
    wrong = np.tile(np.arange(100), 3) < np.array([50, 20, 10])[third]
    people = np.where(third == 0, 1, 4)
    people[-3:] = 3  # too few for a percentage
    pairs = ablation_mistakes.Pairs(
        1.0 + third, people, wrong.astype(float), np.where(people == 4, 1.0, np.nan)
    )
    assert ablation_mistakes.percentages(pairs) == pytest.approx(
        {
            "wrong verb": 80 / 3,
            "wrong verb, near": 50,
            "wrong verb, middle": 20,
            "wrong verb, far": 10,
            "wrong human, 4 people": 100,
        }
    )


def make_fine_tuned(workdir, row, seed, aps):
    """A finished run of configs/fine_tuning.py with an AP for each of two classes."""
    started = fine_tuning_benchmark.Run(row, seed)
    folder = started.folder(workdir)
    (folder / "evaluation").mkdir(parents=True)
    config = fine_tuning_benchmark.config_of(started, workdir, {})
    (folder / "config.json").write_text(config.to_json())
    pairs = (("ride", "bicycle"), ("pet", "dog"))  # the source's, and a new one
    classes = [
        {"verb": verb, "object": obj, "ap": ap} for (verb, obj), ap in zip(pairs, aps, strict=True)
    ]
    metrics = {"settings": {"default": {"classes": classes}}}
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
    (folder / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")


def test_fine_tuning_tells_known_classes_from_new_ones(tmp_path):
    make_fine_tuned(tmp_path, "scratch", 0, (0.1, 0.2))
    make_fine_tuned(tmp_path, "tuned", 0, (0.6, 0.2))
    make_fine_tuned(tmp_path, "tuned", 1, (0.8, None))
    printed, rows = run(
        "fine_tuning", "--jobs=0", "--rows=scratch,tuned", "--seeds=0,1",
        f"--workdir={tmp_path}", tmp_path=tmp_path, status=1,
    )  # fmt: skip
    assert "| from scratch | 1 | 15.00 | 10.00 | 20.00 | 2.00 |" in printed
    assert "| fine-tuned | 2 | 60.00 ± 28.28 | 70.00 ± 14.14 | 20.00 |" in printed
    assert [row["row"] for row in rows] == ["scratch", "scratch", "tuned", "tuned"]
    # Of another source, they do not count.
    printed, _ = run(
        "fine_tuning", "--jobs=0", "--rows=tuned", "--config.init_from=/elsewhere",
        f"--workdir={tmp_path}", tmp_path=tmp_path, status=1,
    )  # fmt: skip
    assert "| fine-tuned | 0 |" in printed
