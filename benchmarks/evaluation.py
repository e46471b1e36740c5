"""Time and memory of the evaluators, beside a plain restatement of the rules and the reference.

    python benchmarks/evaluation.py --shared=../shared

For each protocol: the command (start-up and reading included) with its wall time and peak memory,
`evaluate` on entries already read, the oracle of the tests on the same entries, the seconds that
the reference needed on its own machine, and the largest difference of any AP to either. Not run in
CI: it needs the reference's predictions and about a minute.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import plain_evaluation  # noqa: E402

from ggnet_jax import vocabularies  # noqa: E402
from ggnet_jax.evaluation import hico, vcoco  # noqa: E402
from ggnet_jax.io import read_json  # noqa: E402


def main() -> None:
    """Run everything once and print one line for each protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--repeats", type=int, default=3, help="best of so many, oracle once")
    arguments = parser.parse_args()
    folder = arguments.shared / "reference" / "eval"
    print(
        f"{'protocol':14} {'command s':>9} {'peak MB':>8} {'evaluate s':>10} {'oracle s':>9} "
        f"{'reference s':>11} {'to oracle':>10} {'to reference':>12}"
    )
    cases = list(_cases(arguments.shared, folder))
    # The commands come first: a child's peak memory is never below its parent's at the start.
    runs_of = {}
    for name, files, *_ in cases:
        module = "hico" if name.startswith("hico") else "vcoco"
        command = [sys.executable, "-m", f"ggnet_jax.evaluation.{module}"]
        command += [f"--{key}={value}" for key, value in files.items()]
        runs_of[name] = [_run(command) for _ in range(arguments.repeats)]
    for name, files, ours, oracle, expected, seconds in cases:
        runs = runs_of[name]
        entries = [
            read_json(files[key])
            for key in ("predictions", "ground_truth", "instances")
            if key in files
        ]
        timed = [_timed(ours, *entries) for _ in range(arguments.repeats)]
        plain, plain_seconds = _timed(oracle, *entries)
        found = timed[0][0]
        print(
            f"{name:14} {min(r[0] for r in runs):9.2f} {max(r[1] for r in runs):8.0f} "
            f"{min(t for _, t in timed):10.3f} {plain_seconds:9.2f} {seconds:11.1f} "
            f"{_difference(found, plain):10.1e} {_difference(found, expected):12.1e}",
            flush=True,
        )


def _cases(shared: Path, folder: Path):
    """(name, files, evaluator, oracle, expected APs, the reference's seconds) of each protocol."""
    hico_det, v_coco = vocabularies.load("hico_det"), vocabularies.load("v_coco")
    expected = json.loads((folder / "expected_hico.json").read_text())
    seconds = expected["reference_wall_seconds"]
    files = {
        "predictions": folder / "hico_predictions.json.gz",
        "ground_truth": shared / "data" / "hico_det_test" / "test_hico.json.gz",
    }
    yield (
        "hico ho_rcnn",
        files,
        lambda p, g: _aps(hico.evaluate(p, g), "default", "known_object"),
        lambda p, g: [
            ap for s in plain_evaluation.hico(p, g, hico_det).values() for ap in s.values()
        ],
        expected["default"]["AP"] + expected["known_object"]["AP"],
        sum(seconds[key] for key in seconds if key.startswith("de_ko")),
    )
    yield (
        "hico ppdm",
        files | {"protocol": "ppdm"},
        lambda p, g: _aps(hico.evaluate(p, g, protocol="ppdm"), "ppdm"),
        lambda p, g: list(plain_evaluation.hico_ppdm(p, g, hico_det).values()),
        expected["ppdm"]["AP"],
        seconds["ppdm_load"] + seconds["ppdm_eval"],
    )
    expected = json.loads((folder / "expected_vcoco.json").read_text())
    seconds = expected["reference_wall_seconds"]
    predictions = folder / "vcoco_predictions.json.gz"
    data = shared / "data" / "vcoco"
    names = dict(zip(v_coco.verb_ids, v_coco.verbs, strict=True))
    yield (
        "vcoco 1 and 2",
        {
            "predictions": predictions,
            "ground_truth": data / "vcoco_val.json.gz",
            "instances": data / "instances_vcoco_val.json.gz",
        },
        lambda p, v, i: _aps(vcoco.evaluate(p, v, i), "scenario_1", "scenario_2"),
        lambda p, v, i: [
            ap
            for any_object in (False, True)
            for ap in plain_evaluation.vcoco(p, v, i, names, any_object=any_object).values()
        ],
        [row["AP"] for key in ("scenario_1", "scenario_2") for row in expected[key]["rows"]],
        sum(
            seconds[key]
            for key in ("conversion_and_load", "gt_database", "scenario_1", "scenario_2")
        ),
    )
    yield (
        "vcoco ppdm",
        {"predictions": predictions, "ground_truth": data / "val_vcoco.json.gz"},
        lambda p, g: _aps(vcoco.evaluate(p, g), "ppdm"),
        lambda p, g: list(plain_evaluation.vcoco_ppdm(p, g, v_coco.verb_ids).values()),
        [row["AP"] for row in expected["ppdm_style"]["rows"]],
        seconds["ppdm_style"],
    )


def _aps(result, *settings) -> list[float]:
    return [ap for setting in settings for ap in result[setting].ap.tolist()]


def _difference(found, expected) -> float:
    return float(np.abs(np.array(found) - np.array(expected)).max())


def _timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def _run(command) -> tuple[float, float]:
    """Wall seconds and peak MB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
