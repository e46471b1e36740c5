"""--mode=predict for videos: an annotated MP4 and a JSON line a frame."""

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ggnet_jax.cli.image_paths import VideoSource, drawing_names
from ggnet_jax.cli.predict import labels, make_folder, output_folder
from ggnet_jax.cli.prediction_lines import PredictionLines
from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, Detector, Result
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.prefetch import newest, prefetch
from ggnet_jax.progress import progress_bar, say
from ggnet_jax.run_dir.checkpoints import Step
from ggnet_jax.run_dir.folder import PREDICTIONS
from ggnet_jax.video import frames, pyav, reading
from ggnet_jax.video.folder import FrameFolder
from ggnet_jax.video.frames import Frame
from ggnet_jax.video.writing import VideoWriter
from ggnet_jax.visualize import fonts
from ggnet_jax.visualize.frame_drawing import draw_on_frame

MOST_NAMED = 10  # broken frames of a video that are named on stderr; the lines have all


class _Counts(NamedTuple):
    """Frames of a video that were read, those where something was found, and the broken ones."""

    read: int = 0
    shown: int = 0
    broken: int = 0


def predict_videos(
    workdir: str | os.PathLike,
    sources: Sequence[VideoSource],
    output: str | os.PathLike | None = None,
    step: Step = None,
    threshold: float = DEFAULT_THRESHOLD,
    *,
    every: int = 1,
    fps: float | None = None,
    max_pixels: int = MAX_PIXELS,
    dtype: str | None = None,
) -> int:
    """Detect the interactions in videos and draw them.

    Writes into `output`, for each video, `NAME.mp4`, which has the sound of the video, and
    `NAME.jsonl`, a line for each frame: {"frame": number, "time": seconds, "width": w, "height": h,
    "interactions": [...]}, with "file_name" for a frame that is a file. A frame that can't be read
    is named on stderr and its line is {"frame", "time", "error": why}. A video that can't be read
    is named, and the others go on. Both files have their names once they are whole.

    Args:
        workdir: of a run.
        sources: from `image_paths.find_sources`.
        output: folder for what is written; `<workdir>/predictions` if None.
        step: of the checkpoint; None for the newest, "best" for the chosen one.
        threshold: interactions that score less are left out.
        every: so many frames one is taken of.
        fps: frames a second of a folder's.
        max_pixels: width times height of the largest frame that is read.
        dtype: in which to convolve, "float32" or "bfloat16"; None for that of training.

    Returns:
        How many videos could not be read, or not to their end, or have broken frames.

    Raises:
        UserError: PyAV is missing, no run in the workdir, no camera, an output would replace a
            video, or cannot be written.
    """
    folder = output_folder(workdir, output, threshold, max_pixels=max_pixels)
    names = check(sources, folder, every=every, fps=fps)
    make_folder(folder)

    detector, failed = None, 0
    for source, name in zip(sources, names, strict=True):
        try:
            video = _open(source, fps, max_pixels)
            with contextlib.closing(video):
                if detector is None:
                    detector = Detector.load(workdir, step, max_pixels=max_pixels, dtype=dtype)
                    fonts.say_missing(labels(detector.vocabulary))
                failed += not predict_video(detector, video, folder / name, threshold, every)
        except _UnreadableError as error:
            failed += 1
            print(f"skipped {error}", file=sys.stderr)
    return failed


def check(
    sources: Sequence[VideoSource], folder: Path, *, every: int = 1, fps: float | None = None
) -> list[str]:
    """What each video's outputs are called, see `output_names`; arguments of `predict_videos`.

    Raises:
        UserError: PyAV is missing, a value means nothing, or an output would replace a video.
    """
    if every < 1:
        raise UserError(f"--every={every}; give 1 for every frame, 2 for every other, ...")
    if fps is not None and not 0.001 <= fps <= 1000:
        raise UserError(f"--fps={fps:g}; give frames a second, such as 25")
    pyav.require(sources[0].name)
    names = output_names(sources)
    _check_output(folder, names, sources)
    return names


class _UnreadableError(UserError):
    """A video that can't be read, beside which others may be."""


def _open(source: VideoSource, fps: float | None, max_pixels: int) -> Any:
    if source.camera is not None:
        return reading.open_camera(source.camera)
    try:
        if source.path is None:
            raise ValueError(f"{source.name} names no file")
        if source.frames:
            return FrameFolder(source.path, Fraction(str(fps)), max_pixels)
        return reading.open_video(source.path, max_pixels)
    except UserError as error:
        raise _UnreadableError(str(error)) from error


def output_names(sources: Sequence[VideoSource]) -> list[str]:
    """What each video's outputs are called, without ending; not as the lines of images."""
    stems = [
        source.path.name if source.path and source.frames else source.name.replace(":", "_")
        for source in sources
    ]
    paths = [
        source.path if source.path and not source.frames else Path(stem + ".mp4")
        for source, stem in zip(sources, stems, strict=True)
    ]
    return drawing_names([Path(PREDICTIONS), *paths])[1:]


def _check_output(folder: Path, names: Sequence[str], sources: Sequence[VideoSource]) -> None:
    """Raise a UserError if an output would replace one of the videos."""
    taken = {os.path.realpath(source.path) for source in sources if source.path}
    for name in names:
        for ending in (".mp4", ".jsonl"):
            path = folder / f"{name}{ending}"
            if os.path.realpath(path) in taken:
                raise UserError(f"{path} would be written over; give another folder as --output")
            if path.is_dir():
                raise UserError(f"cannot write {path}: it is a folder")


