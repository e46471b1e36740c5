"""Drawings of a finished run: what it finds in the evaluation split, and how it learnt."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ggnet_jax.cli.evaluate_split import check_split, results_folder
from ggnet_jax.cli.image_paths import drawing_names
from ggnet_jax.cli.predict import draw, drawing_paths, labels, nothing_above
from ggnet_jax.dataset import DataPipelines
from ggnet_jax.inference.detector import Detector
from ggnet_jax.io import read_log
from ggnet_jax.run_dir.checkpoints import Step
from ggnet_jax.run_dir.folder import DRAWINGS, EVALUATION, EXAMPLES, LOG
from ggnet_jax.visualize import fonts, plot_learning_curves, save_drawing


def draw_run(
    config: Any, workdir: str | Path, step: Step = None, *, data: DataPipelines
) -> list[Path]:
    """Draw a few images of the evaluation split and the learning curves.

    (The AP of every class is drawn where it is scored, into `<workdir>/evaluation`.)

    Args:
        config: resolved; `eval.pictures` images are drawn, evenly spaced over the split.
        workdir: of the run, after training or evaluation.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        data: where the split comes from.

    Returns:
        The PNG files written, in `<workdir>/pictures`; images of another set, or of another
        checkpoint than the newest, in a folder inside that is called as that of their evaluation.
    """
    workdir = Path(workdir)
    drawings = workdir / DRAWINGS
    evaluation = results_folder(config, workdir, step)
    folder = drawings / evaluation.relative_to(workdir / EVALUATION)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    if config.eval.pictures > 0:
        dataset = data.load_dataset(config.data, training=False)
        check_split(dataset)
        images = list(dataset.example_images(config.data.eval_split, config.eval.pictures))
        detector = Detector.load(workdir, step, dtype=config.model.dtype)
        fonts.say_missing(labels(detector.vocabulary))
        names = drawing_names([Path(file_name) for file_name, _ in images])
        for name, (_, image) in zip(names, images, strict=True):
            paths = drawing_paths(folder, name)
            written += _draw_example(detector, image, config.eval.threshold, paths)
            if folder == drawings:  # the run's own split
                _save_example(workdir / EXAMPLES, name, image)
    log = workdir / LOG
    if log.exists() and len(list(read_log(log))) > 1:
        written.append(plot_learning_curves(log, drawings / "learning_curves.png"))
    return written


def _save_example(folder: Path, name: str, image: np.ndarray) -> None:
    """Keep an image as it is, for --mode=serve."""
    folder.mkdir(exist_ok=True)
    save_drawing(Image.fromarray(image), folder / f"{name}.png")


def _draw_example(
    detector: Detector, image: np.ndarray, threshold: float, paths: tuple[Path, Path]
) -> list[Path]:
    for stale in paths:
        stale.unlink(missing_ok=True)
    found = detector.explain(image, threshold=0.0)
    every = found.interactions
    shown, note = [one for one in every if one.score >= threshold], ""
    if not shown:  # early in training: one can still see what it thinks of
        shown, note = every[:1], nothing_above(threshold, every)
    return draw(found, shown, note, *paths)
