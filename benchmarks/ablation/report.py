"""What came out, as Markdown, JSON and a plot beside the paper's own differences."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation import folder as places
from benchmarks.ablation.prepare import row_names
from ggnet_jax import io

MARKDOWN, JSON, PLOT = "ablation.md", "ablation.json", "ablation.png"
GROUPS = ("full", "rare", "non_rare")
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
PAPER = {"v_coco": "V-COCO", "hico_det": "HICO-DET"}
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"


def collect(root: str | Path) -> dict[str, Any]:
    """Everything that the tables hold.

    Returns:
      {"budget", "rows": [one a row: "name", "table", "label", "reference", "seeds", "map" and
      "difference" ({group: {"mean", "std", "values"}}, percent; differences are those of the same
      seed to the reference), "paper", "paper_difference", "parameters", "minutes", "devices"]}.
      A row without a result has no seeds.
    """
    files = {name: places.read_row(root, name) for name in row_names(root)}
    results = {name: _results(root, files[name]["original"]) for name in files}
    rows = []
    for name, file in files.items():
        reference = next(row for start, row in REFERENCES.items() if name.startswith(start))
        found, base = results[name], results.get(reference, {})
        values = {seed: _means(result) for seed, result in found.items()}
        base_values = {seed: _means(result) for seed, result in base.items()}
        common = [seed for seed in values if seed in base_values]
        paper, base_paper = file["paper"], files.get(reference, {"paper": {}})["paper"]
        rows.append(
            {
                "name": name,
                "table": file["table"],
                "label": file["label"],
                "reference": reference,
                "seeds": sorted(values),
                "map": {g: _statistics([values[s][g] for s in sorted(values)]) for g in GROUPS},
                "difference": {
                    g: _statistics([values[s][g] - base_values[s][g] for s in sorted(common)])
                    for g in GROUPS
                },
                "paper": paper,
                "paper_difference": {
                    key: round(paper[key] - base_paper[key], 2)
                    for key in PAPER
                    if key in paper and key in base_paper
                },
                "parameters": next((r["parameters"] for r in found.values()), None),
                "minutes": _statistics(
                    [(r["train_seconds"] + r["evaluate_seconds"]) / 60 for r in found.values()]
                ),
                "devices": sorted(
                    {f"{r['device']}, {r['cpu_cores']} cores a run" for r in found.values()}
                ),
            }
        )
    return {"budget": _budget(next(iter(files.values()))["config"]), "rows": rows}


def write(root: str | Path) -> list[Path]:
    """Write the tables as Markdown and JSON; their paths."""
    content = collect(root)
    paths = [Path(root) / MARKDOWN, Path(root) / JSON]
    draft = paths[0].with_name(MARKDOWN + ".unfinished")
    draft.write_text(markdown(content))
    os.replace(draft, paths[0])
    io.write_json(paths[1], content)
    return paths


def markdown(content: Mapping[str, Any]) -> str:
    """The tables, one of the paper's each."""
    lines = [
        "# The paper's ablations on the embedded data set",
        "",
        content["budget"],
        "mAP in percent (HICO-DET's Default setting), mean ± standard deviation over seeds.",
        "Differences in Full: to the row marked *, run by run of the same seed; the paper's beside",
        "them. Rows that repeat another were trained once.",
    ]
    for table, title in TITLES.items():
        rows = [row for row in content["rows"] if row["table"] == table]
        if not any(row["seeds"] for row in rows):
            continue
        sets = [key for key in PAPER if any(key in row["paper"] for row in rows)]
        head = ["row", "seeds", "Full", "Rare", "Non-rare", "difference"]
        head += [f"paper, {PAPER[key]}" for key in sets] + ["parameters", "minutes a run"]
        lines += ["", f"## {title}", "", _line(head), _line(["---"] * len(head))]
        references = {row["reference"] for row in rows}
        for row in rows:
            mark = " *" if row["name"] in references else ""
            cells = [row["label"] + mark, str(len(row["seeds"]))]
            cells += [_number(row["map"][group]) for group in GROUPS]
            cells.append("" if mark else _number(row["difference"]["full"], sign=True))
            for key in sets:
                figure = f"{row['paper'][key]:.2f}" if key in row["paper"] else ""
                change = row["paper_difference"].get(key)
                cells.append(figure if mark or change is None else f"{figure} ({change:+.2f})")
            count = row["parameters"]
            cells.append("" if count is None else f"{count:,}")
            minutes = row["minutes"]
            cells.append(f"{minutes['mean']:.1f}" if minutes else "")
            lines.append(_line(cells))
    devices = sorted({device for row in content["rows"] for device in row["devices"]})
    lines += ["", f"Run on: {'; '.join(devices) or 'nothing yet'}.", ""]
    return "\n".join(lines)


