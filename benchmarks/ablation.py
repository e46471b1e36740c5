"""The paper's Tables 1 to 3 on the rendered data set: every row, several seeds, one budget.

    python -m benchmarks.ablation [--rows=table1_baseline,table1_full] [--seeds=0,1,2] [--jobs=2]
        [--workdir=/tmp/ggnet_ablation] [--config.FIELD=VALUE ...] [--output=FILE]

Starts `python main.py --config=configs/ablation.py:ROW --config.seed=SEED` for every run that is
not finished, so many at a time, and prints what they wrote as tables: means and standard deviations
over the seeds, beside the paper's numbers; differences by pairs of the same seed, with the interval
in which their mean lies with 95% (Student's t). Ctrl-C stops them; the same command goes on from
there. --jobs=0 only prints. Fields that are given are set in every run.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict
from scipy import stats

from benchmarks import timing
from configs import ablation, paper
from ggnet_jax.errors import UserError
from ggnet_jax.io import read_json, read_log

REPOSITORY = Path(__file__).resolve().parents[1]
GROUPS = {"full": "Full", "rare": "Rare", "non_rare": "Non-rare"}
PAPER = {"v_coco": "V-COCO", "hico_det": "HICO-DET"}
TITLES = {
    "table1": "Table 1: components",
    "table2": "Table 2: ActPoints and gaze steps",
    "table3": "Table 3: what the interaction point looks at",
}
# Differences are to this row: the first whose beginning fits a row's name.
REFERENCES = {
    "table1_": "table1_baseline",
    "table2_points": "table2_points25",
    "table2_": "table2_steps2",
    "table3_": "table3_point",
}
# Table 1 on HICO-DET has the same networks as on V-COCO.
ROWS = [
    name for name in paper.ROWS if name.startswith(tuple(TITLES)) and not name.endswith("_hico")
]


class Run(NamedTuple):
    """One training: a row of configs/paper.py that repeats no other, and a seed."""

    row: str
    seed: int

    def folder(self, workdir: Path) -> Path:
        """The workdir of main.py."""
        return workdir / self.row / f"seed{self.seed}"


def reference_of(row: str) -> str:
    """The row that a row is compared with."""
    return next(reference for start, reference in REFERENCES.items() if row.startswith(start))


def runs_of(rows: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The runs that some rows need; every row gets its first seed before any gets its second."""
    originals = dict.fromkeys(paper.original(row) for row in rows)
    return [Run(row, seed) for seed in seeds for row in originals]


def read_result(workdir: Path, run: Run, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run came to, if it is finished and was one of the present configuration.

    Args:
        workdir: of the ablation.
        run: one of `runs_of`.
        changes: fields that differ from configs/ablation.py, by dotted name.

    Returns:
        mAP in percent by group, None where a group has no class, and the last "loss" and
        "images_per_second" of the log; or None.
    """
    folder = run.folder(workdir)
    config = ablation.get_config(run.row)
    config.update_from_flattened_dict({**changes, "seed": run.seed})
    if not is_of(folder, config):
        return None
    try:
        means = read_json(folder / "evaluation" / "metrics.json")["settings"]["default"]["means"]
        last = [entry for entry in read_log(folder / "log.jsonl") if "loss" in entry][-1]
    except (UserError, IndexError):
        return None
    numbers = {group: means.get(group) and 100 * means[group] for group in GROUPS}
    return numbers | {name: last[name] for name in ("loss", "images_per_second")}


def is_of(folder: Path, config: Any) -> bool:
    """Whether the run in a workdir was started with a configuration."""
    try:
        written = flatten_dict(read_json(folder / "config.json"), sep=".")
    except UserError:
        return False
    asked = flatten_dict(json.loads(config.to_json()), sep=".")
    return all(written.get(name, value) == value for name, value in asked.items())


def start(workdir: Path, run: Run, options: Sequence[str]) -> str:
    """Train and evaluate a run, or go on with it; why it failed, or ''."""
    flags = [f"--config=configs/ablation.py:{run.row}", *options, f"--config.seed={run.seed}"]
    return train(run.folder(workdir), flags)


def train(folder: Path, flags: Sequence[str]) -> str:
    """Run main.py in a workdir, with what it says in a file beside; why it failed, or ''."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    said = folder.with_suffix(".txt")
    command = [sys.executable, "main.py", *flags, f"--workdir={folder.resolve()}"]
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}  # runs share a GPU
    with said.open("w") as output:
        status = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if not status:
        return ""
    lines = said.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return f"{lines[-1]} (all of it: {said})"


