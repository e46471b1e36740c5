"""The paper's Tables 1 to 3 on the embedded data set: every row, several seeds, one budget.

    python -m benchmarks.ablation [--workdir=/tmp/ggnet_ablation] [--tables=1] [--seeds=0,1,2]

writes batches, trains and scores what is not done yet, several runs at once where there are cores
for it, and after every run writes ablation.md and ablation.json into the workdir, with a plot at
the end. Stop it with Ctrl-C or SIGTERM, or by --minutes: the same command goes on from there.

For a machine with JAX but no TensorFlow and no ml_collections: `--prepare` here, copy the workdir,
and start the same command there.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ablation import folder as places
from benchmarks.ablation import prepare, report, schedule
from benchmarks.arguments import numbers, seeds
from ggnet_jax.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say; 0 if nothing is left to do, 1 if runs failed or are left."""
    arguments = _parse(argv)
    root = Path(arguments.workdir)
    try:
        if not arguments.report:
            prepare.prepare(root, arguments.seeds)
        names = prepare.row_names(root)
        tables = tuple(f"table{number}_" for number in arguments.tables)
        rows = arguments.rows or [name for name in names if name.startswith(tables)]
        todo = prepare.tasks(root, rows, arguments.seeds)
        todo = [task for task in todo if places.read_result(root, *task) is None]
        left = 0
        if not (arguments.prepare or arguments.report):
            deadline = time.monotonic() + 60 * arguments.minutes if arguments.minutes else None
            jobs = schedule.default_jobs() if arguments.jobs is None else arguments.jobs
            left = schedule.run(
                root, todo, jobs, deadline=deadline, finished=lambda: report.write(root)
            )
        if not arguments.prepare:
            paths = [*report.write(root), report.plot(root)]
            print(paths[0].read_text())
            for path in paths:
                print(f"wrote {path}")
        elif todo:
            print(f"{root} is ready for {len(todo)} runs")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if left else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", default="/tmp/ggnet_ablation", help="where everything lies")
    parser.add_argument("--tables", type=numbers, default=[1, 2, 3], help="of the paper (1,2,3)")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="instead of tables")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="(0,1,2)")
    parser.add_argument("--jobs", type=int, help="runs at once; 0: one by one in this process")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--prepare", action="store_true", help="write rows and batches, no more")
    parser.add_argument("--report", action="store_true", help="write the tables, no more")
    return parser.parse_args(argv)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is first imported
    sys.exit(main())