def plot(root: str | Path) -> Path:
    """Draw every row's difference to its reference: ours by seed, and the paper's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    content = collect(root)
    drawn = {}
    for table in TITLES:
        rows = [row for row in content["rows"] if row["table"] == table]
        references = {row["reference"] for row in rows}
        rows = [row for row in rows if row["difference"]["full"] and row["name"] not in references]
        if rows:
            drawn[table] = rows
    path = Path(root) / PLOT
    counts = [len(rows) for rows in drawn.values()] or [1]
    figure = Figure(figsize=(9, 1.1 + sum(0.42 * n + 0.9 for n in counts)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(counts), 1, squeeze=False, height_ratios=[n + 1 for n in counts])
    for axis, (table, rows) in zip(axes[:, 0], drawn.items(), strict=False):
        _panel(axis, table, rows)
    if drawn:
        handles = {label: h for a in axes[:, 0] for h, label in zip(*_legend(a), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)
    axes[-1, 0].set_xlabel("difference in mAP, points")
    figure.savefig(path, dpi=110)
    return path


def _panel(axis: Any, table: str, rows: list[Mapping[str, Any]]) -> None:
    places_ = np.arange(len(rows))
    markers = {"v_coco": ("D", ORANGE), "hico_det": ("s", GREEN)}
    for place, row in zip(places_, rows, strict=True):
        ours = row["difference"]["full"]
        axis.barh(place, ours["mean"], height=0.5, color=BLUE, alpha=0.35, label="here, mean")
        height = [place] * len(ours["values"])
        axis.plot(ours["values"], height, "o", color=BLUE, ms=4, label="here, a seed")
        for key, (marker, colour) in markers.items():
            if key in row["paper_difference"]:
                axis.plot(
                    row["paper_difference"][key], place, marker, color=colour, ms=7,
                    markerfacecolor="none", markeredgewidth=1.8, label=f"paper, {PAPER[key]}",
                )  # fmt: skip
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.set_yticks(places_, [row["label"] for row in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_title(TITLES[table], loc="left", fontsize=11)
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(axis: Any) -> tuple[list[Any], list[str]]:
    return axis.get_legend_handles_labels()


def _results(root: str | Path, original: str) -> dict[int, dict[str, Any]]:
    """Finished runs of a row by seed."""
    found = {}
    for folder in sorted(places.run_folder(root, original, 0).parent.glob("seed*/")):
        seed = int(folder.name.removeprefix("seed"))
        result = places.read_result(root, original, seed)
        if result is not None:
            found[seed] = result
    return found


def _means(result: Mapping[str, Any]) -> dict[str, float]:
    """Percent by group; NaN where there is none."""
    means = result["metrics"]["settings"]["default"]["means"]
    return {g: float("nan") if means.get(g) is None else 100 * means[g] for g in GROUPS}


def _statistics(values: list[float]) -> dict[str, Any] | None:
    """Mean and (sample) standard deviation, which one value has none of."""
    if not values or not np.isfinite(values).all():
        return None
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "mean": round(float(np.mean(values)), 4),
        "std": None if std is None else round(std, 4),
        "values": [round(float(value), 4) for value in values],
    }


def _number(figures: Mapping[str, Any] | None, sign: bool = False) -> str:
    if figures is None:
        return ""
    mean = f"{figures['mean']:+.2f}" if sign else f"{figures['mean']:.2f}"
    return mean if figures["std"] is None else f"{mean} ± {figures['std']:.2f}"


def _budget(config: Mapping[str, Any]) -> str:
    figures = config["data"]["figures"]
    height, width = config["data"]["image_size"]
    return (
        f"{figures['num_train']} pictures of {width} x {height} to train on, "
        f"{figures['num_test']} to score; {config['num_epochs']} epochs of batches of "
        f"{config['batch_size']}, Adam at {config['learning_rate']:g}, {config['schedule']} "
        f"schedule; hourglass of widths {tuple(config['model']['widths'])}."
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
