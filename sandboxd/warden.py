"""The warden: a process beside sandboxd that ends runs at their orphan deadlines when sandboxd itself is frozen.

``__main__`` starts it before there is a loop or a thread; the runner tells it of every step before the step's gate
opens. It ends with sandboxd, as the sandboxes do. It never decides anything: deadlines are sandboxd's, and while
sandboxd moves it is there first. Without its warden sandboxd must not go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
from typing import Final, NoReturn

from sandboxd.jail.process import marked, readable
from setpoint import runtime

MARGIN_S: Final = 1.0
"""How much later than sandboxd it acts; an owner waits KILL_GRACE_S longer than the deadline."""

_LOOK_S: Final = 0.25  # the wait of a poll stands still while the machine sleeps, CLOCK_BOOTTIME does not
_ENDINGS: Final = 20
_ENDING_S: Final = 0.1
_PIPE_BYTES: Final = 1024 * 1024
_PR_SET_NAME: Final = 15


class WardenLost(Exception):
    """The warden is gone, or does not read: nobody would end the runs of a frozen host."""


class Warden:
    """The warden as sandboxd sees it. Every call is one small write to a pipe."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid, self._pipe = pid, pipe

    def hold(self, run_id: str, word: str, deadline_s: float) -> None:
        """Have all processes with ``word`` killed at ``deadline_s`` (CLOCK_BOOTTIME). Call it before they may run.

        Raises WardenLost.
        """
        self._tell(f"hold {run_id} {deadline_s} {word}")

    def move(self, run_id: str, deadline_s: float) -> None:
        """Move the deadline of a run, if it is held. Raises WardenLost."""
        self._tell(f"move {run_id} {deadline_s}")

    def drop(self, run_id: str) -> None:
        """Forget a run's processes, which are gone. Raises WardenLost."""
        self._tell(f"drop {run_id}")

    async def watch(self) -> NoReturn:
        """Raise WardenLost when the warden ends; goes on until then, or until cancelled."""
        descriptor = os.pidfd_open(self._pid)
        try:
            await readable(descriptor)
        finally:
            os.close(descriptor)
        raise WardenLost("the warden is gone")

    def close(self) -> None:
        """Let the warden end, and wait for it."""
        os.close(self._pipe)
        os.waitpid(self._pid, 0)

    def _tell(self, line: str) -> None:
        try:
            os.write(self._pipe, line.encode() + b"\n")
        except (BlockingIOError, BrokenPipeError) as error:
            raise WardenLost(f"the warden does not read: {error.strerror}") from error


def start() -> Warden:
    """Fork the warden. The caller must have no other thread and no loop yet."""
    reading, writing = os.pipe()
    with contextlib.suppress(OSError):  # the usual 64 KiB are a thousand lines, and enough for most
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    os.set_blocking(writing, False)
    pid = os.fork()
    if pid == 0:
        _be_warden(reading)
    os.close(reading)
    return Warden(pid, writing)


def _be_warden(pipe: int) -> NoReturn:
    """Be the child: hold nothing of the parent's but the pipe, and end when that does."""
    try:
        os.setsid()  # what stops or ends the parent's group is not meant for it
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(pipe, 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # also the parent's locks and its end of the pipe
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"warden", 0, 0, 0)
        _end_all(_keep_watch(0))
    finally:
        os._exit(0)


def _keep_watch(pipe: int) -> list[str]:
    """Read lines until the pipe ends, and kill what is over its time; return the words of what was held then."""
    held: dict[str, tuple[float, str]] = {}
    text = b""
    while True:
        if select.select([pipe], [], [], _LOOK_S if held else None)[0]:
            piece = os.read(pipe, 65536)
            if not piece:
                return [word for _, word in held.values()]
            *lines, text = (text + piece).split(b"\n")
            for line in lines:
                _note(held, line.decode().split(" "))
        now_s = runtime.boottime_s()
        for deadline_s, word in list(held.values()):
            if now_s > deadline_s + MARGIN_S:
                _kill(word)


def _end_all(words: list[str]) -> None:
    """Kill what sandboxd left when it died: its sandboxes die with it, but for one that was just being made."""
    for _ in range(_ENDINGS):
        left = [pid for word in words for pid in marked(word)]
        if not left:
            return
        _send_kill(left)
        select.select([], [], [], _ENDING_S)


def _note(held: dict[str, tuple[float, str]], words: list[str]) -> None:
    match words:
        case ["hold", run_id, deadline_s, word]:
            held[run_id] = float(deadline_s), word
        case ["move", run_id, deadline_s]:
            if run_id in held:
                held[run_id] = float(deadline_s), held[run_id][1]
        case ["drop", run_id]:
            held.pop(run_id, None)
        case _:
            raise ValueError(f"no line of sandboxd's: {words}")


def _kill(word: str) -> None:
    """Kill every process with the word once; those that are not gone by the next look are killed again."""
    _send_kill(marked(word))


def _send_kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
