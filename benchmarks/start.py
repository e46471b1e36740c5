"""How long `main.py --mode=predict` takes until its first picture; see `benchmarks.inference`."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks, timing
from ggnet_jax import models, vocabularies
from ggnet_jax.run_dir import folder as run_folder
from ggnet_jax.run_dir.checkpoints import Checkpoints

REPOSITORY = Path(__file__).resolve().parents[1]
PICTURES = 3


def make_workdir(folder: Path, network: str, size: int) -> None:
    """Write a run of a network with random weights."""
    vocabulary = vocabularies.load(networks.USUAL[network][0])
    settings = networks.settings(network, vocabulary)
    config = {
        "model": vars(settings),
        "data": {"image_size": (size, size)},
        "eval": {"top_k": 100},
    }
    run_folder.prepare(folder, config, vocabulary.to_dict())
    variables = networks.random_variables(models.create_model(settings), (size, size))
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(0, variables, {"step": np.zeros((), np.int32)})


def time_start(workdir: Path, images: Path, output: Path, cache: Path) -> dict[str, float]:
    """One start: wall seconds until each picture's line is printed, and the process's CPU seconds.

    Raises:
      RuntimeError: main.py failed; with what it said.
    """
    command = [
        sys.executable, "main.py", "--mode=predict", f"--workdir={workdir}",
        f"--images={images}", f"--output={output}",
    ]  # fmt: skip
    variables = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        variables.pop(name, None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    printed, said = [], []
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            said.append(line)
            if line.startswith("["):
                printed.append(time.perf_counter() - began)
    if process.returncode or len(printed) != PICTURES:
        raise RuntimeError(f"main.py ended with {process.returncode}: {''.join(said)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "first picture": printed[0],
        "a further picture": statistics.mean(np.diff(printed)),
        "CPU": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


def measure(
    workdir: str | None, jpeg: bytes, repeats: int, network: str, size: int
) -> list[dict[str, Any]]:
    """Time a start with nothing compiled and then others, and print a table.

    Args:
      workdir: of a run; None to make one.
      jpeg: the picture, given so many times as `PICTURES` says.
      repeats: starts after the first.
      network: of `networks.NETWORKS`, where no workdir is given.
      size: of its input.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if workdir is None:
            make_workdir(folder / "run", network, size)
        run = Path(workdir).absolute() if workdir else folder / "run"
        images = folder / "images"
        images.mkdir()
        for number in range(PICTURES):
            (images / f"{number}.jpg").write_bytes(jpeg)
        starts = [
            time_start(run, images, folder / "output", folder / "cache") for _ in range(repeats + 1)
        ]
    rows = []
    for name, some in (("first", starts[:1]), (f"again, {repeats} times", starts[1:])):
        row: dict[str, Any] = {"start": name}
        for part in starts[0]:
            row[f"{part}, s"] = timing.seconds([one[part] for one in some])
        # The time of one picture is that of the next, which no start is part of.
        ahead = [one["first picture"] - one["a further picture"] for one in some]
        row["before its first picture, s"] = timing.seconds(ahead)
        rows.append(row)
    print(timing.table(rows))
    return [{k: v if k == "start" else v._asdict() for k, v in row.items()} for row in rows]
