"""A diagnosis for people: a table for the terminal, one JSON, one HTML page with everything in it.

Drawings need Pillow, which is loaded only where a folder of images is given.
"""

import base64
import io as streams
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import diagnosis_plot
from ggnet_jax.evaluation.diagnosis import (
    ALL_MISSED,
    ALL_WRONG,
    MISSED,
    MISTAKES,
    RECALLS,
    Diagnosis,
    mean_curve,
)
from ggnet_jax.evaluation.results import readable
from ggnet_jax.evaluation.worst import Mistake, worst
from ggnet_jax.table import align

MEANING = {
    "duplicate": "both boxes match a pair of its class that has its prediction already",
    "wrong_verb": "both boxes match an annotated pair, but the verb is another",
    "wrong_pairing": "both boxes are annotated, but not as a pair",
    "human_box": "the object is found, the human box is not where anyone is annotated",
    "object_box": "the human is found, the object box is misplaced or of another category",
    "both_boxes": "neither box is found, both are near (overlap 0.1 or more)",
    "background": "none of these: nothing like it is annotated",
    "missed_both_there": "not predicted, though human and object have matching boxes",
    "missed_human_there": "only the human has a matching box",
    "missed_object_there": "only the object has a matching box",
    "missed_neither_there": "neither has a matching box",
    ALL_WRONG: "all of them removed",
    ALL_MISSED: "all of them taken out of the ground truth",
}
_BLUE, _ORANGE = "#0072B2", "#E69F00"
_NAMED = 10  # of the costliest classes


def table(diagnosis: Diagnosis) -> str:
    """What every kind costs, and the classes that cost most, for a terminal."""
    scores = diagnosis.matches.scores
    means = scores.means
    head = ["mAP gained if mended, points", "count", "mended", *map(readable, means)]
    blocks = [f"diagnosis: {diagnosis.matches.title}"]
    now = ["mAP as it is, percent", "", "", *(_points(value) for value in means.values())]
    rows = [now]
    for name in (*MISTAKES, ALL_WRONG, *MISSED, ALL_MISSED):
        cost = diagnosis.costs[name]
        mended = f"{cost.mended:,}" if name in MISTAKES else ""
        points = (_points(cost.points[group]) for group in means)
        rows.append([readable(name), f"{cost.count:,}", mended, *points])
    blocks.append(align([head, *rows]))
    other = int(diagnosis.other_category.sum())
    if other:
        blocks.append(f"{other:,} of the object box mistakes are on an object of another category")
    head = ["costs most", "points", "AP", "ground truth", "mostly"]
    rows = []
    for index in diagnosis.costliest(_NAMED):
        rows.append(
            [
                scores.labels[index],
                _points(diagnosis.points_lost[index]),
                _points(scores.ap[index]),
                str(scores.ground_truth[index]),
                readable(_main_kind(diagnosis, index)),
            ]
        )
    if rows:
        blocks.append(align([head, *rows]))
    return "\n\n".join(blocks)


def _points(value: Any) -> str:
    """A fraction in percent, "-" for NaN."""
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def _main_kind(diagnosis: Diagnosis, index: int) -> str:
    """The kind that costs a class most."""
    return max((*MISTAKES, *MISSED), key=lambda k: np.nan_to_num(diagnosis.costs[k].classes[index]))


