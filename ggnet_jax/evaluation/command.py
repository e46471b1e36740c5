"""What the evaluators' commands share: arguments, progress bar, the files they write."""

import argparse
import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from ggnet_jax import io
from ggnet_jax.errors import UserError
from ggnet_jax.evaluation import diagnosis, diagnosis_report, plot
from ggnet_jax.evaluation.diagnosis import Matched
from ggnet_jax.evaluation.reading import Progress
from ggnet_jax.evaluation.results import Result, readable


class ProgressBar:
    """One line on a terminal, shown once the work has taken `delay` seconds; nothing in a file."""

    def __init__(self, delay: float = 2.0, stream: TextIO | None = None):
        self._stream = sys.stderr if stream is None else stream
        self._shown_from = time.monotonic() + delay
        self._width = 0
        self._hidden = self._stream is None or not self._stream.isatty()

    def __call__(self, what: str, fraction: float) -> None:
        """Show what is being done and how much of it is done, 0 to 1."""
        if self._hidden or time.monotonic() < self._shown_from:
            return
        done = round(30 * min(max(fraction, 0.0), 1.0))
        line = f"{what} [{'#' * done}{'.' * (30 - done)}] {100 * fraction:3.0f} %"
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)
        self._shown_from = time.monotonic() + 0.1

    def close(self) -> None:
        """Clear the line."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every evaluator takes."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument(
        "--predictions",
        required=True,
        help="PPDM's JSON, a V-COCO pickle, a pickle by class or a folder of detections_01.mat ..",
    )
    result.add_argument("--ground_truth", required=True, help="JSON, JSON lines or gzip")
    result.add_argument("--output", help="folder for metrics.json, table.txt and the plots")
    result.add_argument(
        "--unknown_images",
        default="error",
        choices=("error", "ignore"),
        help="what to do with predictions for images that the ground truth lacks (error)",
    )
    result.add_argument(
        "--accept_losses",
        action="store_true",
        help="go on with ground truth of which most boxes or pairs are no use",
    )
    result.add_argument(
        "--diagnose",
        action="store_true",
        help="also say what every kind of mistake costs; with --output as JSON and HTML",
    )
    result.add_argument(
        "--images", help="folder of the images: draw the worst mistakes (--diagnose --output)"
    )
    # Its old name.
    result.add_argument("--unknown_pictures", dest="unknown_images", help=argparse.SUPPRESS)
    return result


def run(
    arguments: argparse.Namespace,
    evaluate: Callable[[Progress], tuple[Result, Callable[[], Matched]]],
) -> int:
    """Evaluate, write the files, print the table; see `guarded` for the exit status."""

    def work(progress: Progress) -> str:
        if arguments.images and not (arguments.diagnose and arguments.output):
            raise UserError("--images draws the worst mistakes: add --diagnose and --output")
        result, match = evaluate(progress)
        lines, paths = [result.table()], []
        if arguments.diagnose:
            mistakes = diagnosis.diagnose(match())
            lines += ["", diagnosis_report.table(mistakes)]
            if arguments.output:  # first: the images may be missing
                paths = diagnosis_report.write(mistakes, arguments.output, arguments.images)
        if arguments.output:
            paths = [*write(result, arguments.output), *paths]
        return "\n".join([*lines, *(f"wrote {path}" for path in paths)])

    return guarded(work)


def guarded(work: Callable[[Progress], str]) -> int:
    """Do a command's work and print the text that comes of it.

    Returns:
        The exit status: 0 (also if the reader of a pipe has seen enough, as `head` has), 2 for a
        `UserError` or a lack of memory, 130 for Ctrl-C.
    """
    bar = ProgressBar()
    collecting = gc.isenabled()
    try:
        gc.disable()  # millions of small objects, none of which refers to itself
        try:
            text = work(bar)
        finally:
            bar.close()
            if collecting:
                gc.enable()
        _print(text)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except MemoryError:
        return _fail("the files need more memory than there is", 2)
    except UserError as error:
        return _fail(error, 2)
    return 0


def _print(text: str) -> None:
    """Print; a terminal that lacks a character gets its number, a closed pipe no more.

    Raises:
        UserError: the output cannot be written, to a full disk, say.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left would be written, and fail again, at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise UserError(f"cannot write to the output: {error.strerror}") from None


def _fail(message: object, status: int) -> int:
    """Say in one line what is wrong."""
    with contextlib.suppress(OSError):
        print("error:", " ".join(str(message).split()), file=sys.stderr, flush=True)
    return status


def write(result: Result, folder: str | Path) -> list[Path]:
    """Write metrics.json, table.txt and a plot for every setting; returns their paths.

    Raises:
        UserError: the folder can't be written.
    """
    folder = Path(folder)
    paths = [folder / "metrics.json", folder / "table.txt"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the evaluation to {folder}: {error.strerror}") from None
    result.save(paths[0])
    io.write_file(paths[1], result.table() + "\n")
    for name, scores in result.settings.items():
        paths.append(folder / f"ap_{name}.svg")
        io.write_file(paths[-1], plot.draw(scores, f"{result.title}, {readable(name)}"))
    return paths
