"""Our programs compiled for GPUs and TPUs that are not there: what they need and what they do.

    python -m benchmarks.compiled [--devices=H200,A100,T4] [--count=1] [--batch_size=1,8]
        [--program=deform_conv] [--dtype=float32,bfloat16] [--forms=sums,pallas]

Nothing runs, so nothing is timed. A row says how much memory XLA sets aside, how many kernels a
call starts, what devices exchange, whether a GPU adds in one instruction and how many cycles XLA
expects of a TPU; of gathers and scatters of cells it expects nothing. `training_step` is the whole
step of Hourglass-104 at 512 x 512, which takes minutes to compile for a GPU and a quarter of an
hour for a TPU on two cores; `inference` goes from its pictures to matched pairs. Needs
`jax[cuda12]` or `jax[tpu]`, and no ml_collections.
"""

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import timing
from benchmarks.arguments import DTYPES, names, new_file, number, numbers
from benchmarks.compiled import devices, text
from benchmarks.deform_conv.candidates import CANDIDATES
from benchmarks.deform_conv.cases import ARRAYS, CASES
from benchmarks.training_step.case import Case, made_batch
from benchmarks.training_step.ours import make_step
from ggnet_jax.inference.detection import make_detect
from ggnet_jax.models import create_model
from ggnet_jax.ops import deform_conv2d
from ggnet_jax.ops.deform_forms import FORMS, fastest_form
from ggnet_jax.training.parallel import MeshParallel
from ggnet_jax.training.state import TrainState

SIZE = 512


def deform_conv(places: Sequence[Any], batch_size: int, dtype: str, form: str) -> Any:
    """The gradient of GGNet's deformable convolution, lowered for one device."""
    case = CASES["ggnet"]._replace(batch=batch_size)
    place, side = (case.batch, case.side, case.side), math.isqrt(case.taps)
    shapes = {
        "x": ((*place, case.channels), dtype),
        "offset": ((*place, case.taps, 2), "float32"),
        "mask": ((*place, case.taps), "float32"),
        "weight": ((side, side, case.channels, case.features), dtype),
        "bias": ((case.features,), dtype),
    }
    where = jax.sharding.SingleDeviceSharding(places[0])
    inputs = [jax.ShapeDtypeStruct(*shapes[name], sharding=where) for name in ARRAYS]

    def gradients(*arrays: jax.Array) -> Any:
        y, pull = jax.vjp(partial(deform_conv2d, form=CANDIDATES.get(form, form)), *arrays)
        return y, pull(y)

    return jax.jit(gradients).lower(*inputs)


def training_step(places: Sequence[Any], batch_size: int, dtype: str, form: str) -> Any:
    """The training step as it runs over a mesh, lowered; `batch_size` pictures a device."""
    case = Case("ggnet", dtype, SIZE, batch_size * len(places))
    settings = case.model
    settings.deform_conv = form
    model = create_model(settings)
    step, optimizer = make_step(case, model)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    params = variables["params"]
    state = TrainState(
        jax.ShapeDtypeStruct((), jnp.int32),
        params,
        variables["batch_stats"],
        jax.eval_shape(optimizer.init, params),
    )
    batch = {
        name: jax.ShapeDtypeStruct((case.batch_size, *array.shape[1:]), array.dtype)
        for name, array in made_batch(case._replace(batch_size=1)).items()
    }
    return MeshParallel(list(places)).compile(step).lower(state, batch)


def inference(places: Sequence[Any], batch_size: int, dtype: str, form: str) -> Any:
    """From pictures to matched pairs, lowered for one device."""
    case = Case("ggnet", dtype, SIZE, batch_size)
    settings = case.model
    settings.deform_conv = form
    model = create_model(settings)
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    images = jax.ShapeDtypeStruct((batch_size, SIZE, SIZE, 3), jnp.uint8)
    where = jax.sharding.SingleDeviceSharding(places[0])
    inputs = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=where), (variables, images)
    )
    return make_detect(model, valid_pairs=case.vocabulary.valid_pairs).lower(*inputs)


PROGRAMS = {"deform_conv": deform_conv, "inference": inference, "training_step": training_step}


def describe(lowered: Any, platform: str, dump: Path) -> dict[str, Any]:
    """A row's figures."""
    before = set(dump.glob("*.ptx"))
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    memory, program = compiled.memory_analysis(), compiled.as_text()
    assembler = "\n".join(path.read_text() for path in set(dump.glob("*.ptx")) - before)
    found = text.instructions(program)
    return {
        "seconds to compile": round(seconds, 1),
        "arguments, GiB": round(memory.argument_size_in_bytes / 2**30, 3),
        "temporary, GiB": round(memory.temp_size_in_bytes / 2**30, 3),
        "kernels": text.kernels(found),
        "exchanged, million numbers": {
            kind: round(count / 1e6, 1) for kind, count in text.exchanged(found).items()
        },
        "additions": text.additions(assembler) if platform == "gpu" else "",
        "million cycles": round(text.cycles(found) / 1e6, 1) if platform == "tpu" else "",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Compile and print; 1 where a compiler is missing."""
    arguments = _parse(argv)
    devices.prepare(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder}"
        machine = timing.environment(f"compiled for {', '.join(arguments.devices)}")
        print(timing.describe(machine) + "\n", flush=True)
        rows = []
        cases = product(arguments.devices, arguments.dtype, arguments.batch_size)
        for name, dtype, batch_size in cases:
            platform = devices.platform(name)
            try:
                places = devices.get(name, arguments.count)
            except (ModuleNotFoundError, ValueError) as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
            for form in arguments.forms or [fastest_form(platform)]:
                lowered = PROGRAMS[arguments.program](places, batch_size, dtype, form)
                row = {
                    "device": f"{arguments.count} {name}",
                    "dtype": dtype,
                    "pictures a device": batch_size,
                    "form": form,
                    **describe(lowered, platform, Path(folder)),
                }
                rows.append(row)
                print(timing.table([row]), flush=True)
                timing.write(arguments.output, machine, rows)
        print("\n" + timing.table(rows))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.compiled", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--devices", type=names(devices.NAMES), default=["H200", "v5e"])
    parser.add_argument("--count", type=number, default=1, help="devices that share the work")
    parser.add_argument("--program", choices=PROGRAMS, default="deform_conv")
    parser.add_argument("--batch_size", type=numbers, default=[1])
    parser.add_argument("--dtype", type=names(DTYPES), default=["bfloat16"])
    parser.add_argument(
        "--forms", type=names([*FORMS, *CANDIDATES]), help="by default the device's own"
    )
    parser.add_argument("--output", type=new_file, help="JSON file")
    arguments = parser.parse_args(argv)
    if arguments.program != "training_step" and arguments.count != 1:
        parser.error(f"--program={arguments.program} is compiled for one device; leave --count out")
    if arguments.program != "deform_conv" and not set(arguments.forms or ()) <= set(FORMS):
        parser.error(f"the forms of a network are {', '.join(FORMS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
