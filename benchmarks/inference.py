"""From the bytes of a JPEG to interactions: latency, throughput, and the network beside PyTorch's.

    python -m benchmarks.inference [--network=ggnet,demo] [--size=512] [--batch_size=1,2,4]
        [--dtype=bfloat16] [--peers=ours,eager,compile] [--images=64] [--photo=FILE] [--repeats=20]
        [--output=FILE]

With random weights on the device that JAX finds, for each network: one image as the Detector treats
it, step by step; the network alone, ours and PyTorch's (tests/oracles, eager or by torch.compile,
which takes minutes and a C++ compiler on a CPU), whose outputs are compared first; and a list of
images through the Detector, whose threads read them while the device works. All networks leave out
the heads of the first stacks. Ours leaves out the classifiers of the glance and of the earlier gaze
steps too, which the released code computes.
"""

import io
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import timing
from benchmarks.training_step import NETWORKS, network_config, random_variables
from ggnet_jax import vocabularies
from ggnet_jax.errors import UserError
from ggnet_jax.inference import detection
from ggnet_jax.inference.detector import Detector
from ggnet_jax.inference.images import letterbox_image, load_image
from ggnet_jax.inference.interactions import to_interactions
from ggnet_jax.inference.network import Network
from ggnet_jax.models import create_model
from ggnet_jax.ops import normalize_images
from ggnet_jax.ops.cpu_options import compiler_options

PEERS = ("ours", "eager", "compile")
STEPS = ("read and warp", "network and decoding", "to interactions", "whole")


def make_jpeg(width: int = 640, height: int = 480, seed: int = 0) -> bytes:
    """A JPEG of smooth random colors, the size of a usual photo."""
    colors = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(colors).resize((width, height), Image.Resampling.BICUBIC)
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def photo(text: str) -> bytes:
    """An argument type: the bytes of an image file that can be read."""
    try:
        load_image(text)
        return Path(text).read_bytes()
    except (UserError, OSError) as error:
        raise ArgumentTypeError(str(error)) from error


def make_trained(config: Any) -> detection.Trained:
    """A network with random weights on the device.

    Raises:
        UserError: it cannot have an input of this size.
    """
    variables = jax.device_put(random_variables(config))
    vocabulary = vocabularies.load(config.data.name)
    return detection.Trained(config, vocabulary, create_model(config.model), variables, 0)


def time_one_image(
    trained: detection.Trained, jpeg: bytes, repeats: int
) -> dict[str, timing.Seconds]:
    """Seconds of each of `STEPS`, nothing overlapped."""
    size = tuple(trained.config.data.image_size)
    detect = Network(trained)
    samples: dict[str, list[float]] = {step: [] for step in STEPS}
    for repeat in range(repeats + 1):
        clock = [time.perf_counter()]
        image = load_image(jpeg)
        warped = letterbox_image(image, size)[None]
        clock.append(time.perf_counter())
        found = jax.block_until_ready(detect(warped))
        clock.append(time.perf_counter())
        height, width = image.shape[:2]
        found, words = jax.device_get(found), trained.vocabulary
        to_interactions(found, 0, words, width=width, height=height, input_size=size)
        clock.append(time.perf_counter())
        if repeat:  # the first is compiled
            for step, took in zip(STEPS, [*np.diff(clock), clock[-1] - clock[0]], strict=True):
                samples[step].append(float(took))
    return {step: timing.seconds(values) for step, values in samples.items()}


def prepare_ours(trained: detection.Trained, images: np.ndarray) -> timing.Peer:
    """The forward pass of what inference needs."""

    def forward(variables: Any, images: jax.Array) -> list[jax.Array]:
        outputs: Any = trained.model.apply(variables, normalize_images(images), train=False)
        last = outputs[-1]
        maps = (
            last.object_logits,
            last.box_size,
            last.center_offset,
            last.human_offset.reshape(*last.human_offset.shape[:3], -1),
            last.object_offset.reshape(*last.object_offset.shape[:3], -1),
            last.interaction_logits[-1],
        )
        return [jnp.moveaxis(one, -1, 1) for one in maps]

    on_device = jax.device_put(images)
    jitted = jax.jit(forward, compiler_options=compiler_options(trained.model.config.dtype))
    compiled = jitted.lower(trained.variables, on_device).compile()

    def call() -> list[jax.Array]:
        return jax.block_until_ready(compiled(trained.variables, on_device))

    return timing.Peer(call, call, timing.temporary_bytes(compiled))


