"""The zygote seen from celld: it is started once, asked for cells, and says how each of them ended.

Without it there are no new cells and no exit codes, and its cells die with it; celld then ends too (docs/adr/0005).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from setpoint.contracts import limits

_MESSAGE_BYTES_MAX: Final = 4096
_STOP_S: Final = 2.0
_KEPT_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TZ")


class ZygoteDied(Exception):
    """The zygote is gone, and with it every cell: celld must end and be started anew."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A new cell: its pid, celld's end of its pipe, and how it ends (negative: by that signal, None: nobody knows)."""

    pid: int
    pipe: socket.socket
    exited: asyncio.Future[int | None]


class Zygote:
    """The running zygote. Make it with ``start``; ``died`` is done as soon as it is gone."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process, self._control = process, control
        self._numbers = itertools.count(1)
        self._forking: dict[int, asyncio.Future[int]] = {}
        self._exits: dict[int, asyncio.Future[int | None]] = {}
        self._slots = asyncio.Semaphore(limits.FORKS_OUTSTANDING_MAX)
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(control.fileno(), self._read)

    @classmethod
    def start(cls) -> Zygote:
        """Start the process. Nothing of celld's environment goes along but what the interpreter needs."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "celld.cell", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
            )
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """Return the pid of the zygote."""
        return self._process.pid

    async def fork(self, label: str) -> Forked:
        """Fork a cell; ``label`` is shown in its process title. Raises ZygoteDied."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        try:
            async with self._slots:
                pid = await self._ask(theirs, label)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()  # else the end of the cell would never be seen on ours
        return Forked(pid, ours, self._exits[pid])

    async def stop(self) -> None:
        """End the zygote and its cells. Idempotent, bounded."""
        if not self.died.done():
            self._gone()
        for _ in range(round(_STOP_S / 0.01)):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(0.01)
        self._process.kill()
        self._process.wait()

    async def _ask(self, pipe: socket.socket, label: str) -> int:
        if self.died.done():
            raise ZygoteDied("no cell can be forked")
        n = next(self._numbers)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forking[n] = future
        try:
            socket.send_fds(self._control, [msgspec.msgpack.encode(("fork", n, label))], [pipe.fileno()])
            async with asyncio.timeout(limits.CELL_START_S_MAX):
                return await future
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ZygoteDied("no cell can be forked") from error
        finally:
            self._forking.pop(n, None)

    def _read(self) -> None:
        while True:
            try:
                content = self._control.recv(_MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except ConnectionResetError:
                content = b""
            if not content:
                self._gone()
                return
            self._take(*msgspec.msgpack.decode(content, type=tuple[str, int, int]))

    def _take(self, word: str, first: int, second: int) -> None:
        if word == "forked":
            self._exits[second] = asyncio.get_running_loop().create_future()
            future = self._forking.get(first)
            if future is not None and not future.done():
                future.set_result(second)
        elif (exited := self._exits.pop(first, None)) is not None:
            exited.set_result(second)

    def _gone(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(self._control.fileno())
        self._control.close()
        if not self.died.done():
            self.died.set_result(None)
        for future in self._forking.values():
            if not future.done():
                future.set_exception(ZygoteDied("it died while it forked"))
        for exited in self._exits.values():
            exited.set_result(None)
        self._exits.clear()
