"""One step as a process: started behind a gate, watched, killed with its whole tree, reaped.

Both drivers make these and the runner uses them. The gate is a pipe on which a shell waits before it becomes the
command: the pid is known and can be written down before anything of the tenant runs, and when this daemon dies the
pipe ends and the shell gives up. Must be made in the main thread: the kernel ties die-with-parent to the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from setpoint import runtime
from setpoint.contracts import limits

_PR_SET_CHILD_SUBREAPER: Final = 36
_BLOCK_BYTES: Final = 512  # what ``ulimit -f`` counts in

GATE: Final = (
    "ulimit -c 0; ulimit -n {open_files} 2>/dev/null || :; ulimit -f {file_blocks} 2>/dev/null || :; {processes}"
    'read -r go || exit 125; exec "$@" </dev/null'
)
"""What the shell does before it becomes the command. A limit that is lower already stays as it is."""

_PROCESSES: Final = "ulimit -u {count} 2>/dev/null || ulimit -p {count} 2>/dev/null || :; "


class _Status(msgspec.Struct, rename="kebab"):
    """A line bubblewrap writes to its status descriptor."""

    child_pid: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. ``started`` False: the command itself never ran, and its stderr says why."""

    exit_code: int | None = None
    signal: int | None = None
    started: bool = True


def gate_script(*, limit_processes: bool) -> str:
    """Return the gate with its limits. Counting processes makes sense only for an account of its own."""
    processes = _PROCESSES.format(count=limits.SANDBOX_PROCESSES_MAX) if limit_processes else ""
    return GATE.format(
        open_files=limits.SANDBOX_OPEN_FILES_MAX,
        file_blocks=limits.SANDBOX_FILE_BYTES_MAX // _BLOCK_BYTES,
        processes=processes,
    )


@cache
def account_words(uid: int) -> tuple[str, ...]:
    """Return the words before a command that let it run as another account, or none where there is no such program.

    A child that changes its account by itself is forked with a copy of all page tables of this process; one that has
    a program do it shares them until it is that program, which is several times as fast.
    """
    program = shutil.which("setpriv", path="/usr/bin:/bin")
    if program is None or Path(program).resolve().name != "setpriv":  # busybox has one that cannot do this
        return ()
    return (program, "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--")


