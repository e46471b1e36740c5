"""The evaluators' commands under one name: `ggnet-eval hico ...`, `ggnet-eval vcoco ...`.

The same as `python -m ggnet_jax.evaluation.hico` and `.vcoco`; `ggnet-eval convert ...` writes the
files that these read as PPDM's JSON.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = ("hico", "vcoco", "convert")


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments to the evaluator that the first one names; its exit status."""
    parser = argparse.ArgumentParser(
        prog="ggnet-eval", description="Score the HOI predictions of any repository."
    )
    parser.add_argument("evaluator", choices=COMMANDS, help="its own --help says more")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the evaluator")
    chosen = parser.parse_args(argv)
    evaluator = importlib.import_module(f"ggnet_jax.evaluation.{chosen.evaluator}")
    sys.argv[0] = f"{parser.prog} {chosen.evaluator}"  # the name in the evaluator's messages
    return evaluator.main(chosen.arguments)


if __name__ == "__main__":
    sys.exit(main())
