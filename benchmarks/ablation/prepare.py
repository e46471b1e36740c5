"""What an ablation is made of, written down: the rows' configurations and the batches.

Where ml_collections or TensorFlow is missing, what was written elsewhere is taken as it is.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ablation import batches
from benchmarks.ablation import folder as places
from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder as workdir

Say = Callable[[str], None]


class Task(NamedTuple):
    """One training."""

    row: str
    seed: int


def prepare(
    root: str | Path,
    seeds: Sequence[int],
    say: Say = print,
    make_config: Callable[[str], Any] | None = None,
) -> None:
    """Write rows and batches that are missing, as far as this machine can.

    Args:
      root: folder of the ablation.
      seeds: of the trainings.
      say: told what is being done.
      make_config: name of a row -> its configuration; `configs.ablation.get_config` if not given.

    Raises:
      UserError: something is missing and can't be made here, or is of another configuration.
    """
    root = Path(root)
    if make_config is not None or _installed("ml_collections"):
        write_rows(root, make_config)
    names = row_names(root)
    if not names:
        raise UserError(
            f"no rows in {root / places.ROWS}, and ml_collections, which resolves their "
            "configurations, is not installed; run --prepare where it is, and copy the folder"
        )
    missing = batches.missing(root, list(seeds))
    if missing and not _installed("tensorflow"):
        raise UserError(
            f"no batches of seed {missing[0]} in {root}, and TensorFlow, which makes them, is not "
            "installed; run --prepare where it is, and copy the folder"
        )
    config = workdir.Fields(places.read_row(root, names[0])["config"])
    if not missing:
        batches.check_source(root, config)
        return
    from ml_collections import ConfigDict

    batches.write(root, ConfigDict(places.read_row(root, names[0])["config"]), missing, say)


def write_rows(root: Path, make_config: Callable[[str], Any] | None = None) -> None:
    """Write the rows of Tables 1 to 3 that have one picture of their own, with their figures."""
    from configs import ablation, paper  # and with them ml_collections

    make_config = make_config or ablation.get_config
    (root / places.ROWS).mkdir(parents=True, exist_ok=True)
    for place, (name, row) in enumerate(paper.ROWS.items()):
        table = name.partition("_")[0]
        if table not in ("table1", "table2", "table3") or name.endswith("_hico"):
            continue
        figures = dict(row.paper)
        twin = paper.ROWS.get(f"{name}_hico")
        if twin is not None:
            figures |= twin.paper
        content = {
            "name": name,
            "place": place,
            "table": table,
            "label": row.label,
            "original": paper.original(name),
            "changes": paper.differences(name),
            "paper": figures,
            "config": make_config(name).to_dict(),
        }
        path = places.row_file(root, name)
        if not path.is_file() or json.loads(path.read_text()) != json.loads(json.dumps(content)):
            io.write_json(path, content)


def row_names(root: str | Path) -> list[str]:
    """The rows of an ablation in the paper's order."""
    rows = [json.loads(path.read_text()) for path in (Path(root) / places.ROWS).glob("*.json")]
    return [row["name"] for row in sorted(rows, key=lambda row: row["place"])]


def tasks(root: str | Path, rows: Sequence[str], seeds: Sequence[int]) -> list[Task]:
    """What has to be trained for some rows: Table 1 with all seeds first, then the rest.

    A row that repeats another is trained once. Within a part every row gets its first seed before
    any gets its second, so that a table is whole as early as possible.

    Raises:
      UserError: there is no such row.
    """
    known = row_names(root)
    for row in rows:
        if row not in known:
            raise UserError(f"no row {row!r} in this ablation; it has {', '.join(known)}")
    originals = list(dict.fromkeys(places.read_row(root, row)["original"] for row in rows))
    first = [row for row in originals if row.startswith("table1")]
    rest = [row for row in originals if row not in first]
    return [Task(row, seed) for part in (first, rest) for seed in seeds for row in part]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # how Python says that an import is blocked
        return False
