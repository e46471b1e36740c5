"""One forward pass of the full Hourglass-104 GGNet on the CPU: seconds and peak memory.

    python -m benchmarks.full_forward PHOTO [--size=512] [--dtype=bfloat16] [--repeats=3]

Pixels to matched pairs, as the Detector does it, with HICO-DET's 117 verbs and random weights. JAX
and Flax only. Peak memory is the process's, so that of importing and compiling is in it.
"""

import argparse
import os
import resource
import time
from collections.abc import Sequence
from types import SimpleNamespace

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from ggnet_jax import inference, models, vocabularies
from ggnet_jax.detector import letterbox_picture, load_picture

# `configs/base.py` in plain Python: this script needs no ml_collections.
HOURGLASS_104 = {
    "backbone": "hourglass",
    "stem_width": 128,
    "widths": (256, 256, 384, 384, 384, 512),
    "blocks": (2, 2, 2, 2, 2, 4),
    "stacks": 2,
    "head_width": 256,
    "gaze_steps": 2,
    "act_points": 25,
    "per_verb_offsets": True,
    "share_gaze_features": False,
    "remat": False,
}


def random_variables(model, images: jax.Array, seed: int = 0):
    """He-initialised weights of the right shapes, without compiling the network's own start."""
    shapes = jax.eval_shape(model.init, jax.random.key(seed), images)
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if len(leaf.shape) < 2:
            return np.full(leaf.shape, float(path[-1].key in ("scale", "var")), np.float32)
        spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def peak_gib() -> float:
    """The most memory that this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo")
    parser.add_argument("--size", type=int, default=512, help="side of the square input")
    parser.add_argument("--dtype", default="float32", help="of the convolutions")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args(argv)

    vocabulary = vocabularies.load("hico_det")
    config = SimpleNamespace(
        **HOURGLASS_104,
        num_verbs=vocabulary.num_verbs,
        num_objects=vocabulary.num_objects,
        dtype=arguments.dtype,
    )
    model = models.create_model(config)
    size = (arguments.size, arguments.size)
    picture = load_picture(arguments.photo)
    images = letterbox_picture(picture, size)[None]
    variables = random_variables(model, jnp.zeros((1, *size, 3)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    print(f"{count / 1e6:.1f} million parameters, photo {picture.shape[1]} x {picture.shape[0]}")
    variables = jax.device_put(variables)
    detect = inference.make_detect(model, valid_pairs=vocabulary.valid_pairs)
    before = peak_gib()
    start = time.perf_counter()
    compiled = detect.lower(variables, images).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s", flush=True)
    seconds = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        found = jax.block_until_ready(compiled(variables, images))
        seconds.append(time.perf_counter() - start)
    memory = compiled.memory_analysis()
    flops = compiled.cost_analysis()["flops"]
    print(
        f"forward at {size[0]} x {size[1]}, {arguments.dtype}, {os.cpu_count()} cores: "
        f"best of {len(seconds)} {min(seconds):.2f} s, first {seconds[0]:.2f} s, "
        f"{flops / 1e9:.0f} GFLOP"
    )
    print(
        f"peak memory {peak_gib():.2f} GiB ({before:.2f} before compiling); the compiled "
        f"function's temporaries take {memory.temp_size_in_bytes / 2**30:.2f} GiB"
    )
    scores = np.asarray(found.detections.score)
    print(f"all scores finite: {bool(np.isfinite(scores).all())}")


if __name__ == "__main__":
    main()