def to_dict(diagnosis: Diagnosis, mistakes: Sequence[Mistake] = ()) -> dict[str, Any]:
    """Everything as JSON's types; NaN becomes None."""
    m, scores = diagnosis.matches, diagnosis.matches.scores
    wrong = [np.bincount(m.group[diagnosis.kind == k], minlength=len(scores.ap))
             for k in range(len(MISTAKES))]  # fmt: skip
    lost = [np.bincount(m.true_class[diagnosis.missed == k], minlength=len(scores.ap))
            for k in range(len(MISSED))]  # fmt: skip
    counts = dict(zip((*MISTAKES, *MISSED), (*wrong, *lost), strict=True))
    costliest = diagnosis.costliest(_NAMED)
    return {
        "title": m.title,
        "unit": "fractions; null where a class has no figure",
        "means": _plain(scores.means),
        "kinds": {
            name: {
                "meaning": MEANING[name],
                "count": cost.count,
                "mended": cost.mended,
                "gain": _plain(cost.points),
            }
            for name, cost in diagnosis.costs.items()
        },
        "object_boxes_of_another_category": int(diagnosis.other_category.sum()),
        "precision_at_recall": {
            "recall": RECALLS.tolist(),
            diagnosis_plot.AS_IT_IS: _plain(mean_curve(diagnosis.curves)),
            **{name: _plain(cost.curve) for name, cost in diagnosis.costs.items()},
        },
        "costliest": [
            {
                "class": scores.labels[index],
                "points_lost": float(diagnosis.points_lost[index]),
                "mostly": _main_kind(diagnosis, index),
                "precision": _plain(diagnosis.curves[index]),
            }
            for index in costliest
        ],
        "classes": [
            {
                **names,
                "ap": _plain(scores.ap[index]),
                "points_lost": float(diagnosis.points_lost[index]),
                "ground_truth": int(scores.ground_truth[index]),
                "predictions": int(scores.predictions[index]),
                "counts": {k: int(number[index]) for k, number in counts.items() if number[index]},
                "gain": {
                    k: float(cost.classes[index])
                    for k, cost in diagnosis.costs.items()
                    if np.nan_to_num(cost.classes[index])
                },
                "precision": _plain(diagnosis.curves[index, ::10]),
            }
            for index, names in enumerate(scores.classes)
        ],
        "worst": [mistake.to_dict() for mistake in mistakes],
    }


