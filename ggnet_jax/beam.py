"""Many images over many machines: an Apache Beam transform around the Detector.

    python -m ggnet_jax.beam --workdir=DIR --input="photos/*.jpg" --output=found/predictions \
        --runner=DirectRunner

Every other option is Beam's own. The lines are those of `--mode=predict --draw=none`, in an order
that Beam chooses, in files `OUTPUT-00000-of-00005.jsonl`; an image that can't be read has a line
that says why, and the exit status is then 1. Input and output may be where Beam's file systems
reach (`gs://`, `s3://`, HDFS).
"""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.inference.detector import DEFAULT_THRESHOLD, Detector
from ggnet_jax.inference.image_files import MAX_PIXELS
from ggnet_jax.inference.interactions import check_threshold_option, failure_line, prediction_line
from ggnet_jax.run_dir.checkpoints import Step

try:
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
    from apache_beam.utils.shared import Shared
except ImportError as missing:
    raise ImportError('Apache Beam is missing: pip install "ggnet-jax[beam]"') from missing

BATCH_SIZE = 8  # images


class Detect(beam.PTransform):
    """Paths of images, or their bytes, -> their lines of predictions.jsonl, as dictionaries.

    The network is loaded and compiled once a process, which its threads share.
    """

    def __init__(
        self,
        workdir: str,
        *,
        step: Step = None,
        threshold: float = DEFAULT_THRESHOLD,
        batch_size: int = BATCH_SIZE,
        max_pixels: int = MAX_PIXELS,
        as_json: bool = False,
    ):
        """Arguments of `Detector.load` and `Detector.detect` are as there.

        Args:
            workdir: every worker reads it.
            step: as for `Detector.load`.
            threshold: as for `Detector.detect`.
            batch_size: as for `Detector.load`.
            max_pixels: as for `Detector.load`.
            as_json: give lines as text, which Beam can hand on also where the name of a file is
                not of UTF-8.
        """
        super().__init__()
        self._batch_size = batch_size
        self._detect = _DetectBatch(
            workdir, step, threshold, batch_size, max_pixels, as_json, Shared()
        )

    def expand(self, input_or_inputs: Any) -> Any:
        """A batch is one call of the network; see `beam.PTransform`."""
        size = self._batch_size
        return (
            input_or_inputs
            | beam.BatchElements(min_batch_size=size, max_batch_size=size)
            | beam.ParDo(self._detect)
        )


class _DetectBatch(beam.DoFn):
    """Lists of paths -> lines."""

    def __init__(
        self,
        workdir: str,
        step: Step,
        threshold: float,
        batch_size: int,
        max_pixels: int,
        as_json: bool,
        shared: Shared,
    ):
        self._workdir, self._step = workdir, step
        self._threshold, self._as_json = threshold, as_json
        self._batch_size, self._max_pixels, self._shared = batch_size, max_pixels, shared

    def setup(self) -> None:
        """Called by each thread; the first of a process loads."""
        self._detector = self._shared.acquire(self._load, tag=f"{self._workdir} {self._step}")

    def _load(self) -> Detector:
        _count("networks_loaded").inc()
        return Detector.load(
            self._workdir, self._step, batch_size=self._batch_size, max_pixels=self._max_pixels
        )

    def process(self, element: Sequence[str | bytes]) -> Iterator[dict[str, Any] | str]:
        """The lines of a batch."""
        for line in self._lines([os.fsdecode(path) for path in element]):
            _count("images_skipped" if "error" in line else "images_read").inc()
            yield json.dumps(line) if self._as_json else line

    def _lines(self, paths: list[str]) -> Iterator[dict[str, Any]]:
        # Whole batches, so that a line does not depend on its neighbors.
        results = self._detector.results(
            paths, image_of=_read, threshold=self._threshold, whole_batches=True
        )
        for result in results:
            if result.error is not None:
                named = result.item in result.error
                why = result.error if named else f"{result.item}: {result.error}"
                yield failure_line(result.item, why)
            else:
                yield prediction_line(result.item, result.width, result.height, result.interactions)


def _count(name: str) -> Any:
    return beam.metrics.Metrics.counter("ggnet_jax", name)


