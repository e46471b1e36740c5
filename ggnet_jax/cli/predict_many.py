"""--mode=predict for many images: batches through the network, lines in shards, few drawings."""

import heapq
import json
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ggnet_jax import io
from ggnet_jax.cli.image_paths import check_output, drawing_names, find_images
from ggnet_jax.cli.predict import (
    FILES,
    NATIVE,
    PPDM,
    drawing_paths,
    failure_entry,
    labels,
    nothing_above,
    prepare,
)
from ggnet_jax.cli.predict import (
    draw as draw_image,
)
from ggnet_jax.cli.prediction_shards import Shards, Todo, check_job, job_of
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, Detector
from ggnet_jax.inference.detector import EXPLAINED as HEATMAPS
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.interactions import prediction_entry, prediction_line
from ggnet_jax.inference.prefetch import prefetch
from ggnet_jax.progress import progress_bar, say
from ggnet_jax.run_dir.checkpoints import Step, existing
from ggnet_jax.run_dir.lock import RunLock
from ggnet_jax.visualize import fonts

DRAW = ("none", "best", "all")
FEW = 1000  # images that are all drawn unless asked otherwise
BEST_DRAWN = 24  # images
_USE = ("the folder", "predicts into it", "--output")


def predict_many(
    workdir: str | os.PathLike,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike | None = None,
    step: Step = None,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    format: str = NATIVE,
    max_pixels: int = MAX_PIXELS,
    dtype: str | None = None,
    draw: str = "none",
) -> int:
    """Detect the interactions of a stream of images; go on where an earlier process was stopped.

    Writes into `output` the lines of `predict.predict` in shards of a thousand images (`Shards`);
    for the format "ppdm" they have the evaluators' entries, and `predictions.json` all of them
    once they are done.

    Args:
        workdir: of a run.
        images: as `predict.predict`.
        output: folder for what is written; `<workdir>/predictions` if None.
        step: of the checkpoint; None for the one that the folder was begun with, else the newest.
        threshold: interactions that score less are left out.
        format: of the lines, "native" or "ppdm".
        max_pixels: width times height of the largest image that is read.
        dtype: in which to convolve, "float32" or "bfloat16"; None for that of training.
        draw: "none"; "best", the images with the highest scores, when all are done; or "all".

    Returns:
        How many of the images could not be read.

    Raises:
        UserError: the folder holds predictions of another job, or cannot be written to.
        KeyboardInterrupt: what is done stays, and is said.
    """
    paths = find_images(images)
    folder = prepare(workdir, paths, output, threshold, format=format, max_pixels=max_pixels)
    if draw not in DRAW:
        raise UserError(f"--draw={draw}; it can be {', '.join(DRAW)}")
    if draw != "none":
        check_output(folder, drawing_names(paths), paths)
    before = job_of(folder)
    if step is None and "checkpoint" in before:
        step = before["checkpoint"]
    checksum = zlib.crc32("\0".join(map(str, paths)).encode("utf-8", "surrogateescape"))
    job = {
        "run": str(Path(workdir).resolve()),
        "checkpoint": existing(Path(workdir), step),
        "images": f"{len(paths)}, {checksum:08x}",
        "format": format,
        "threshold": threshold,
        "max_pixels": max_pixels,
        "dtype": dtype,
        # The best are drawn when the lines are done, which are the same without drawings.
        "draw": draw if draw == "all" else "none",
    }
    with RunLock(folder, use=_USE) as lock:
        lock.take()
        check_job(folder, job)
        shards = Shards(folder, paths)
        todo, failed_before = shards.todo(), shards.failed
        if shards.done:
            failed = f", {failed_before} of which could not be read" if failed_before else ""
            print(f"{folder}: {shards.done:,} of {len(paths):,} images are done{failed}")
        if todo or draw == "best":
            detector = Detector.load(workdir, job["checkpoint"], max_pixels=max_pixels, dtype=dtype)
            if draw != "none":
                fonts.say_missing(labels(detector.vocabulary))
        if todo:
            entries = _entries
            if draw == "all":
                names = dict(zip(paths, drawing_names(paths), strict=True))
                entries = partial(_drawn, names=names, folder=folder)
            options = {"total": len(paths), "initial": shards.done, "unit": "image"}
            try:
                with progress_bar(desc="images", **options) as bar:
                    for one, entry in entries(detector, todo, threshold, format):
                        if one is todo[0]:  # the network is compiled: rates count from here
                            bar.unpause()
                        if "error" in entry:
                            say(f"skipped {entry['error']}")
                        shards.add(one, entry)
                        bar.update()
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"{shards.done:,} of {len(paths):,} images are done; the same command goes on"
                ) from None
            finally:
                shards.close()
        if format == PPDM:
            _join(shards, folder / FILES[PPDM])
        if draw == "best":
            _draw_best(detector, shards, paths, threshold, folder)
    read = len(paths) - shards.failed
    count = len(shards.files)
    print(
        f"{read:,} of {len(paths):,} images in {count} {'shards' if count > 1 else 'shard'}, "
        f"{shards.failed} skipped; see {folder}"
    )
    return shards.failed


