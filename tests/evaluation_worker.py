"""One of two processes that evaluate together: worker.py WORKDIR PORT PROCESS."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import jax
from fake_split import FakeSplit

from ggnet_jax.cli import evaluate_split


def main(workdir: str, port: str, process: str) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, int(process))
    split = FakeSplit(images=7)
    figures = evaluate_split.evaluate(split.config(batch_size=4), workdir, data=split)
    print("figures", len(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
