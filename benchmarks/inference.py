"""From a JPEG's bytes to interactions: latency of one picture, throughput of many, start-up.

    python -m benchmarks.inference [--photo=FILE] [--network=demo] [--dtype=bfloat16] [--repeats=20]
        [--batch_sizes=1,2,4] [--pictures=64] [--output=FILE]
    python -m benchmarks.inference --start [--workdir=DIR] [--repeats=5] [--output=FILE]

The first command calls the Detector as a user does, with random weights, on whatever device JAX
finds. Latency is split into reading the JPEG and warping it, network and decoding on the device
(copying the picture there included), and reading out all interactions. For throughput a list of
pictures is given; threads read them while the device works. Operations are XLA's count of what is
left to compute, which takes the blocks of a deformable convolution for one. The second command
starts `main.py --mode=predict` in new processes, once with nothing compiled and then again. JAX,
Flax and Pillow only; main.py itself needs the rest.
"""

import argparse
import io
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks import networks, start, timing
from benchmarks.arguments import DTYPES, new_file, number, numbers
from ggnet_jax import models, vocabularies
from ggnet_jax.inference import detection
from ggnet_jax.inference.detector import Detector
from ggnet_jax.inference.images import letterbox_image, load_image
from ggnet_jax.inference.interactions import to_interactions
from ggnet_jax.ops import normalize as preprocessing

PARTS = ("read and warp", "network and decode", "read out", "whole")


def make_jpeg(width: int = 640, height: int = 480, seed: int = 0) -> bytes:
    """A JPEG of smooth random colours, the size of a usual photo."""
    few = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    stream = io.BytesIO()
    picture = Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def make_trained(network: str, size: int, dtype: str) -> detection.Trained:
    """A network of `networks.NETWORKS` with random weights on the device."""
    vocabulary = vocabularies.load(networks.USUAL[network][0])
    model = models.create_model(networks.settings(network, vocabulary, dtype=dtype))
    variables = jax.device_put(networks.random_variables(model, (size, size)))
    config = SimpleNamespace(
        data=SimpleNamespace(image_size=(size, size)), eval=SimpleNamespace(top_k=100)
    )
    return detection.Trained(config, vocabulary, model, variables, 0)


def compile_both(trained: detection.Trained) -> tuple[Any, Any]:
    """The compiled detector, and the forward pass of training, both of one picture."""
    detect = detection.make_detect(
        trained.model,
        top_k=trained.config.eval.top_k,
        valid_pairs=trained.vocabulary.valid_pairs,
    )

    def train_forward(variables: Any, images: jax.Array) -> Any:
        images = preprocessing.normalize_images(images)
        return trained.model.apply(variables, images, train=True, mutable=["batch_stats"])

    images = jax.ShapeDtypeStruct((1, *trained.config.data.image_size, 3), np.uint8)
    functions = (detect, jax.jit(train_forward))
    return tuple(one.lower(trained.variables, images).compile() for one in functions)


def latency(
    trained: detection.Trained, compiled: Any, jpeg: bytes, repeats: int
) -> dict[str, timing.Seconds]:
    """Seconds of each of `PARTS` for one picture at a time, nothing overlapped."""
    size = trained.config.data.image_size
    samples: dict[str, list[float]] = {part: [] for part in PARTS}
    for repeat in range(repeats + 1):
        clock = [time.perf_counter()]
        picture = load_image(jpeg)
        image = letterbox_image(picture, size)[None]
        clock.append(time.perf_counter())
        found = jax.block_until_ready(compiled(trained.variables, image))
        clock.append(time.perf_counter())
        to_interactions(
            jax.device_get(found),
            0,
            trained.vocabulary,
            width=picture.shape[1],
            height=picture.shape[0],
            input_size=size,
        )
        clock.append(time.perf_counter())
        if repeat:  # the first touches memory
            for part, seconds in zip(PARTS, [*np.diff(clock), clock[-1] - clock[0]], strict=True):
                samples[part].append(float(seconds))
    return {part: timing.seconds(values) for part, values in samples.items()}


