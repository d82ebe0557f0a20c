"""CPU time of process trees, read from /proc: a process, its living descendants, and whoever they have waited for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(roots: Iterable[int]) -> float:
    """Return the CPU seconds that these trees have used so far, user and system."""
    below = _children()
    waiting, total = list(roots), 0
    while waiting:
        pid = waiting.pop()
        waiting += below.get(pid, [])
        total += _ticks(pid)
    return total / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    return _children().get(pid, [])


def title(pid: int) -> str:
    """Return what a process calls itself; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            found.setdefault(int(fields[1]), []).append(int(entry))
    return found


def _ticks(pid: int) -> int:
    """Return utime + stime of the process and of the children it has waited for."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) if fields else 0


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` behind the name; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