def prepare_torch(trained: detection.Trained, images: np.ndarray, compiled: bool) -> timing.Peer:
    """The same in PyTorch, in inference mode and channels_last."""
    import torch

    from tests.oracles.torch_training import make_network, make_planes

    device, model = timing.torch_device(), trained.config.model
    network = make_network(model, jax.device_get(trained.variables), device)
    planes = make_planes(images, device)
    half = model.dtype == "bfloat16"
    last_stack = torch.compile(network.last_stack) if compiled else network.last_stack

    def call() -> list[torch.Tensor]:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            heads = last_stack(planes)
        last = "hm_rel_refine" if "hm_rel_refine" in heads else "hm_rel"
        return [heads[name] for name in ("hm", "wh", "reg", "sub_offset", "obj_offset", last)]

    def values() -> list[np.ndarray]:
        return [head.float().cpu().numpy() for head in call()]

    return timing.torch_peer(call, values, device)


def time_list(
    trained: detection.Trained, jpeg: bytes, batch_sizes: Sequence[int], images: int, repeats: int
) -> dict[int, timing.Seconds]:
    """Seconds for a list of images through the Detector, by batch size."""

    def call(batch_size: int) -> Callable[[], Any]:
        detector = Detector(trained, batch_size=batch_size)
        return lambda: detector.detect([jpeg] * images, threshold=0.0)

    calls = {str(size): call(size) for size in batch_sizes}
    return {int(size): took for size, took in timing.time_in_turn(calls, repeats).items()}


def measure(arguments: Any, config: Any, **shape: Any) -> list[dict[str, Any]]:
    """Rows of everything for one network, printed as they come."""
    trained = make_trained(config)
    jpeg = arguments.photo or make_jpeg()
    rows: list[dict[str, Any]] = []
    for step, took in time_one_image(trained, jpeg, arguments.repeats).items():
        rows.append({**shape, "one_image": step, "seconds": took})
    print(
        timing.table(
            {"one image": row["one_image"], "ms (min to max)": row["seconds"].ms()} for row in rows
        )
    )
    prepare: dict[str, Callable[..., timing.Peer]] = {}
    for peer in arguments.peers:
        if peer == "ours":
            prepare[peer] = prepare_ours
        elif timing.torch_device():
            prepare[peer] = partial(prepare_torch, compiled=peer == "compile")
    for batch_size in arguments.batch_size:
        size = (batch_size, *config.data.image_size, 3)
        images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        measured = timing.measure_peers(
            {name: partial(make, trained, images) for name, make in prepare.items()},
            arguments.repeats,
            timing.tolerance(config.model.dtype, 1e-2, 0.2),
            batch_size=batch_size,
            **shape,
        )
        print(f"\nthe network alone, {batch_size} images at a time\n")
        print(timing.report_peers(measured), flush=True)
        rows += measured
    lines: list[dict[str, Any]] = []
    passes = min(3, arguments.repeats)
    times = time_list(trained, jpeg, arguments.batch_size, arguments.images, passes)
    for batch_size, took in times.items():
        rate = timing.figure(arguments.images / took.median)
        per_image = took.ms(arguments.images)
        lines.append(
            {"at a time": batch_size, "ms an image (min to max)": per_image, "images/s": rate}
        )
        rows.append({**shape, "list_of": arguments.images, "at": batch_size, "seconds": took})
    print(f"\na list of {arguments.images} images through the Detector\n")
    print(timing.table(lines) + "\n", flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if PyTorch's outputs are not ours."""
    parser = timing.parser(
        __doc__,
        network=(NETWORKS, ["ggnet"]),
        size=None,
        batch_size=[1, 2, 4],
        dtype=["float32"],
        peers=(PEERS, ["ours", "eager"]),
        images=64,
        repeats=20,
    )
    parser.add_argument("--photo", type=photo, help="an image file; by default a JPEG is made")
    arguments = parser.parse_args(argv)
    machine = timing.machine(timing.start_jax())
    rows: list[dict[str, Any]] = []
    for name, dtype in product(arguments.network, arguments.dtype):
        config = network_config(name, arguments.size, dtype)
        side = config.data.image_size[0]
        print(f"{name}, {dtype}, {side} x {side}\n")
        try:
            rows += measure(arguments, config, network=name, dtype=dtype, size=side)
        except UserError as error:
            parser.error(str(error))
        timing.write(arguments.output, machine, rows)
    return timing.status([row for row in rows if "peer" in row])


if __name__ == "__main__":
    sys.exit(main())
