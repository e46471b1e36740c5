"""From half the classes of the rendered data set to all of them: fine-tuned and from scratch.

    python -m benchmarks.fine_tuning [--rows=scratch,tuned] [--seeds=0,1,2] [--jobs=1]
        [--workdir=/tmp/ggnet_fine_tuning] [--config.FIELD=VALUE ...] [--output=FILE]

Starts `python main.py --config=configs/fine_tuning.py:ROW --config.seed=SEED` for every run that is
not finished, and prints what they wrote as a table: means and standard deviations over the seeds,
of all classes, of those that the source was trained on, and of those that are new. All start from
one source. Ctrl-C stops them; the same command goes on from there. --jobs=0 only prints.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.ablation import Run, is_of, read_changes, statistics, train
from configs import fine_tuning
from data_pipelines.figures_hoi import classes
from ggnet_jax.errors import UserError
from ggnet_jax.io import read_json, read_log

SOURCE = Run("source", 0)
ROWS = {
    "scratch": "from scratch",
    "tuned": "fine-tuned",
    "slow": "fine-tuned, backbone at a tenth of the rate",
    "frozen": "fine-tuned, backbone frozen",
}


def config_of(run: Run, workdir: Path, changes: Mapping[str, Any]) -> Any:
    """The configuration of a run; one that is fine-tuned starts from the source."""
    config = fine_tuning.get_config(run.row)
    if run.row not in (SOURCE.row, "scratch"):
        config.init_from = str(SOURCE.folder(workdir).resolve())
    config.update_from_flattened_dict({**changes, "seed": run.seed})
    if run.row == SOURCE.row:  # it has the classes of its own
        config.model.num_verbs, config.model.num_objects = known_classes()[1:]
    return config


def known_classes() -> tuple[set[tuple[str, str]], int, int]:
    """The source's (verb, object) pairs, and how many verbs and objects it has."""
    half = classes.load(str(fine_tuning.HALF))
    assert half is not None
    pairs = {(half.verbs[verb], half.objects[obj]) for verb, obj in half.classes}
    return pairs, half.num_verbs, half.num_objects


def read_result(workdir: Path, run: Run, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run came to, if it is finished and was one of the present configuration.

    Returns:
        mAP in percent of all classes, of the source's, and of the others ("full", "known", "new";
        None for no class), and the last "loss" of the log; or None.
    """
    folder = run.folder(workdir)
    if not is_of(folder, config_of(run, workdir, changes)):
        return None
    try:
        metrics = read_json(folder / "evaluation" / "metrics.json")
        steps = [entry for entry in read_log(folder / "log.jsonl") if "loss" in entry]
    except UserError:
        return None
    known = known_classes()[0]
    found: dict[str, list[float]] = {name: [] for name in ("full", "known", "new")}
    for one in metrics["settings"]["default"]["classes"]:
        if one["ap"] is not None:
            group = "known" if (one["verb"], one["object"]) in known else "new"
            for name in ("full", group):
                found[name].append(100 * one["ap"])
    means = {name: sum(aps) / len(aps) if aps else None for name, aps in found.items()}
    return means | {"loss": steps[-1]["loss"]}


def start(workdir: Path, run: Run, changes: Mapping[str, Any], options: Sequence[str]) -> None:
    """Train and evaluate a run, and say how it ended."""
    flags = [f"--config=configs/fine_tuning.py:{run.row}", *options, f"--config.seed={run.seed}"]
    if init_from := config_of(run, workdir, changes).init_from:
        flags.append(f"--config.init_from={init_from}")
    failure = train(run.folder(workdir), flags)
    ending = f"failed: {failure}" if failure else "has ended"
    print(f"{run.row}, seed {run.seed}, {ending}", flush=True)


def report(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table of the runs of each row."""
    lines = []
    for row, results in rows.items():
        line = {"row": ROWS[row], "seeds": len(results)}
        for name, title in (("full", "all"), ("known", "known"), ("new", "new"), ("loss", "loss")):
            line[title] = statistics([result[name] for result in results])
        lines.append(line)
    return timing.table(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing and print the table; 1 if runs are missing at the end."""
    parser = timing.parser(__doc__, rows=(list(ROWS), list(ROWS)), seeds=[0, 1, 2], jobs=1)
    parser.add_argument(
        "--workdir", type=Path, default=Path("/tmp/ggnet_fine_tuning"), help="of all runs"
    )
    arguments, options = parser.parse_known_args(argv)
    changes = read_changes(parser, options, fine_tuning.get_config())
    workdir, seeds = arguments.workdir, arguments.seeds

    def results(row: str) -> list[dict[str, Any] | None]:
        return [read_result(workdir, Run(row, seed), changes) for seed in seeds]

    machine = timing.machine("main.py's own devices")
    if arguments.jobs:
        all_runs = [Run(row, seed) for seed in seeds for row in arguments.rows]
        for runs in ([SOURCE], all_runs):
            with ThreadPoolExecutor(arguments.jobs) as pool:
                for run in runs:
                    if read_result(workdir, run, changes) is None:
                        pool.submit(start, workdir, run, changes, options)
    found = {row: results(row) for row in arguments.rows}
    done = {row: [one for one in all_of if one] for row, all_of in found.items()}
    print("mAP in percent (HICO-DET's Default setting), mean ± standard deviation over the seeds,")
    print("of all classes, of those that the source knew, and of those that are new.")
    print(f"\n{report(done)}")
    timing.write(
        arguments.output,
        machine,
        [{"row": row, "seed": s, **(one or {})} for row, many in found.items()
         for s, one in zip(seeds, many, strict=True)],
    )  # fmt: skip
    return int(any(one is None for many in found.values() for one in many))


if __name__ == "__main__":
    sys.exit(main())
