"""--mode=predict: pictures in, JSON lines and drawings out."""

import glob
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, EXPLAINED, Detector
from ggnet_jax.inference.images import load_image
from ggnet_jax.inference.interactions import Heatmaps, Interaction
from ggnet_jax.inference.prefetch import ahead
from ggnet_jax.run_dir.folder import PREDICTIONS
from ggnet_jax.visualize import draw_explanation, draw_summary

# A folder is searched for these; a file that is named is tried whatever its ending.
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")
LINES = "predictions.jsonl"


def predict(
    workdir: str | os.PathLike,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    step: int | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    top_k: int | None = None,
    strongest: int = 2,
    panels: bool = True,
) -> int:
    """Detect the interactions of pictures and draw them.

    Writes into `output`, for each picture `NAME.png` (interactions, and the ActPoints of the
    strongest ones), with `panels` also `NAME_explained.png` (heatmaps of glance and gaze, matching
    arrows), and one line of `predictions.jsonl`:
    {"file_name": path, "width": w, "height": h, "interactions": [...]}. A picture that can't be
    read is named on stderr, gets the line {"file_name": path, "error": why}, and the others go on.

    Args:
        workdir: of a run.
        images: files, folders (searched for pictures, not their subfolders) and globs; a string
            may hold several with commas between.
        output: folder for what is written; `<workdir>/predictions` if None.
        step: of the checkpoint; None for the newest.
        threshold: interactions that score less are left out.
        top_k: at most so many a picture.
        strongest: so many pairs are shown with their ActPoints.
        panels: whether to write the explaining figures too.

    Returns:
        How many pictures failed; an exit code should be 0 only if none did.

    Raises:
        UserError: no picture at all, no run in the workdir, or a drawing would replace a picture.
    """
    paths = find_images(images)
    names = _unique_names(paths)
    folder = Path(workdir) / PREDICTIONS if output is None else Path(output)
    _check_output(folder, names, paths)
    detector = Detector.load(workdir, step, explained=EXPLAINED if panels else 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error

    def look(path: Path) -> tuple[np.ndarray, list[Interaction], list[Heatmaps]]:
        picture = load_image(path)
        if panels:
            return picture, *detector.explain(picture, threshold=0.0)
        return picture, detector.detect(picture, threshold=0.0), []

    failures = 0
    with open(folder / LINES, "w", encoding="utf-8") as lines:
        looked_at = ahead(look, paths, depth=1)  # the network works while the last one is drawn
        for number, (path, name, look_ahead) in enumerate(
            zip(paths, names, looked_at, strict=True), 1
        ):
            try:
                picture, every, heatmaps = look_ahead.result()
            except UserError as error:
                failures += 1
                print(f"skipped {error}", file=sys.stderr)
                lines.write(json.dumps({"file_name": str(path), "error": str(error)}) + "\n")
                lines.flush()
                continue
            found = [one for one in every if one.score >= threshold][:top_k]
            note = "" if found else nothing_above(threshold, every)
            drawing = draw_summary(picture, found, strongest=strongest, note=note)
            _save(drawing, folder / f"{name}.png")
            if found and heatmaps:
                drawing = draw_explanation(picture, found, heatmaps, strongest=strongest)
                _save(drawing, folder / f"{name}_explained.png")
            line = {"file_name": str(path), "width": picture.shape[1], "height": picture.shape[0]}
            lines.write(json.dumps(line | {"interactions": [one.to_dict() for one in found]}))
            lines.write("\n")
            lines.flush()  # what is done stays done if the run is stopped
            said = f"{len(found)} found, {found[0].label}" if found else note
            print(f"[{number}/{len(paths)}] {path}: {said}")
    done = len(paths) - failures
    print(f"{done} of {len(paths)} pictures drawn, {failures} skipped; see {folder}")
    return failures


def nothing_above(threshold: float, found: Sequence[Interaction]) -> str:
    """What to say of a picture whose interactions all score less than the threshold."""
    best = f"; the best is {found[0].label}" if found else ""
    return f"nothing above {threshold:.2f}{best}"


def find_images(images: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """The files that a list of files, folders and globs names, without repetition.

    A file that does not exist stays in the list, so that it is reported with the broken ones.

    Raises:
        UserError: nothing is left, or a folder or glob has no picture.
    """
    if isinstance(images, os.PathLike):
        images = [images]
    elif isinstance(images, str):
        # A comma may be part of a name: take the string whole where that is a file.
        images = [images] if os.path.exists(images) else images.split(",")
    found: dict[Path, None] = {}
    for item in images:
        text = os.path.expanduser(os.fspath(item).strip())
        if not text:
            continue
        if os.path.isdir(text):
            some = sorted(
                entry for entry in Path(text).iterdir() if entry.suffix.lower() in ENDINGS
            )
        elif os.path.exists(text) or not glob.has_magic(text):
            some = [Path(text)]
        else:
            some = [Path(p) for p in sorted(glob.glob(text, recursive=True)) if os.path.isfile(p)]
        if not some:
            raise UserError(f"{text}: no picture there ({', '.join(ENDINGS)})")
        found.update(dict.fromkeys(some))
    if not found:
        raise UserError("no pictures given; use --images=FILE, FOLDER or a quoted GLOB")
    return list(found)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Stems for output files; where two pictures share one, later ones get a number."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 2
        while name in taken or f"{name}_explained" in taken:
            name, number = f"{path.stem}_{number}", number + 1
        taken |= {name, f"{name}_explained"}
        names.append(name)
    return names


def _check_output(folder: Path, names: Sequence[str], paths: Sequence[Path]) -> None:
    """Raise a UserError if a drawing would replace one of the pictures."""
    pictures = {path.resolve() for path in paths}
    for name in names:
        for drawing in (folder / f"{name}.png", folder / f"{name}_explained.png"):
            if drawing.resolve() in pictures:
                raise UserError(f"{drawing} would be drawn over; give another folder as --output")


def _save(drawing: Image.Image, path: Path) -> None:
    drawing.save(path, optimize=False, compress_level=6)
