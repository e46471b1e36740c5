"""Start `--mode=serve` in a process of its own."""

import re
import subprocess
from pathlib import Path

import pytest
from subprocesses import start_python

WORKER = Path(__file__).parent / "serve_worker.py"


def serve(folder: Path, *flags: str, script: Path | None = None) -> subprocess.Popen:
    """Start `main.py`, watched by `serve_worker.py`.

    Args:
        folder: where the worker writes; temporary files go to `folder / "tmp"`.
        *flags: of `main.py`.
        script: runs instead, in `folder`.
    """
    arguments = ["--script", str(script)] if script else list(flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        # All of them compile the same network.
        return start_python(str(WORKER), str(folder), *arguments, cache=folder.parent / "compiled")


def address(process: subprocess.Popen) -> str:
    """Where the page is, once it is."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if found := re.search(r" at (http://\S+) \(Ctrl-C ends it\)$", line):
            return found[1]
    raise AssertionError("".join(lines))