def throughput(
    trained: detection.Trained, jpeg: bytes, batch_sizes: Sequence[int], pictures: int, repeats: int
) -> dict[int, timing.Seconds]:
    """Seconds that the Detector takes for a list of so many pictures, by batch size."""

    def call(batch_size: int) -> Any:
        detector = Detector(trained, batch_size=batch_size)
        count = -(-pictures // batch_size) * batch_size  # whole batches
        return lambda: detector.detect([jpeg] * count, threshold=0.0)

    calls = {str(size): call(size) for size in batch_sizes}
    return {int(size): took for size, took in timing.time_in_turn(calls, repeats).items()}


def peak_gib() -> float:
    """The most memory that the device has held, GiB; of a CPU, that this process has."""
    told = jax.devices()[0].memory_stats()
    if told:
        return told["peak_bytes_in_use"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(arguments: argparse.Namespace, jpeg: bytes) -> list[dict[str, Any]]:
    """Everything but the start-up, printed as it comes."""
    trained = make_trained(arguments.network, arguments.size, arguments.dtype)
    count = sum(leaf.size for leaf in jax.tree.leaves(trained.variables["params"]))
    width, height = Image.open(io.BytesIO(jpeg)).size
    print(
        f"{arguments.network}, {count / 1e6:.1f} million parameters, {arguments.dtype}, input "
        f"{arguments.size} x {arguments.size}, JPEG {width} x {height}\n",
        flush=True,
    )
    before = peak_gib()
    began = time.perf_counter()
    compiled, training = compile_both(trained)
    took = time.perf_counter() - began
    flops = [one.cost_analysis()["flops"] / 1e9 for one in (compiled, training)]
    rows: list[dict[str, Any]] = []
    for part, seconds in latency(trained, compiled, jpeg, arguments.repeats).items():
        rows.append({"one picture": part, "ms (lowest to highest)": in_ms(seconds)})
        rows[-1] |= seconds._asdict()
    shown = [dict(list(row.items())[:2]) for row in rows]
    print(timing.table(shown), "\n", flush=True)
    times = throughput(trained, jpeg, arguments.batch_sizes, arguments.pictures, arguments.passes)
    several = []
    for size, seconds in times.items():
        pictures = -(-arguments.pictures // size) * size
        rate = f"{pictures / seconds.median:.3g}"
        spread = f"{pictures / seconds.highest:.3g} to {pictures / seconds.lowest:.3g}"
        several.append({"batch": size, "pictures/s": rate, "spread": spread})
        rows.append(several[-1] | {"pictures": pictures} | seconds._asdict())
    print(timing.table(several), "\n")
    work = {
        "GFLOP of inference": round(flops[0], 1),
        "GFLOP of training's forward": round(flops[1], 1),
        "not computed": f"{100 * (1 - flops[0] / flops[1]):.1f} %",
        "compiling both, s": round(took, 1),
        "peak memory, GiB": round(peak_gib(), 2),
        "before compiling": round(before, 2),
        "temporaries": round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 2),
    }
    print(timing.table([work]))
    return [*rows, work]


def in_ms(seconds: timing.Seconds) -> str:
    """Milliseconds: median and spread."""
    median, lowest, highest = (f"{1000 * value:.3g}" for value in seconds[:3])
    return f"{median} ({lowest} to {highest})"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print Markdown tables, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="a JPEG; by default one is made")
    parser.add_argument("--network", choices=networks.NETWORKS, default="hourglass_104")
    parser.add_argument("--size", type=number, help="side of the input; the network's usual one")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the convolutions")
    parser.add_argument("--batch_sizes", type=numbers, default=[1, 2, 4])
    parser.add_argument("--repeats", type=number, default=20, help="single pictures, or starts")
    parser.add_argument("--pictures", type=number, default=64, help="in a list, for throughput")
    parser.add_argument("--passes", type=number, default=3, help="through that list")
    parser.add_argument("--start", action="store_true", help="measure main.py's start-up instead")
    parser.add_argument("--workdir", help="for --start; by default one with random weights is made")
    parser.add_argument("--output", type=new_file, help="JSON file")
    arguments = parser.parse_args(argv)
    arguments.size = arguments.size or networks.USUAL[arguments.network][1]
    jpeg = arguments.photo.read_bytes() if arguments.photo else make_jpeg()
    machine = timing.environment(jax.devices()[0].device_kind)
    print(timing.describe(machine), "\n")
    if arguments.start:
        rows = start.measure(
            arguments.workdir, jpeg, arguments.repeats, arguments.network, arguments.size
        )
    else:
        rows = measure(arguments, jpeg)
    timing.write(arguments.output, machine, rows)


if __name__ == "__main__":
    main()
