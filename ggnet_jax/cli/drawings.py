"""Pictures of a finished run: what it finds in the evaluation split, and how it learnt."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import data_pipelines
from data_pipelines import records
from ggnet_jax.cli.predict import nothing_above
from ggnet_jax.inference.detector import Detector
from ggnet_jax.visualize import draw_explanation, draw_summary, plot_learning_curves

FOLDER = "pictures"


def draw_run(config: Any, workdir: str | Path, step: int | None = None) -> list[Path]:
    """Draw a few pictures of the evaluation split and the learning curves.

    (The AP of every class is drawn where it is scored, into `<workdir>/evaluation`.)

    Args:
        config: resolved; `eval.pictures` pictures are drawn, evenly spaced over the split.
        workdir: of the run, after training or evaluation.
        step: of the checkpoint; None for the newest.

    Returns:
        The PNG files written, in `<workdir>/pictures`.
    """
    workdir = Path(workdir)
    folder = workdir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = draw_examples(config, workdir, step)
    log = workdir / "log.jsonl"
    if log.exists() and len(log.read_text().splitlines()) > 1:
        written.append(plot_learning_curves(log, folder / "learning_curves.png"))
    return written


def draw_examples(config: Any, workdir: str | Path, step: int | None = None) -> list[Path]:
    """Draw `config.eval.pictures` pictures of the evaluation split; see `draw_run`."""
    dataset = data_pipelines.load_dataset(config.data, training=False)
    index = records.index_split(dataset.builder, config.data.eval_split)
    count = min(config.eval.pictures, len(index))
    if count < 1:
        return []
    detector = Detector.load(workdir, step)
    written = []
    for position in np.linspace(0, len(index) - 1, count).round().astype(int):
        example = records.parse(dataset.builder, index.read(tf.constant(int(position), tf.int64)))
        name = Path(example["file_name"].numpy().decode()).stem
        # As the input pipeline decodes it: the builder has settled what an EXIF rotation means.
        decoded = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        picture = decoded.numpy()
        every, heatmaps = detector.explain(picture, threshold=0.0)
        found, note = [one for one in every if one.score >= config.eval.threshold], ""
        if not found:  # early in training: one can still see what it thinks of
            found, note = every[:1], nothing_above(config.eval.threshold, every)
        path = Path(workdir) / FOLDER / f"{name}.png"
        draw_summary(picture, found, note=note).save(path)
        written.append(path)
        if found:
            path = path.with_name(f"{name}_explained.png")
            draw_explanation(picture, found, heatmaps).save(path)
            written.append(path)
    return written
