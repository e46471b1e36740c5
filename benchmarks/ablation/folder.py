"""Where things lie in the folder of an ablation, and what is done already. No JAX here.

data.json ...     batches, see batches.py
rows/ROW.json     a row's names, the paper's figures, its resolved configuration
runs/ROW/seedN/   one training: a run's folder with log.jsonl and result.json
ablation.md ...   the tables, see report.py
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT = "result.json"
LOG = "log.jsonl"
ROWS = "rows"


def run_folder(workdir: str | Path, row: str, seed: int) -> Path:
    """The folder of one training."""
    return Path(workdir) / "runs" / row / f"seed{seed}"


def row_file(workdir: str | Path, row: str) -> Path:
    """The file of a row."""
    return Path(workdir) / ROWS / f"{row}.json"


def read_row(workdir: str | Path, row: str) -> dict[str, Any]:
    """A row's file: "table", "label", "original" (the row it repeats), "paper", "config"."""
    return json.loads(row_file(workdir, row).read_text())


def read_result(workdir: str | Path, row: str, seed: int) -> dict[str, Any] | None:
    """What a training came to, if it is done and was one of the row's present configuration."""
    try:
        result = json.loads((run_folder(workdir, row, seed) / RESULT).read_text())
        config = read_row(workdir, row)["config"]
    except (OSError, ValueError):
        return None
    return result if result["config"] == config | {"seed": seed} else None


def last_entry_of(run: str | Path) -> Mapping[str, Any]:
    """The last whole line in the log of a training's folder; empty if there is none."""
    try:
        lines = (Path(run) / LOG).read_text().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return {}


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
