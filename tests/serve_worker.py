"""`main.py` in a process of its own, watched: python serve_worker.py FOLDER FLAGS...

`--script FILE` runs that instead, with FOLDER as working directory.

In FOLDER, `calls` gets a line each time that the network runs, which waits while there is a file
`closed`; `connections` a line for each address that is connected to or looked up. SIGUSR1 makes the
page forget all photos.
"""

import os
import runpy
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

FOLDER = Path(sys.argv.pop(1))


def log(name: str, line: object) -> None:
    """Append a line to a file of FOLDER."""
    with open(FOLDER / name, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def watch(owner, method: str, name: str) -> None:
    """Log the first argument of a method of sockets, or of a function of their module."""
    inner = getattr(owner, method)

    def logged(*arguments, **options):
        log(name, arguments[1] if isinstance(owner, type) else arguments[0])
        return inner(*arguments, **options)

    setattr(owner, method, logged)


class Socket(socket.socket):
    """A socket whose methods can be replaced."""


socket.socket = Socket
for method in ("connect", "connect_ex"):
    watch(Socket, method, "connections")
watch(socket, "getaddrinfo", "connections")

from absl import app  # noqa: E402

import data_pipelines  # noqa: E402
from configs import base  # noqa: E402
from ggnet_jax.cli import command  # noqa: E402
from ggnet_jax.inference.detector import Detector  # noqa: E402
from ggnet_jax.serve import server  # noqa: E402

explain, launch = Detector.explain, server.launch


def counted(self, *arguments, **options):
    """`Detector.explain`, counted and held up."""
    log("calls", "explain")
    while (FOLDER / "closed").exists():
        time.sleep(0.05)
    return explain(self, *arguments, **options)


def forgetful(blocks, *arguments):
    """`server.launch` with a signal that empties all sessions."""
    launch(blocks, *arguments)
    signal.signal(signal.SIGUSR1, lambda *_: blocks.app.state_holder.session_data.clear())


Detector.explain, server.launch = counted, forgetful

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.argv[1:2] == ["--script"]:
        os.chdir(FOLDER)
        runpy.run_path(sys.argv[2], run_name="__main__")
        sys.exit()
    app.run(
        partial(command.main, data=data_pipelines),
        flags_parser=partial(command.parse, base=base.get_config()),
    )
