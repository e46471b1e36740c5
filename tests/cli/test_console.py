"""The console command without what it needs."""

from subprocesses import run_python

BLOCKED = """
import sys
sys.modules["absl"] = None  # as if it were not installed
from ggnet_jax.cli.console import main
main()
"""


def test_what_is_missing_is_one_line():
    run = run_python("-c", BLOCKED)
    assert run.returncode == 2
    assert (
        run.stderr.count("\n") == 1 and "absl" in run.stderr and "ggnet-jax[detect]" in run.stderr
    )
