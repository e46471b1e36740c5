"""Frames a second of a video beside the network's own: through the Detector's stream, and drawn.

    python -m benchmarks.video --workdir=DIR --clip=clip.mp4 [--batch_size=8] [--repeats=3]
        [--output=FILE]

In turn: the network alone on batches that are in memory; `Detector.stream`, which decodes and warps
beside it; and what `--mode=predict` does, which draws and encodes too. Seconds of all threads' work
a frame tell what competes with the network where that runs on the same cores.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from ggnet_jax.cli.predict_video import predict_video
from ggnet_jax.inference.detector import Detector
from ggnet_jax.inference.prefetch import one_ahead
from ggnet_jax.video import frames
from ggnet_jax.video.reading import open_video


def prepare(detector: Detector, clip: Path, batch_size: int) -> tuple[int, dict[str, Callable]]:
    """How many frames the clip has, and what is timed."""
    number = sum(1 for _ in open_video(clip).frames())
    shape = (batch_size, *detector.input_size, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def network() -> None:
        batches = (detector._network(batch) for _ in range(-(-number // batch_size)))
        for found in one_ahead(batches):
            jax.device_get(found)

    def stream() -> None:
        images = detector.results(open_video(clip).frames(), image_of=frames.read)
        assert sum(1 for _ in images) == number

    def drawn() -> None:
        with tempfile.TemporaryDirectory() as folder:
            predict_video(detector, open_video(clip), Path(folder) / "drawn")

    return number, {"network alone": network, "stream": stream, "annotated MP4": drawn}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = timing.parser(__doc__, repeats=3)
    parser.add_argument("--workdir", required=True, help="of a run")
    parser.add_argument("--clip", required=True, type=Path, help="a video")
    parser.add_argument("--batch_size", type=int, default=8, help="frames at a time")
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    detector = Detector.load(arguments.workdir, batch_size=arguments.batch_size)
    number, calls = prepare(detector, arguments.clip, arguments.batch_size)
    best: dict[str, tuple[float, float]] = {}
    for _ in range(arguments.repeats + 1):  # the first compiles
        for name, call in calls.items():
            wall, work = time.perf_counter(), time.process_time()
            call()
            took = time.perf_counter() - wall, time.process_time() - work
            best[name] = min(best.get(name, took), took)
    alone = best["network alone"][0]
    rows: list[dict[str, Any]] = [
        {
            "": name,
            "frames/s": timing.figure(number / wall),
            "of the network's": f"{alone / wall:.0%}",
            "ms of work a frame": timing.figure(1000 * work / number),
        }
        for name, (wall, work) in best.items()
    ]
    print(timing.table(rows))
    timing.write(arguments.output, machine, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