def adopt_orphans() -> None:
    """Make this process the parent of orphans below it, so that what a sandbox leaves behind is reaped here."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Process:
    """A running step. Call ``release`` once, then ``wait``; ``kill`` any time. ``stdout`` and ``stderr`` are pipe ends.

    ``status_fd`` is bubblewrap's status pipe, None for a plain command; ``sweep`` kills what a plain command left.
    ``word`` is what its processes can be found by, with ``marked``: no other step's have it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        limit_processes: bool,
        uid: int | None,
        env: Mapping[str, str],
        cwd: str,
        status_fd: int | None = None,
        pass_fds: Sequence[int] = (),
        sweep: Callable[[], None] = lambda: None,
        word: str = "",
    ) -> None:
        self.word = word
        gate, self._gate = os.pipe()
        script = gate_script(limit_processes=limit_processes)
        # Only without an environment of the tenant's, which would reach a program that still runs as root.
        become = () if uid is None or env else account_words(uid)
        account = None if become else uid
        try:
            self._popen = subprocess.Popen(
                [*become, "/bin/sh", "-c", script, "sh", *arguments],
                stdin=gate,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                cwd=cwd,
                umask=0o022,
                pass_fds=pass_fds,
                start_new_session=True,
                user=account,
                group=account,
                extra_groups=None if account is None else [],
            )
        except BaseException:
            os.close(self._gate)
            raise
        finally:
            os.close(gate)
        assert self._popen.stdout is not None and self._popen.stderr is not None
        self.stdout, self.stderr = self._popen.stdout.fileno(), self._popen.stderr.fileno()
        self.pid = self._popen.pid
        self.start = runtime.process_start(self.pid) or 0
        self.killed = False
        self._released = False
        self._pidfd = os.pidfd_open(self.pid)
        self._status_fd, self._sweep = status_fd, sweep
        if status_fd is not None:
            os.set_blocking(status_fd, False)
        self._status = b""
        self._inner: int | None = None
        self._inner_pidfd: int | None = None

    def release(self) -> None:
        """Let the command run."""
        if self._status_fd is not None:
            asyncio.get_running_loop().add_reader(self._status_fd, self._read_status)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._gate, b"\n")
        self._released = True
        self._close_gate()

    def kill(self) -> None:
        """Kill the whole tree. Returns at once; ``wait`` tells when it is gone. Harmless when it is gone already."""
        if self._popen.returncode is None:
            self.killed = True
        self._close_gate()
        if self._status_fd is None:
            self._kill_group()
        elif self._inner_pidfd is not None:
            _send_kill(self._inner_pidfd)
        elif self._released:
            # Bubblewrap has not said yet which process is the first inside: killed now, that one would be left
            # behind. It says so before anything of the tenant runs, and then ``_read_status`` kills it.
            return
        _send_kill(self._pidfd)

    async def wait(self) -> Exit:
        """Wait until the command and everything it started is gone, and say how it ended."""
        await readable(self._pidfd)
        if self._status_fd is None:
            self._kill_group()  # while the dead leader is not reaped, nobody else can have its number
        code = self._popen.wait()
        self._read_status()
        if self._status_fd is None:
            self._sweep()
        elif self._inner is not None and self._inner_pidfd is not None:
            # The first process of the sandbox's pid namespace: with it everything in there dies.
            _send_kill(self._inner_pidfd)
            await readable(self._inner_pidfd)
            self._reap(self._inner)
        if code < 0:
            return Exit(signal=-code)
        return Exit(exit_code=code, started=self._status_fd is None or self._reported())

    def communicate(self, timeout_s: float) -> tuple[str, str]:
        """Let a short command run and return its whole output, without an event loop: for the probe at start."""
        os.write(self._gate, b"\n")
        self._close_gate()
        try:
            said, complaint = self._popen.communicate(timeout=timeout_s)
        finally:
            self._popen.kill()
            self._popen.wait()
            for descriptor in (self._pidfd, self._status_fd):
                if descriptor is not None:
                    os.close(descriptor)
        return said.decode("utf-8", "replace"), complaint.decode("utf-8", "replace")

    def close(self) -> None:
        """Give all descriptors back. Call it after ``wait`` and after the output was drained."""
        self._close_gate()
        if self._status_fd is not None:
            asyncio.get_running_loop().remove_reader(self._status_fd)
            os.close(self._status_fd)
            self._status_fd = None
        for descriptor in (self._pidfd, self._inner_pidfd):
            if descriptor is not None:
                os.close(descriptor)
        self._inner_pidfd = None
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    @staticmethod
    def _reap(pid: int) -> None:
        """Collect a dead process that became this one's child when its parent ended (see ``adopt_orphans``)."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _close_gate(self) -> None:
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def _read_status(self) -> None:
        if self._status_fd is None:
            return
        with contextlib.suppress(BlockingIOError):
            piece = os.read(self._status_fd, 4096)
            if not piece:
                asyncio.get_running_loop().remove_reader(self._status_fd)
            self._status += piece
        child = next((status.child_pid for status in self._lines() if status.child_pid is not None), None)
        if child is not None and self._inner is None:
            self._inner = child
            # It cannot be another process of this number: nobody but its parent or this process can reap it.
            with contextlib.suppress(ProcessLookupError):
                self._inner_pidfd = os.pidfd_open(child)
            if self.killed and self._inner_pidfd is not None:
                _send_kill(self._inner_pidfd)

    def _reported(self) -> bool:
        return any(status.exit_code is not None for status in self._lines())

    def _lines(self) -> list[_Status]:
        whole = self._status.rpartition(b"\n")[0]
        return [msgspec.json.decode(line, type=_Status) for line in whole.splitlines() if line.strip()]


async def readable(descriptor: int) -> None:
    """Wait until a descriptor can be read; a pidfd can when its process has ended."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _send_kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def marked(marker: str) -> list[int]:
    """Return the processes with the word ``marker`` among their arguments, or a variable of that name (and value)."""
    wanted, found = marker.encode(), []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        for place in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                words = Path("/proc", name, place).read_bytes().split(b"\0")
                if (
                    any(word == wanted or word.startswith(wanted + b"=") for word in words)
                    and runtime.process_start(int(name)) is not None
                ):
                    found.append(int(name))
                    break
    return found
