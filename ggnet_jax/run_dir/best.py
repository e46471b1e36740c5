"""Which checkpoint of a run was chosen, by what: `<workdir>/best.json`.

    metric       "mAP/default/full", the name that the evaluations have in log.jsonl
    split        the validation split, as `config.data.val_split` names it
    images       how many it has
    data         a fingerprint of them
    step, value  of the best checkpoint so far; null where no evaluation had a value
    evaluations  [[step, value], ...] of all so far

Training writes it after every evaluation, as a whole or not at all.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.errors import UserError

FILE = "best.json"
BEST = "best"
"""What a step is called that stands for the best checkpoint."""


def read(workdir: str | Path) -> dict[str, Any] | None:
    """What best.json holds; None where nothing was ever compared.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(workdir) / FILE
    if not path.exists():
        return None
    record = io.read_json(path)
    if not _is_whole(record):
        raise UserError(f"{path} is damaged; remove it, and training compares from there on")
    return record


def write(workdir: str | Path, record: Mapping[str, Any]) -> None:
    """Replace best.json."""
    io.write_json(Path(workdir) / FILE, record, depth=1)


def step_of(workdir: str | Path) -> int | None:
    """The step of the best checkpoint; None if none was chosen."""
    record = read(workdir)
    return None if record is None else record["step"]


def summary(workdir: str | Path, step: int) -> dict[str, Any] | None:
    """What is to be said of a checkpoint that was chosen; None of one that was not."""
    record = read(workdir)
    if record is None or record["step"] != step:
        return None
    kept = {name: record[name] for name in ("metric", "value", "split", "images")}
    return {**kept, "evaluations": len(record["evaluations"])}


def _is_whole(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    rows = record.get("evaluations")
    if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) == 2 for r in rows):
        return False
    steps = {step: value for step, value in rows if _is_step(step) and _is_value(value)}
    best = record.get("step", "")
    return (
        len(steps) == len(rows)
        and (best is None or (_is_step(best) and best in steps))
        and _is_value(record.get("value"))
        and all(isinstance(record.get(name), str) for name in ("metric", "split", "data"))
        and _is_step(record.get("images"))
    )


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_value(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value))