def _read(path: str) -> str | bytes:
    """A file of this machine as its path; the content of any other, wherever Beam reaches it."""
    if "://" not in path:
        return path
    try:
        with FileSystems.open(path, mime_type="application/octet-stream") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"cannot be read ({error})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline of the module's description; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ggnet_jax.beam", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, help="of a run; every worker reads it")
    parser.add_argument("--input", required=True, help="a glob of images")
    parser.add_argument("--output", required=True, help="how the files of lines begin")
    parser.add_argument("--step", help="of the checkpoint, or best; the newest by default")
    parser.add_argument("--threshold", type=float, default=DEFAULT_THRESHOLD, help="lowest score")
    parser.add_argument("--batch_size", type=int, default=BATCH_SIZE, help="images a call")
    parser.add_argument("--max_pixels", type=int, default=MAX_PIXELS, help="of the largest image")
    options, rest = parser.parse_known_args(argv)
    try:
        return _run(options, rest)
    except UserError as error:
        print("error:", error, file=sys.stderr)
        return 2


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    from ggnet_jax.run_dir.checkpoints import existing
    from ggnet_jax.run_dir.folder import require_run

    require_run(options.workdir)
    asked = options.step
    step: Step = int(asked) if asked is not None and asked.isdecimal() else asked
    # One checkpoint for all workers, also if a training writes a newer one meanwhile.
    step = existing(options.workdir, step)
    check_threshold_option(options.threshold)
    for name in ("batch_size", "max_pixels"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name}={getattr(options, name)}; give a number from 1 on")
    if os.path.isdir(options.input):
        glob = os.path.join(options.input, "*.jpg")
        raise UserError(f"--input={options.input} is a folder; give a quoted glob, such as {glob}")
    if not FileSystems.match([options.input])[0].metadata_list:
        raise UserError(f"--input={options.input}: no file there")
    pipeline = _pipeline(rest, list(vars(options)))
    (
        pipeline
        | fileio.MatchFiles(options.input)
        | beam.Map(lambda match: os.fsencode(match.path))
        | beam.Reshuffle()
        | Detect(
            options.workdir,
            step=step,
            threshold=options.threshold,
            batch_size=options.batch_size,
            max_pixels=options.max_pixels,
            as_json=True,
        )
        | beam.io.WriteToText(options.output, file_name_suffix=".jsonl")
    )
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception as error:  # of a runner, which has logged the worker's own
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"the pipeline ended early and wrote no output: {text}") from error
    read, skipped = _counted(result, "images_read"), _counted(result, "images_skipped")
    if read is None or skipped is None:  # not every runner counts
        print(f"done; see {options.output}-*.jsonl")
        return 0
    total = read + skipped
    print(f"{read:,} of {total:,} images, {skipped:,} skipped; see {options.output}-*.jsonl")
    return 1 if skipped else 0


def _pipeline(arguments: list[str], ours: list[str]) -> beam.Pipeline:
    """A pipeline with options of Beam's, which does not mind what it does not know."""
    # Orbax and Beam tell every step of theirs at INFO.
    options = PipelineOptions(["--default_sdk_harness_log_level=WARNING", *arguments])
    known = options.get_all_options()
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        meant = difflib.get_close_matches(name, ours, 1)
        if argument.startswith("--") and name not in known and meant:
            raise UserError(f"there is no option --{name}; is --{meant[0]} meant?")
    options.view_as(SetupOptions).save_main_session = False
    try:
        return beam.Pipeline(options=options)
    except (ValueError, ImportError) as error:
        raise UserError(f"the options of Beam: {str(error).partition(chr(10))[0]}") from error


def _counted(result: Any, name: str) -> int | None:
    """What all workers counted; None where the runner does not tell."""
    try:
        counters = result.metrics().query()["counters"]
    except Exception:  # each runner has its own
        return None
    if not counters:
        return None
    return sum(c.result or 0 for c in counters if c.key.metric.name == name)


if __name__ == "__main__":
    from ggnet_jax.beam import main as imported  # so that workers find the classes by this name

    sys.exit(imported())
