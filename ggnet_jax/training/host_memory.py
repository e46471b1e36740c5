"""How much of the host's memory a process may still take, also in a container (Linux)."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class HostMemory(NamedTuple):
    """Bytes of memory.

    Attributes:
        available: what may be taken before a process is killed: free memory, caches that give way,
            swap, within the limit of the process's control groups.
        total: the host's, or the limit.
    """

    available: int
    total: int


def host_memory(root: Path = Path("/")) -> HostMemory | None:
    """Read it from Linux; None where there is no /proc/meminfo.

    Args:
        root: where /proc and /sys lie.
    """
    try:
        meminfo = _table(root / "proc/meminfo")
        swap = 1024 * meminfo.get("SwapFree", 0)
        available, total = 1024 * meminfo["MemAvailable"] + swap, 1024 * meminfo["MemTotal"]
    except (OSError, KeyError, ValueError):
        return None
    for group in _groups(root):
        try:
            limit, used, given_back = _usage(group)
        except (OSError, KeyError, ValueError):  # no limit ("max"), or not a group of memory
            continue
        available = min(available, max(0, limit - used + given_back + swap))
        total = min(total, limit)
    return HostMemory(available, total)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the process's control groups and of all above, whose limits hold as well."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:  # number:controllers:path, without controllers in version 2
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = root / ("sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup")
        group = mount / path.lstrip("/")
        # In a container the path may be the host's: then the mount is the container's own group.
        yield mount
        while group != mount and mount in group.parents:
            yield group
            group = group.parent


def _usage(group: Path) -> tuple[int, int, int]:
    """(limit, used, file pages that would be given back) of a control group, version 2 or 1."""
    if (group / "memory.max").exists():
        limit, used, key = "memory.max", "memory.current", "inactive_file"
    else:
        limit, used, key = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    bytes_ = [int((group / name).read_text()) for name in (limit, used)]
    return bytes_[0], bytes_[1], _table(group / "memory.stat").get(key, 0)


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number, such as "MemTotal:  24683656 kB"."""
    rows = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
