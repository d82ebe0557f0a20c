"""One postmaster as a process: find it by its data directory, start it, wait for it, end it.

``setpoint.local.postgres`` is the only caller. It knows no roles, no passwords and no SQL. A postmaster is named by a
pidfd, so a signal can never reach a process that took over its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from setpoint.local.account import Account

_POLL_S: Final = 0.02
_READY_LINE: Final = 7
_ENDINGS: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0))
"""Fast shutdown, which ends the sessions and writes a checkpoint; then immediate, which leaves recovery to do."""


class PostgresFailed(Exception):
    """Postgres does not start or does not stop; the text says why, in its own words, and where its log is."""


@dataclass(frozen=True, slots=True)
class PidFile:
    """What ``postmaster.pid`` says. ``ready``: it accepts connections."""

    pid: int
    port: int
    ready: bool


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Read the pid file of a data directory; None when there is none, or it is still being written."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    try:
        pid, port = int(lines[0]), int(lines[3])
    except (IndexError, ValueError):
        return None
    return PidFile(pid, port, len(lines) > _READY_LINE and lines[_READY_LINE].strip() == "ready")


class Postmaster:
    """A living postmaster: ours by start, or one that outlived its supervisor and was found again."""

    def __init__(self, pid: int, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid, self._pidfd, self._child = pid, pidfd, child

    @classmethod
    def find(cls, data_dir: Path) -> Postmaster | None:
        """Find the postmaster that serves ``data_dir``, None when none does."""
        facts = read_pid_file(data_dir)
        if facts is None:
            return None
        try:
            pidfd = os.pidfd_open(facts.pid)
        except ProcessLookupError:
            return None
        # A postmaster works in its data directory; a process that merely inherited the number does not.
        if _working_directory(facts.pid) != data_dir.resolve() or _ended(pidfd):
            os.close(pidfd)
            return None
        return cls(facts.pid, pidfd, None)

    @classmethod
    def launch(cls, arguments: list[str], account: Account, environ: dict[str, str], log_path: Path) -> Postmaster:
        """Start a postmaster that survives its supervisor; returns before it is ready (see ``wait_ready``)."""
        with log_path.open("ab") as log:
            child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                start_new_session=True,
                **account.popen_options(),
            )
        return cls(child.pid, os.pidfd_open(child.pid), child)

    @property
    def alive(self) -> bool:
        """Say whether it still runs."""
        return self._pidfd >= 0 and not _ended(self._pidfd)

    async def wait_ready(self, data_dir: Path, timeout_s: float) -> PidFile | None:
        """Wait until it accepts connections, which includes crash recovery; None when it ended instead.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while self.alive:
                facts = read_pid_file(data_dir)
                if facts is not None and facts.pid == self.pid and facts.ready:
                    return facts
                await asyncio.sleep(_POLL_S)
        self.forget()
        return None

    async def end(self) -> None:
        """Shut it down and wait until it is gone. Idempotent. Raises PostgresFailed when it survives."""
        for number, patience_s in _ENDINGS:
            if not self.alive:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)
                signal.pidfd_send_signal(self._pidfd, number)
            with contextlib.suppress(TimeoutError):
                await _exit(self._pidfd, patience_s)
        if self.alive:
            raise PostgresFailed(f"Postgres (pid {self.pid}) does not stop")
        self.forget()

    def forget(self) -> None:
        """Let go of the process: reap it when it was our child and has ended. Idempotent."""
        if self._child is not None:
            self._child.poll()
            self._child = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def drop_stale_pid_file(data_dir: Path) -> None:
    """Remove a pid file whose process is another program by now; Postgres would take that one for a living server.

    Only when ``Postmaster.find`` found none, and under the supervisor's lock. Backends that outlived a killed
    postmaster still keep the directory: Postgres sees their shared memory.
    """
    facts = read_pid_file(data_dir)
    if facts is not None and Path(f"/proc/{facts.pid}").exists():
        (data_dir / "postmaster.pid").unlink(missing_ok=True)


def _ended(pidfd: int) -> bool:
    """Say whether the process has ended: waiting for it does not block. A zombie has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


async def _exit(pidfd: int, timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(pidfd, gone.set)
    try:
        async with asyncio.timeout(timeout_s):
            await gone.wait()
    finally:
        loop.remove_reader(pidfd)


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None  # it ended, or belongs to somebody else: not ours either way
