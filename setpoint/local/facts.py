"""The stack as its state directory remembers it: who supervises it, what it started, and whether that still lives.

``setpoint up``, ``down`` and ``demo`` call this. A process is named by its pid and its start time together, and is
signalled by a pidfd, so nothing here can ever reach a process that merely took over a number.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from setpoint.contracts.problem import Problem
from setpoint.runtime import process_start

_ORDER: Final = ("gateway", "celld", "sandboxd", "broker")
"""Who is stopped first. Postgres is not in it: the next start attaches to it."""
_STOP_S: Final = 10.0
_KILLED_S: Final = 5.0


class StateDirBusy(Exception):
    """Another ``setpoint up`` holds the state directory at this moment."""


def read(state_dir: Path) -> dict[str, Any] | None:
    """Return what the last stack of ``state_dir`` wrote down, None when there is nothing (or nothing whole).

    Raises Problem forbidden when it may not be read.
    """
    try:
        facts = json.loads((state_dir / "stack.json").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    except OSError as error:
        raise Problem("forbidden", f"{state_dir / 'stack.json'} belongs to somebody else: {error.strerror}") from error
    return facts if isinstance(facts, dict) and "supervisor" in facts else None


def running(state_dir: Path) -> dict[str, Any] | None:
    """Return the facts of the stack that runs (or starts, see ``ready``) in ``state_dir``, None when none does."""
    facts = read(state_dir)
    if facts is None or process_start(int(facts["supervisor"])) != facts["supervisor_start"]:
        return None
    return facts


def claim(state_dir: Path) -> IO[bytes]:
    """Hold ``state_dir`` for one supervisor until the returned file is closed. Raises StateDirBusy, OSError."""
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    held = (state_dir / "up.lock").open("ab")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise StateDirBusy(f"another setpoint up holds {state_dir}") from None
    return held


def leftovers(state_dir: Path) -> dict[str, int]:
    """Return name -> pid of what outlived its supervisor in ``state_dir``, Postgres included. Empty while one lives."""
    facts = read(state_dir)
    if facts is None or running(state_dir) is not None:
        return {}
    return {
        name: int(part["pid"])
        for name, part in facts["processes"].items()
        if part.get("pid") and part.get("start") and process_start(int(part["pid"])) == part["start"]
    }


def end_leftovers(state_dir: Path, say: Callable[[str], None]) -> int:
    """Stop the daemons that outlived their supervisor, in order, each bounded; return how many. Postgres goes on.

    Call it only while holding ``claim``.
    """
    facts, found = read(state_dir), leftovers(state_dir)
    daemons = [(name, pid) for part in _ORDER for name, pid in found.items() if name.split("-")[0] == part]
    if daemons and facts is not None:
        say(f"an earlier supervisor (pid {facts['supervisor']}) was killed; stopping what it left")
    for name, pid in daemons:
        say(f"  {name} (pid {pid})")
        _end(pid, int((facts or {})["processes"][name]["start"]))
    return len(daemons)


def children(pid: int) -> list[int]:
    """Return the pids whose parent is ``pid`` now, in rising order."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return sorted(found)


def _end(pid: int, start: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if process_start(pid) != start:
            return
        for number, patience_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _KILLED_S)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
                signal.pidfd_send_signal(pidfd, number)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if poll.poll(patience_s * 1000):
                return
    finally:
        os.close(pidfd)