def start_all(workdir: Path, runs: Sequence[Run], jobs: int, options: Sequence[str]) -> None:
    """Start runs, so many at a time, and say how each ended; Ctrl-C reaches all of them."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(start, workdir, run, options): run for run in runs}
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                run, failure = futures[future], future.result()
                ending = f"failed: {failure}" if failure else "has ended"
                print(f"{number} of {len(runs)}: {run.row}, seed {run.seed}, {ending}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=True, cancel_futures=True)
            print("stopped; the same command goes on from there")


def by_seed(
    results: Mapping[Run, Mapping[str, Any]], row: str, seeds: Sequence[int]
) -> dict[int, Mapping[str, Any]]:
    """What there is of a row's runs, or of those of the row that it repeats, by seed."""
    runs = {seed: results.get(Run(paper.original(row), seed)) for seed in seeds}
    return {seed: found for seed, found in runs.items() if found is not None}


def collect(
    workdir: Path, rows: Sequence[str], seeds: Sequence[int], changes: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A row for each of `rows`, with the paper's numbers and ours by seed.

    "differences" are those in Full to the reference's run of the same seed.
    """
    results = {
        run: found
        for run in runs_of(rows, seeds)
        if (found := read_result(workdir, run, changes)) is not None
    }
    collected: list[dict[str, Any]] = []
    for name in rows:
        reference = reference_of(name)
        published = {**paper.ROWS[name].paper}
        if f"{name}_hico" in paper.ROWS:
            published |= paper.ROWS[f"{name}_hico"].paper
        done, base = by_seed(results, name, seeds), by_seed(results, reference, seeds)
        collected.append(
            {
                "row": name,
                "label": paper.ROWS[name].label,
                "reference": reference,
                "paper": published,
                "seeds": list(done),
                "results": list(done.values()),
                "differences": [
                    found["full"] - base[seed]["full"]
                    for seed, found in done.items()
                    if seed in base
                ],
            }
        )
    return collected


def statistics(values: Sequence[float | None], form: str = ".2f") -> str:
    """Mean and sample standard deviation, which a single value has none of."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    mean = format(np.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.2f}"


def interval(values: Sequence[float]) -> str:
    """Where the mean lies with a probability of 95%, by Student's t; '' for a single value."""
    if len(values) < 2:
        return ""
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{mean - half:+.2f} to {mean + half:+.2f}"


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """One of the paper's tables; the row that others are compared with is marked by *."""
    by_name = {row["row"]: row for row in rows}
    references = {row["reference"] for row in rows}
    lines: list[dict[str, Any]] = []
    for row in rows:
        is_reference = row["row"] in references
        line = {"row": row["label"] + " *" * is_reference, "seeds": len(row["seeds"])}
        for group, title in GROUPS.items():
            line[title] = statistics([result[group] for result in row["results"]])
        line["difference"] = "" if is_reference else statistics(row["differences"], "+.2f")
        line["95% interval"] = "" if is_reference else interval(row["differences"])
        for key, title in PAPER.items():
            figure = row["paper"].get(key)
            if figure is None:
                continue
            base = by_name.get(row["reference"], {}).get("paper", {}).get(key)
            change = "" if is_reference or base is None else f" ({figure - base:+.2f})"
            line[f"paper, {title}"] = f"{figure:.2f}{change}"
        for key in ("loss", "images_per_second"):
            line[key.replace("_per_second", "/s")] = statistics([r[key] for r in row["results"]])
        lines.append(line)
    return timing.table(lines)


def read_changes(parser: timing.Parser, options: Sequence[str], config: Any) -> dict[str, Any]:
    """Values by dotted name of `--config.FIELD=VALUE`s, if `config` has these fields."""
    changes: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not name.startswith("--config.") or not equals:
            parser.error(f"unrecognized argument: {option}")
        try:
            changes[name.removeprefix("--config.")] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            changes[name.removeprefix("--config.")] = value
    try:
        config.lock().update_from_flattened_dict(changes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        parser.error(f"no such field, or not of its type: {' '.join(str(error).split())}")
    return changes


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing and print the tables; 1 if runs are missing at the end."""
    parser = timing.parser(__doc__, rows=(ROWS, ROWS), seeds=[0, 1, 2, 3, 4], jobs=1)
    parser.add_argument(
        "--workdir", type=Path, default=Path("/tmp/ggnet_ablation"), help="of all runs"
    )
    arguments, options = parser.parse_known_args(argv)
    changes = read_changes(parser, options, ablation.get_config())
    workdir = arguments.workdir
    runs = runs_of(arguments.rows, arguments.seeds)
    missing = [run for run in runs if read_result(workdir, run, changes) is None]
    machine = timing.machine("main.py's own devices")
    if arguments.jobs:
        start_all(workdir, missing, arguments.jobs, options)
    rows = collect(workdir, arguments.rows, arguments.seeds, changes)
    print("mAP in percent (HICO-DET's Default setting), mean ± standard deviation over the seeds;")
    print("differences in Full to the row marked *, run by run of the same seed, and their mean's")
    print("95% interval.")
    for table, title in TITLES.items():
        if chosen := [row for row in rows if row["row"].startswith(table)]:
            print(f"\n{title}\n\n{report(chosen)}")
    timing.write(arguments.output, machine, rows)
    return int(any(read_result(workdir, run, changes) is None for run in runs))


if __name__ == "__main__":
    sys.exit(main())
