"""One training at a time in a workdir; whatever a dead one left stops nobody."""

import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time

import pytest
from subprocesses import start_python

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir import folder, lock
from ggnet_jax.run_dir.lock import RunLock

HOLDER = """
import sys, time
from ggnet_jax.run_dir.lock import RunLock
with RunLock(sys.argv[1]) as lock:
    lock.take()
    print("taken", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the workdir."""
    process = start_python("-c", HOLDER, str(tmp_path))
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def no_system_lock(monkeypatch):
    """A file system without flock."""

    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def write(workdir, **changes):
    """A lock that another process left."""
    fields = {"host": "elsewhere", "pid": 1, "started": "1", "since": "2024-01-01 00:00:00"}
    (workdir / folder.LOCK).write_text(json.dumps(fields | changes))


def take(workdir):
    with RunLock(workdir) as held:
        held.take()
        assert (workdir / folder.LOCK).exists()
    assert not (workdir / folder.LOCK).exists()


def test_the_second_is_told_of_the_first(tmp_path, holder):
    name = rf"in use: process {holder.pid} on {socket.gethostname()} \(since .*\) trains in it"
    with pytest.raises(UserError, match=name):
        take(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / folder.LOCK).exists()
    take(tmp_path)


def test_also_without_the_systems_lock(tmp_path, holder, no_system_lock):
    with pytest.raises(UserError, match=f"process {holder.pid} on"):
        take(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    take(tmp_path)


def test_another_process_with_the_same_number_is_another(tmp_path, no_system_lock):
    write(tmp_path, host=socket.gethostname(), pid=os.getppid(), started="1")
    take(tmp_path)


def test_within_one_process(tmp_path):
    with RunLock(tmp_path / "run") as one, RunLock(tmp_path / "run") as other:
        one.take()
        one.take()
        with pytest.raises(UserError, match=f"process {os.getpid()} on"):
            other.take()
        one.release()
        other.take()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"pid": "x"}', '{"pid": 10e20}', "\x00"])
def test_what_says_nothing_stops_nobody(tmp_path, text, no_system_lock):
    (tmp_path / folder.LOCK).write_text(text)
    os.utime(tmp_path / folder.LOCK, (0, 0))
    take(tmp_path)


def test_a_dead_process_of_another_host(tmp_path, monkeypatch):
    """Touched long ago, or not any more."""
    write(tmp_path)
    os.utime(tmp_path / folder.LOCK, (0, 0))
    take(tmp_path)
    write(tmp_path)
    monkeypatch.setattr(lock, "_STALE_AFTER", 0.2)
    take(tmp_path)


def test_a_live_process_of_another_host(tmp_path):
    """It goes on touching the file, which is locked on that host alone."""
    write(tmp_path)
    ended = threading.Event()

    def touch():
        while not ended.wait(0.1):
            os.utime(tmp_path / folder.LOCK)

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        with pytest.raises(UserError, match="process 1 on elsewhere"):
            take(tmp_path)
    finally:
        ended.set()
        toucher.join()


def test_the_file_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_TOUCHED_EVERY", 0.02)
    with RunLock(tmp_path) as held:
        held.take()
        path = tmp_path / folder.LOCK
        os.utime(path, (0, 0))
        while os.stat(path).st_mtime == 0:
            time.sleep(0.01)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to the workdir .*: Not a directory"):
        take(tmp_path / "file" / "run")
    (tmp_path / folder.LOCK).mkdir()
    with pytest.raises(UserError, match=r"cannot write to the workdir .*: Is a directory"):
        take(tmp_path)


def test_a_killed_start_leaves_a_folder_to_start_in(tmp_path):
    write(tmp_path)
    folder.check_folder(tmp_path)
