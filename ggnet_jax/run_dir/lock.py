"""One training at a time in a workdir: `run.lock` names the process and host that has it.

The system's own lock (flock) on that file goes with its process, however that ends, so that a run
that was killed can be started again at once. Some file systems of several hosts know no such lock,
or keep it to each host: there the file is touched every few seconds, and another host looks
whether that goes on. A training of several processes is one: only its first process locks.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from ggnet_jax.errors import UserError
from ggnet_jax.run_dir.folder import LOCK

_TOUCHED_EVERY = 5.0  # seconds
_STALE_AFTER = 15.0  # seconds of watching a file that nobody touches
_FORGOTTEN_AFTER = 3600.0  # seconds since it was touched; no clocks of two hosts differ by that
_UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.EOPNOTSUPP)


class RunLock:
    """A context that may `take` a workdir, and gives it back at its end."""

    def __init__(
        self,
        workdir: str | Path,
        *,
        use: tuple[str, str, str] = ("the workdir", "trains in it", "--workdir"),
    ):
        """A lock that is not taken yet.

        Args:
            workdir: the folder.
            use: what messages call it, what is done in it, and the flag that names it.
        """
        self._workdir = Path(workdir)
        self._use = use
        self._path = self._workdir / LOCK
        self._file: int | None = None
        self._released = threading.Event()

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Let no other training into the workdir; make that folder if need be.

        Raises:
            UserError: one is in it, or nothing can be written there.
        """
        if self._file is not None:
            return
        try:
            self._workdir.mkdir(parents=True, exist_ok=True)
            file = self._open()
            try:
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(_this_process()).encode(), 0)
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to {self._use[0]} {self._workdir}: {reason}") from error
        self._file = file
        threading.Thread(target=self._touch, args=(file,), daemon=True).start()

    def release(self) -> None:
        """Let the next one in."""
        if self._file is None:
            return
        file, self._file = self._file, None
        self._released.set()
        try:
            if _is_at(file, self._path):
                self._path.unlink()  # while it is locked
        except OSError:
            pass  # what lies there stops nobody
        os.close(file)

    def _open(self) -> int:
        """The file, locked, once nobody else has it."""
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                locked = _lock(file)
                holder = _read(file)
                if locked is False:
                    raise self._in_use(holder)
                if _is_at(file, self._path):
                    self._see_that_it_is_stale(file, holder, locked)
                    return file
            except BaseException:
                os.close(file)
                raise
            os.close(file)  # its last owner has just removed it

    def _see_that_it_is_stale(self, file: int, holder: dict[str, Any], locked: bool | None) -> None:
        """Raise a UserError if the process that a lock names still has it.

        Args:
            file: the open lock.
            holder: what is written in it; empty if nothing is.
            locked: whether the system's lock was got; None where there is none.
        """
        if not holder:
            return
        if holder.get("host") == socket.gethostname():
            if not locked and _started(holder.get("pid")) == holder.get("started") is not None:
                raise self._in_use(holder)
            return
        touched = os.fstat(file).st_mtime_ns
        if abs(time.time() - touched / 1e9) > _FORGOTTEN_AFTER:
            return
        print(f"waiting to see whether {_name(holder)} still uses {self._workdir}")
        deadline = time.monotonic() + _STALE_AFTER
        while time.monotonic() < deadline:
            time.sleep(min(1.0, _STALE_AFTER))
            if _touched(self._path) != touched:
                raise self._in_use(holder)

    def _in_use(self, holder: dict[str, Any]) -> UserError:
        what, does, flag = self._use
        return UserError(
            f"{what} {self._workdir} is in use: {_name(holder)} {does}; "
            f"wait for it or stop it, or give another {flag}"
        )

    def _touch(self, file: int) -> None:
        """Show other hosts that this process is alive."""
        while not self._released.wait(_TOUCHED_EVERY):
            try:
                os.utime(file)
            except OSError:
                pass


def _lock(file: int) -> bool | None:
    """Whether the system's lock was got; None where the file system has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one under its name."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _touched(path: Path) -> int | None:
    """When a file was last touched; opened anew, as network file systems remember what they saw."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(file).st_mtime_ns
    finally:
        os.close(file)


def _read(file: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(file, 4096, 0))
    except ValueError:  # empty, or cut off
        return {}
    return holder if isinstance(holder, dict) else {}


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": _started(pid),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _started(pid: Any) -> str | None:
    """When a process of this host was started, in the kernel's own count; None if it is gone."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        pass  # somebody else's
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return None
    try:
        status = Path(f"/proc/{int(pid)}/stat").read_text()
    except OSError:
        return "unknown"  # a system without /proc
    return status.rpartition(")")[2].split()[19]


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    since = f" (since {holder['since']})" if "since" in holder else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{since}"
