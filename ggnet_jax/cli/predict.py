"""--mode=predict: images in, predictions and drawings out."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.cli.image_paths import EXPLAINED, check_output, drawing_names, find_images
from ggnet_jax.cli.prediction_lines import PredictionLines
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, Detector, Explanation
from ggnet_jax.inference.detector import EXPLAINED as HEATMAPS
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.interactions import (
    Interaction,
    check_threshold_option,
    failure_line,
    prediction_entry,
    prediction_line,
)
from ggnet_jax.inference.prefetch import prefetch
from ggnet_jax.run_dir.checkpoints import Step
from ggnet_jax.run_dir.folder import PREDICTIONS, require_run
from ggnet_jax.visualize import draw_explanation, draw_summary, fonts, save_drawing
from ggnet_jax.vocabularies import Vocabulary

NATIVE, PPDM = "native", "ppdm"
FORMATS = (NATIVE, PPDM)
FILES = {NATIVE: "predictions.jsonl", PPDM: "predictions.json"}


def predict(
    workdir: str | os.PathLike,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    step: Step = None,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    format: str = NATIVE,
    max_pixels: int = MAX_PIXELS,
    dtype: str | None = None,
) -> int:
    """Detect the interactions of images and draw them.

    Writes into `output`, for each image `NAME.png` (interactions, and the ActPoints of the
    strongest ones), `NAME_explained.png` if something was found (heatmaps of glance and gaze,
    matching arrows), and, when all is done, one of

    - `predictions.jsonl`, a line for each image: {"file_name": path, "width": w, "height": h,
      "drawing": "NAME.png", "explanation": "NAME_explained.png" or null, "interactions": [...]};
    - `predictions.json` for the format "ppdm", which the evaluators read: the name of the image's
      file, without its folders, and all that the network found, however little it scores.

    An image that can't be read is named on stderr and the others go on; its line is {"file_name":
    path, "error": why}, its entry for the evaluators empty.

    Args:
        workdir: of a run.
        images: files, folders (searched for images, not their subfolders) and globs; a string
            may hold several with commas between.
        output: folder for what is written; `<workdir>/predictions` if None.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        threshold: interactions that score less are left out.
        format: of the predictions, "native" or "ppdm".
        max_pixels: width times height of the largest image that is read.
        dtype: in which to convolve, "float32" or "bfloat16"; None for that of training.

    Returns:
        How many images failed; an exit code should be 0 only if none did.

    Raises:
        UserError: no image at all, no run in the workdir, a drawing would replace an image, or the
            output cannot be written.
    """
    paths = find_images(images)
    folder = prepare(workdir, paths, output, threshold, format=format, max_pixels=max_pixels)
    names = drawing_names(paths)
    check_output(folder, names, paths)
    with PredictionLines(folder / FILES[format]) as lines:
        detector = Detector.load(
            workdir, step, explained=HEATMAPS, max_pixels=max_pixels, dtype=dtype
        )
        vocabulary = detector.vocabulary
        fonts.say_missing(labels(vocabulary))
        # The network works on the next image while this one is drawn.
        explained = prefetch(lambda path: detector.explain(path, threshold=0.0), paths, depth=1)
        failures = 0
        for number, (path, name, future) in enumerate(zip(paths, names, explained, strict=True), 1):
            for stale in drawing_paths(folder, name):
                stale.unlink(missing_ok=True)
            try:
                found = future.result()
            except (UserError, MemoryError) as error:
                failures += 1
                why = str(error) or f"{path}: out of memory"
                print(f"skipped {why}", file=sys.stderr)
                lines.add(failure_entry(path, why, format))
                continue
            shown = [one for one in found.interactions if one.score >= threshold]
            note = "" if shown else nothing_above(threshold, found.interactions)
            drawings = draw(found, shown, note, *drawing_paths(folder, name))
            if format == PPDM:
                lines.add(prediction_entry(found.interactions, vocabulary, file_name=path.name))
            else:
                height, width = found.image.shape[:2]
                written = [drawing.name for drawing in drawings]
                lines.add(prediction_line(str(path), width, height, shown, written))
            print(f"[{number}/{len(paths)}] {path}: ", end="")
            print(f"{len(shown)} found, {shown[0].label}" if shown else note)
        if format == PPDM:
            io.write_json(folder / FILES[PPDM], list(lines.entries()), depth=1)
    done = len(paths) - failures
    print(f"{done} of {len(paths)} images drawn, {failures} skipped; see {folder}")
    return failures


def prepare(
    workdir: str | os.PathLike,
    paths: Sequence[Path],
    output: str | os.PathLike | None,
    threshold: float,
    *,
    format: str,
    max_pixels: int,
) -> Path:
    """Check what was asked for, and make the folder that is written into; arguments of `predict`.

    Raises:
        UserError: an option is impossible, there is no run, or the folder can't be made.
    """
    if format not in FORMATS:
        raise UserError(f"--format={format}; it can be {' or '.join(FORMATS)}")
    folder = output_folder(workdir, output, threshold, max_pixels=max_pixels)
    if format == PPDM:
        _check_distinct(paths)
    make_folder(folder)
    return folder


def output_folder(
    workdir: str | os.PathLike,
    output: str | os.PathLike | None,
    threshold: float,
    *,
    max_pixels: int,
) -> Path:
    """Check the options of every kind of prediction; the folder to write into, not made yet.

    Raises:
        UserError: an option is impossible, or there is no run.
    """
    if max_pixels < 1:
        raise UserError(f"--max_pixels={max_pixels}; give width times height of the largest image")
    check_threshold_option(threshold)
    require_run(Path(workdir))
    return Path(workdir) / PREDICTIONS if output is None else Path(output)


def make_folder(folder: Path) -> None:
    """Make the folder that is written into.

    Raises:
        UserError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error


def drawing_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Where an image's drawing and its explanation lie."""
    return folder / f"{name}.png", folder / f"{name}{EXPLAINED}.png"


def draw(
    found: Explanation, shown: Sequence[Interaction], note: str, drawing: Path, explanation: Path
) -> list[Path]:
    """Write the drawing of an image, and its explanation if something is shown.

    Args:
        found: what the detector says.
        shown: those of its interactions that are drawn, by descending score.
        note: written into a corner.
        drawing: where to write, see `drawing_paths`.
        explanation: alike.

    Returns:
        The files written.
    """
    save_drawing(draw_summary(found.image, shown, note=note), drawing)
    if not shown:
        return [drawing]
    save_drawing(draw_explanation(found.image, shown, found.heatmaps), explanation)
    return [drawing, explanation]


def nothing_above(threshold: float, found: Sequence[Interaction]) -> str:
    """What to say of an image whose interactions all score less than the threshold."""
    best = f"; the best is {found[0].label}" if found else ""
    return f"nothing above {threshold:.2f}{best}"


def labels(vocabulary: Vocabulary) -> list[str]:
    """Every name that a drawing may show."""
    return [*vocabulary.verbs, *vocabulary.objects]


def failure_entry(path: Path, why: str, format: str) -> dict[str, Any]:
    """What is written of an image that could not be read."""
    if format == PPDM:
        return {"file_name": path.name, "predictions": [], "hoi_prediction": []}
    return failure_line(str(path), why)


def _check_distinct(paths: Sequence[Path]) -> None:
    """Raise a UserError for two images of one name, which the evaluators could not tell apart."""
    seen: dict[str, Path] = {}
    for path in paths:
        if path.name in seen:
            raise UserError(
                f"--format={PPDM} tells images by the names of their files, and {seen[path.name]} "
                f"and {path} have the same; predict them one after the other"
            )
        seen[path.name] = path
