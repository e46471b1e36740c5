"""What gradient accumulation and the average of the weights do to the demo, over several seeds.

    python -m benchmarks.accumulation_and_average [--runs=plain,ema_99] [--seeds=0,1,2] [--jobs=1]
        [--workdir=/tmp/ggnet_accumulation] [--config.FIELD=VALUE ...] [--output=FILE]

Starts `python main.py --config=configs/demo.py` for every run and seed that has no result yet, so
many at a time, and prints mAP in percent: means and standard deviations over the seeds, and the
differences to the plain run of the same seed. Training does not see the average: a plain run has
the very weights that the run with an average has before averaging, so the pair shows the average
alone. Ctrl-C stops; the same command goes on from there; --jobs=0 only prints. Other fields need
another --workdir.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.ablation import GROUPS, REPOSITORY, statistics
from ggnet_jax.errors import UserError
from ggnet_jax.io import read_json, read_log

RUNS = {
    "plain": (),
    "ema_99": ("--config.ema_decay=0.99",),
    "ema_999": ("--config.ema_decay=0.999",),
    "parts_2": ("--config.accumulate_steps=2",),
    "parts_4": ("--config.accumulate_steps=4",),
}


def read_result(folder: Path) -> dict[str, float] | None:
    """mAP in percent by group, and the last speed of the log; None before the run has ended."""
    try:
        metrics = read_json(folder / "evaluation" / "metrics.json")
        last = [entry for entry in read_log(folder / "log.jsonl") if "loss" in entry][-1]
    except (UserError, IndexError):
        return None
    means = metrics["settings"]["default"]["means"]
    found = {group: 100 * means[group] for group in GROUPS if means.get(group) is not None}
    return found | {name: last[name] for name in ("loss", "images_per_second")}


def start(workdir: Path, options: Sequence[str], run: tuple[str, int]) -> None:
    """Train and evaluate one run, or go on with it, and say how it ended."""
    name, seed = run
    folder = workdir / name / f"seed{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    said = folder.with_suffix(".txt")
    command = [sys.executable, "main.py", "--config=configs/demo.py", *RUNS[name], *options]
    command += [f"--config.seed={seed}", "--config.eval.pictures=0"]
    with said.open("w") as output:
        status = subprocess.run(
            [*command, f"--workdir={folder.resolve()}"],
            cwd=REPOSITORY,
            env={"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ},  # runs share a GPU
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    print(f"{name}, seed {seed}: {f'failed, see {said}' if status else 'has ended'}", flush=True)


def report(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """A row for each run of `RUNS`, from results by run and seed."""
    plain = results.get("plain", {})
    lines: list[dict[str, Any]] = []
    for name, by_seed in results.items():
        line: dict[str, Any] = {"run": name, "options": " ".join(RUNS[name])}
        line["seeds"] = len(by_seed)
        for group, title in GROUPS.items():
            line[title] = statistics([result.get(group) for result in by_seed.values()])
        pairs = [(by_seed[seed], plain[seed]) for seed in by_seed if seed in plain]
        differences = [a["full"] - b["full"] for a, b in pairs] if name != "plain" else []
        line["difference"] = statistics(differences, "+.2f")
        for key in ("loss", "images_per_second"):
            line[key.replace("_per_second", "/s")] = statistics([r[key] for r in by_seed.values()])
        lines.append(line)
    return timing.table(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing and print the table; 1 if runs are missing at the end."""
    parser = timing.parser(__doc__, runs=(RUNS, list(RUNS)), seeds=[0, 1, 2], jobs=1)
    parser.add_argument(
        "--workdir", type=Path, default=Path("/tmp/ggnet_accumulation"), help="of all runs"
    )
    arguments, options = parser.parse_known_args(argv)
    if wrong := [option for option in options if not option.startswith("--config.")]:
        parser.error(f"unrecognized argument: {wrong[0]}")
    workdir = arguments.workdir
    wanted = [(name, seed) for seed in arguments.seeds for name in arguments.runs]
    folders = {(name, seed): workdir / name / f"seed{seed}" for name, seed in wanted}
    machine = timing.machine("main.py's own devices")
    if arguments.jobs:
        missing = [run for run in wanted if read_result(folders[run]) is None]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(partial(start, workdir, options), missing))
    results: dict[str, dict[int, dict[str, float]]] = {name: {} for name in arguments.runs}
    for (name, seed), folder in folders.items():
        if found := read_result(folder):
            results[name][seed] = found
    print(
        "\nmAP in percent (HICO-DET's Default setting), mean ± standard deviation over the seeds;"
    )
    print("differences in Full to the plain run of the same seed.\n")
    print(report(results))
    rows = [
        {"run": name, "seed": seed, **found}
        for name, by_seed in results.items()
        for seed, found in by_seed.items()
    ]
    timing.write(arguments.output, machine, rows)
    return int(len(rows) < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