def predict_video(
    detector: Detector,
    video: Any,
    place: Path,
    threshold: float = DEFAULT_THRESHOLD,
    every: int = 1,
) -> bool:
    """Write a video's outputs; whether all of it could be read.

    Args:
        detector: the network.
        video: `reading.Video` or `FrameFolder`.
        place: the outputs' path without ending.
        threshold: interactions that score less are left out.
        every: so many frames one is taken of.

    Raises:
        UserError: no frame could be read, or an output cannot be written.
    """
    drawing, file = place.with_name(f"{place.name}.mp4"), place.with_name(f"{place.name}.jsonl")
    total = video.total and -(-video.total // every)
    writer = VideoWriter(
        drawing,
        video.frame_rate / every,
        time_base=video.time_base,
        pixel_shape=video.pixel_shape,
        sound_of=video.path,
        sound_start=video.start,
    )
    counts, began = _Counts(), 0.0
    bar = progress_bar(total=total, desc=video.name, unit="frame")
    with PredictionLines(file, "frame") as lines, writer, bar:
        with _camera_may_be_stopped(video):
            for result, image in _drawn(detector, video, threshold, every):
                if not began:  # the network is compiled: rates count from here
                    began = time.monotonic()
                    bar.unpause()
                bar.update()
                lines.add(_line(result))
                if image is None:
                    counts = counts._replace(broken=counts.broken + 1)
                    _name(video, result, counts.broken)
                    continue
                writer.write(image, result.item.time)
                shown = counts.shown + bool(result.interactions)
                counts = counts._replace(read=counts.read + 1, shown=shown)
        if not counts.read:
            raise _UnreadableError(f"{video.name}: no frame in it could be read")
    rate = max(counts.read - 1, 0) / max(time.monotonic() - began, 1e-3)
    frames_read = f"{counts.read} frame{'s' if counts.read > 1 else ''}"
    print(
        f"{video.name}: {frames_read}, something found in {counts.shown}, "
        f"{counts.broken} broken; {rate:.1f} frames/s; see {drawing} and {file.name}"
    )
    if writer.sound_lost:
        print(f"{video.name}: {writer.sound_lost}", file=sys.stderr)
    if video.ended_early:
        print(f"{video.name}: {video.ended_early}", file=sys.stderr)
    return not (counts.broken or video.ended_early)


@contextlib.contextmanager
def _camera_may_be_stopped(video: Any) -> Iterator[None]:
    """Ctrl-C is the end of what a camera sees, and not of the work."""
    try:
        yield
    except KeyboardInterrupt:
        if not _is_camera(video):
            raise
        print(f"\n{video.name}: stopped", file=sys.stderr)


def _is_camera(video: Any) -> bool:
    return isinstance(video, reading.Video) and video.path is None


def _drawn(
    detector: Detector, video: Any, threshold: float, every: int
) -> Iterator[tuple[Result, np.ndarray | None]]:
    """Results of the frames with what was drawn; threads draw while the network goes on."""
    threads = min(4, os.cpu_count() or 1)
    depth = 2 * threads
    if _is_camera(video):
        results, depth = _of_camera(detector, video, threshold, every), 0  # at once
    else:
        results = detector.results(
            video.frames(every), image_of=frames.read, threshold=threshold, keep_images=True
        )
    size: list[tuple[int, int]] = []

    def draw(result: Result) -> tuple[Result, np.ndarray | None]:
        if result.image is None:
            return result, None
        image = draw_on_frame(result.image, result.interactions, detector.vocabulary.objects)
        return result._replace(image=None), image

    drawn = prefetch(draw, results, depth=depth, threads=threads)
    with contextlib.closing(results), contextlib.closing(drawn):
        for future in drawn:
            result, image = future.result()
            if image is not None:  # all have the first one's size
                size = size or [(image.shape[1], image.shape[0])]
                if (image.shape[1], image.shape[0]) != size[0]:
                    image = np.asarray(Image.fromarray(image).resize(size[0]))
            yield result, image


def _of_camera(
    detector: Detector, video: Any, threshold: float, every: int
) -> Generator[Result, None, None]:
    """Results of the frames that a camera shows when the network has time for one."""
    with contextlib.closing(newest(video.frames(every))) as shown:
        for frame in shown:
            try:
                image = frames.read(frame)
            except UserError as error:
                yield Result(frame, 0, 0, [], error=str(error))
                continue
            found = detector.detect(image, threshold=threshold)
            yield Result(frame, image.shape[1], image.shape[0], found, image)


def _line(result: Result) -> dict[str, Any]:
    frame: Frame = result.item
    line: dict[str, Any] = {"frame": frame.number, "time": round(float(frame.time), 6)}
    if frame.file_name is not None:
        line["file_name"] = frame.file_name
    if result.error is not None:
        return line | {"error": result.error}
    line |= {"width": result.width, "height": result.height}
    return line | {"interactions": [one.to_dict() for one in result.interactions]}


def _name(video: Any, result: Result, broken: int) -> None:
    """Say on stderr which frame is broken, without disturbing the bar."""
    frame: Frame = result.item
    if broken <= MOST_NAMED:
        where = f"frame {frame.number} at {float(frame.time):.3f} s"
        text = f"skipped {video.name}, {where}: {result.error}"
    elif broken == MOST_NAMED + 1:
        text = f"skipped {video.name}: and more frames, which its lines name"
    else:
        return
    say(text)
