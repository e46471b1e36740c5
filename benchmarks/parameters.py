"""How many parameters every row of the paper's tables has at full size, without computing any.

    python -m benchmarks.parameters [--output=benchmarks/results/parameters.md]

Shapes alone are worked out (`jax.eval_shape`), which takes seconds on any machine. "Interactions"
are glance and gaze (or Table 3's structures), "matching" the location regressors, of all stacks.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp

from configs import paper
from ggnet_jax.models import create_model

SIZE = 128  # of the input: the smallest that Hourglass-104 takes; parameters do not depend on it
COLUMNS = ("total", "backbone", "objects", "interactions", "matching")
SETTINGS = {
    "vcoco": "V-COCO, Hourglass-104",
    "hico": "HICO-DET, Hourglass-104",
    "hico_dla34": "HICO-DET, DLA-34",
}


def count(config: Any) -> dict[str, int]:
    """Parameters of `config.model`'s network by part, under the names of `COLUMNS`."""
    model = create_model(config)
    images = jnp.zeros((1, SIZE, SIZE, 3))
    params = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    heads = [params[name] for name in params if name.startswith("heads")]

    def size(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    parts = {name: sum(size(head[name]) for head in heads) for name in COLUMNS[2:]}
    return {"total": size(params), "backbone": size(params["backbone"]), **parts}


def table() -> str:
    """Every row's counts as Markdown."""
    lines = [
        "# Parameters of the paper's rows at full size",
        "",
        "Written by `python -m benchmarks.parameters`; the rows are those of configs/paper.py.",
        "",
        "| row | | network | " + " | ".join(COLUMNS) + " |",
        "| --- | --- | --- |" + " ---: |" * len(COLUMNS),
    ]
    counts: dict[str, dict[str, int]] = {}  # by model: rows that repeat others cost nothing
    for name, row in paper.ROWS.items():
        model = paper.get_config(name).model
        key = model.to_json()
        if key not in counts:
            counts[key] = count(model)
        cells = [f"`{name}`", row.label, SETTINGS[paper.setting(name)]]
        cells += [f"{counts[key][column]:,}" for column in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table; write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="a Markdown file to write")
    output = parser.parse_args(argv).output
    text = table()
    print(text, end="")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)


if __name__ == "__main__":
    main()
