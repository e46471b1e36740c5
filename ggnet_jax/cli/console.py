"""The command `ggnet` of an installed package, and what it says where only the evaluators are."""

import sys


def main() -> None:
    """Run the command line, or say what it needs that is not installed."""
    try:
        from ggnet_jax.cli import command
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ggnet_jax"):
            raise
        print(
            f"error: ggnet needs {error.name}, which the evaluators (ggnet-eval) do without: "
            'pip install "ggnet-jax[detect]"',
            file=sys.stderr,
        )
        sys.exit(2)
    command.console()
