"""--mode=predict: images in, JSON lines and drawings out."""

import glob
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, EXPLAINED, Detector
from ggnet_jax.inference.interactions import Interaction
from ggnet_jax.inference.prefetch import prefetch
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
) -> int:
    """Detect the interactions of images and draw them.

    Writes into `output`, for each image `NAME.png` (interactions, and the ActPoints of the
    strongest ones), `NAME_explained.png` if something was found (heatmaps of glance and gaze,
    matching arrows), and one line of `predictions.jsonl`:
    {"file_name": path, "width": w, "height": h, "interactions": [...]}. An image that can't be
    read is named on stderr, gets the line {"file_name": path, "error": why}, and the others go on.

    Args:
        workdir: of a run.
        images: files, folders (searched for images, not their subfolders) and globs; a string
            may hold several with commas between.
        output: folder for what is written; `<workdir>/predictions` if None.
        step: of the checkpoint; None for the newest.
        threshold: interactions that score less are left out.

    Returns:
        How many images failed; an exit code should be 0 only if none did.

    Raises:
        UserError: no image at all, no run in the workdir, or a drawing would replace an image.
    """
    paths = find_images(images)
    names = _unique_names(paths)
    folder = Path(workdir) / PREDICTIONS if output is None else Path(output)
    _check_output(folder, names, paths)
    detector = Detector.load(workdir, step, explained=EXPLAINED)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error

    failures = 0
    # The network works on the next image while this one is drawn.
    explained = prefetch(lambda path: detector.explain(path, threshold=0.0), paths, depth=1)
    with open(folder / LINES, "w", encoding="utf-8") as lines:
        for number, (path, name, future) in enumerate(zip(paths, names, explained, strict=True), 1):
            try:
                image, every, heatmaps = future.result()
            except UserError as error:
                failures += 1
                print(f"skipped {error}", file=sys.stderr)
                line = {"file_name": str(path), "error": str(error)}
            else:
                found = [one for one in every if one.score >= threshold]
                note = "" if found else nothing_above(threshold, every)
                draw_summary(image, found, note=note).save(folder / f"{name}.png")
                if found:
                    drawing = draw_explanation(image, found, heatmaps)
                    drawing.save(folder / f"{name}_explained.png")
                print(f"[{number}/{len(paths)}] {path}: ", end="")
                print(f"{len(found)} found, {found[0].label}" if found else note)
                height, width = image.shape[:2]
                line = {"file_name": str(path), "width": width, "height": height}
                line |= {"interactions": [one.to_dict() for one in found]}
            lines.write(json.dumps(line) + "\n")
            lines.flush()  # what is done stays done if the run is stopped
    done = len(paths) - failures
    print(f"{done} of {len(paths)} images drawn, {failures} skipped; see {folder}")
    return failures


def nothing_above(threshold: float, found: Sequence[Interaction]) -> str:
    """What to say of an image whose interactions all score less than the threshold."""
    best = f"; the best is {found[0].label}" if found else ""
    return f"nothing above {threshold:.2f}{best}"


def find_images(images: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """The files that a list of files, folders and globs names, without repetition.

    A file that does not exist stays in the list, so that it is reported with the broken ones.

    Raises:
        UserError: nothing is left, or a folder or glob has no image.
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
            raise UserError(f"{text}: no image there ({', '.join(ENDINGS)})")
        found.update(dict.fromkeys(some))
    if not found:
        raise UserError("no images given; use --images=FILE, FOLDER or a quoted GLOB")
    return list(found)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Stems for output files; where two images share one, later ones get a number."""
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
    """Raise a UserError if a drawing would replace one of the images."""
    taken = {path.resolve() for path in paths}
    for name in names:
        for drawing in (folder / f"{name}.png", folder / f"{name}_explained.png"):
            if drawing.resolve() in taken:
                raise UserError(f"{drawing} would be drawn over; give another folder as --output")