def _entries(
    detector: Detector,
    todo: Sequence[Todo],
    threshold: float,
    format: str,
) -> Iterator[tuple[Todo, dict[str, Any]]]:
    """What is written of each image, without drawings."""
    lowest = 0.0 if format == PPDM else threshold
    results = detector.results(
        todo, image_of=lambda one: one.path, threshold=lowest, whole_batches=True
    )
    for result in results:
        path = result.item.path
        if result.error is not None:
            yield result.item, _failure(path, result.error, format)
        elif format == PPDM:
            entry = prediction_entry(result.interactions, detector.vocabulary, file_name=path.name)
            yield result.item, entry
        else:
            line = prediction_line(str(path), result.width, result.height, result.interactions)
            yield result.item, line


def _drawn(
    detector: Detector,
    todo: Sequence[Todo],
    threshold: float,
    format: str,
    *,
    names: Mapping[Path, str],
    folder: Path,
) -> Iterator[tuple[Todo, dict[str, Any]]]:
    """What is written of each image, once it is drawn into `folder` under its name."""
    explained = prefetch(lambda one: detector.explain(one.path, threshold=0.0), todo, depth=1)
    for one, future in zip(todo, explained, strict=True):
        path = one.path
        try:
            found = future.result()
        except (UserError, MemoryError) as error:
            yield one, _failure(path, str(error) or f"{path}: out of memory", format)
            continue
        shown = [i for i in found.interactions if i.score >= threshold]
        note = "" if shown else nothing_above(threshold, found.interactions)
        drawings = draw_image(found, shown, note, *drawing_paths(folder, names[path]))
        if format == PPDM:
            yield (
                one,
                prediction_entry(found.interactions, detector.vocabulary, file_name=path.name),
            )
        else:
            height, width = found.image.shape[:2]
            written = [drawing.name for drawing in drawings]
            yield one, prediction_line(str(path), width, height, shown, written)


def _failure(path: Path, why: str, format: str) -> dict[str, Any]:
    return failure_entry(path, why, format) | {"error": why}


def _join(shards: Shards, file: Path) -> None:
    """Write all entries into the one file that the evaluators read."""

    def pieces() -> Iterator[str]:
        before = "[\n"
        for entry in shards.entries():
            entry.pop("error", None)
            yield before + json.dumps(entry)
            before = ",\n"
        yield "\n]\n"

    io.write_file(file, pieces())


def _draw_best(
    detector: Detector, shards: Shards, paths: Sequence[Path], threshold: float, folder: Path
) -> None:
    """Draw the images with the highest scores, the highest first."""
    scored = zip(map(_best_score, shards.entries()), paths, strict=True)
    best = [path for score, path in heapq.nlargest(BEST_DRAWN, scored) if score >= threshold]
    if not best:
        print(f"none is drawn: nothing above {threshold:.2f}")
    for path, name in zip(best, drawing_names(best), strict=True):
        try:
            found = detector.explain(path, threshold=threshold, top_k=HEATMAPS)
        except UserError as error:  # it has gone meanwhile
            print(f"not drawn: {error}", file=sys.stderr)
            continue
        draw_image(found, found.interactions, "", *drawing_paths(folder, name))
        print(f"{found.interactions[0].label}: {folder / name}.png")


def _best_score(entry: dict[str, Any]) -> float:
    found = entry.get("interactions", entry.get("hoi_prediction")) or ({"score": -1.0},)
    return max(one["score"] for one in found)