def _plain(value: Any) -> Any:
    """Numbers as JSON's types, NaN as None."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value]
    return None if np.isnan(value) else round(float(value), 12)


def write(diagnosis: Diagnosis, folder: str | Path, images: str | Path | None = None) -> list[Path]:
    """Write diagnosis.json, diagnosis.html and, given images, mistakes/*.png; returns their paths.

    Args:
        diagnosis: what to write.
        folder: where to.
        images: folder of the data set's images. One that lacks an image is said in the page.

    Raises:
        UserError: the folder can't be written, or `images` has none of the images.
    """
    folder = Path(folder)
    mistakes = worst(diagnosis)
    drawings = [b""] * len(mistakes) if images is None else draw(mistakes, Path(images))
    paths = [folder / "diagnosis.json", folder / "diagnosis.html"]
    named = [
        (folder / "mistakes" / f"{number:02d}_{mistake.kind}.png", drawing)
        for number, (mistake, drawing) in enumerate(zip(mistakes, drawings, strict=True), 1)
        if drawing
    ]
    try:
        (folder / "mistakes" if named else folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the diagnosis to {folder}: {error.strerror}") from None
    io.write_json(paths[0], to_dict(diagnosis, mistakes), depth=3)
    io.write_file(paths[1], page(diagnosis, mistakes, drawings))
    for path, drawing in named:
        io.write_file(path, drawing)
    return [*paths, *(path for path, _ in named)]


def draw(mistakes: Sequence[Mistake], images: Path) -> list[bytes]:
    """The mistakes over their images as PNG files; empty where there is no such image.

    Raises:
        UserError: there is no such folder, or it has none of the images.
    """
    try:
        from ggnet_jax.inference.images import load_image
        from ggnet_jax.visualize.mistakes import draw_mistake
    except ImportError as error:
        raise UserError(f"drawings need Pillow (pip install pillow): {error}") from None
    if not images.is_dir():
        raise UserError(f"images: {images} is not a folder")
    drawings = []
    for mistake in mistakes:
        path = images / mistake.file_name
        path = path if path.is_file() else images / Path(mistake.file_name).name
        if not path.is_file():
            drawings.append(b"")
            continue
        stream = streams.BytesIO()
        drawing = draw_mistake(load_image(path), mistake.predicted, mistake.annotated)
        drawing.save(stream, "PNG")
        drawings.append(stream.getvalue())
    if mistakes and not any(drawings):
        raise UserError(
            f"images: {images} has none of the images, such as {mistakes[0].file_name!r}; give "
            "the folder that holds them"
        )
    return drawings


def page(
    diagnosis: Diagnosis, mistakes: Sequence[Mistake], drawings: Sequence[bytes | None]
) -> str:
    """One HTML page that needs nothing else."""
    scores = diagnosis.matches.scores
    group = next(iter(scores.groups))
    kinds = (*MISTAKES, *MISSED)
    gains = {readable(k): 100 * diagnosis.costs[k].points[group] for k in kinds}
    colors = {readable(k): _BLUE if k in MISTAKES else _ORANGE for k in kinds}
    most = sorted(kinds, key=lambda k: -np.nan_to_num(diagnosis.costs[k].points[group]))[:5]
    mended = [(f"without {readable(k)}", diagnosis.costs[k].curve) for k in most]
    costliest = diagnosis.costliest(_NAMED)
    shown = [(scores.labels[i], diagnosis.curves[i]) for i in costliest]
    title = f"Diagnosis: {diagnosis.matches.title}"
    means = ", ".join(f"{readable(k)} {_points(v)}" for k, v in scores.means.items())
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>mAP, percent: {escape(means)}.</p>",
        "<h2>What every kind of mistake costs</h2>",
        f"<p>Points of mAP ({escape(readable(group))}) gained if that kind alone is mended. They "
        "don't add up: mending one changes what another is worth.</p>",
        diagnosis_plot.bars(gains, colors, "points of mAP; blue: predicted, orange: missed"),
        _kinds_table(diagnosis),
        "<h2>Precision over recall</h2>",
        "<p>The best precision at a recall or more, mean over the classes with ground truth.</p>",
        diagnosis_plot.curves(
            [(diagnosis_plot.AS_IT_IS, mean_curve(diagnosis.curves)), *mended], "mean over classes"
        ),
        "<h2>The classes that cost most</h2>",
        _classes_table(diagnosis, costliest),
        diagnosis_plot.curves(shown, "those classes"),
        "<h2>The worst mistakes</h2>",
        "<p>Of every kind those that cost about most. Left: predicted; right: annotated. Humans "
        "have solid boxes, objects dashed ones.</p>",
    ]
    for mistake, drawing in zip(mistakes, drawings, strict=True):
        parts.append(_figure(mistake, drawing))
    return "\n".join([*parts, "</body></html>\n"])


_STYLE = (
    "body{font-family:sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#1a1a1a}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .7em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child,td.text{text-align:left}"
    "figure{margin:1.5em 0}img,svg{max-width:100%}figcaption{margin-bottom:.4em}"
)


def _kinds_table(diagnosis: Diagnosis) -> str:
    means = list(diagnosis.matches.scores.means)
    rows = []
    for name in (*MISTAKES, ALL_WRONG, *MISSED, ALL_MISSED):
        cost = diagnosis.costs[name]
        mended = f"{cost.mended:,}" if name in MISTAKES else ""
        gains = [_points(cost.points[group]) for group in means]
        rows.append([readable(name), f"{cost.count:,}", mended, *gains, MEANING[name]])
    head = ["kind", "count", "mended", *map(readable, means), "meaning"]
    other = int(diagnosis.other_category.sum())
    note = f"<p>{other:,} of the object box mistakes are on an object of another category.</p>"
    return _html_table(head, rows) + (note if other else "")


def _classes_table(diagnosis: Diagnosis, costliest: np.ndarray) -> str:
    scores = diagnosis.matches.scores
    rows = [
        [
            scores.labels[i],
            _points(diagnosis.points_lost[i]),
            _points(scores.ap[i]),
            f"{scores.ground_truth[i]:,}",
            f"{scores.predictions[i]:,}",
            readable(_main_kind(diagnosis, i)),
        ]
        for i in costliest
    ]
    return _html_table(["class", "points", "AP", "ground truth", "predictions", "mostly"], rows)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[:-1])
        lines.append(f'<tr>{cells}<td class="text">{escape(row[-1])}</td></tr>')
    return "<table>" + "\n".join(lines) + "</table>"


def _figure(mistake: Mistake, drawing: bytes | None) -> str:
    score = "" if mistake.score is None else f", score {mistake.score:.2g}"
    text = (
        f"<b>{escape(readable(mistake.kind))}</b>: {escape(mistake.label)}{score}, about "
        f"{100 * mistake.points:.3f} points, in {escape(mistake.file_name)}"
    )
    told = "; ".join(
        f"{side}: {', '.join(pair.label for pair in pairs) or 'nothing'}"
        for side, pairs in (("predicted", mistake.predicted), ("annotated", mistake.annotated))
    )
    if not drawing:
        return f"<p>{text} ({escape(told)})</p>"
    data = base64.b64encode(drawing).decode()
    return (
        f"<figure><figcaption>{text}</figcaption>"
        f'<img alt="{escape(told)}" src="data:image/png;base64,{data}"></figure>'
    )
