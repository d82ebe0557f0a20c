"""The process of a cell seen from celld: its pipe, the sessions that have a seat in it, and its death.

Made by ``cells``. Whatever it says goes to the session that it names. It never decides who sits where, and it asks the
process nothing of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Final

import prometheus_client

from celld.cell import wire
from celld.host.zygote import Forked, Zygote
from setpoint.contracts import cell as frames
from setpoint.contracts import limits
from setpoint.contracts.codec import FrameRefused, Unpacker

PROCESSES: Final = prometheus_client.Gauge("setpoint_celld_cell_processes", "Processes that cells run in")
_EXIT_S: Final = 1.0
_SOON_S: Final = 0.003
_unpack: Final = Unpacker(frames.FromCell)


class CellDied(Exception):
    """The cell is gone. ``code`` is its exit code, negative for a signal, None when nobody knows.

    ``shared``: other sessions have been in its process, so that nobody knows whose fault it is.
    """

    def __init__(self, code: int | None, why: str = "", *, shared: bool = False) -> None:
        super().__init__(f"cell ended with {code}" + (f": {why}" if why else ""))
        self.code, self.shared = code, shared


class Seat:
    """A session's place in a process: what it was answered. One task at a time awaits ``news``."""

    def __init__(self) -> None:
        self.answers: deque[frames.FromCell] = deque()
        self.owed = 0
        """How many answers the process owes this session."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news: asyncio.Future[bool] | None = None

    async def news(self, within_s: float) -> bool:
        """Wait until something has arrived or the process is gone; False when nothing did in time.

        A bare timer: one is set for every decision and hardly ever runs out.
        """
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        late = loop.call_later(within_s, self._tell, False)
        try:
            return await self._news
        finally:
            late.cancel()

    def take(self, frame: frames.FromCell) -> None:
        """Take an answer in. Raises FrameRefused when nothing was asked."""
        if self.owed < 1:
            raise FrameRefused("it says more than it is asked")
        self.owed -= 1
        self.answers.append(frame)
        self._tell()

    def gone(self) -> None:
        """Say that the process is gone."""
        if not self.lost.done():
            self.lost.set_result(None)
        self._tell()

    def _tell(self, arrived: bool = True) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(arrived)


class _Pipe(asyncio.Protocol):
    """The bytes of one pipe as frames, and when it is over."""

    def __init__(self, take: Callable[[frames.FromCell], None], gone: Callable[[], None]) -> None:
        self._splitter = wire.Splitter()
        self._take, self._gone = take, gone
        self._waiting = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._over = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for content in self._splitter.feed(data):
                self._take(_unpack(content))
        except FrameRefused:  # a cell that does not keep to the protocol is a dead cell
            if self._transport is not None:
                self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._writable.set()
        self._gone()

    def write(self, content: bytes, *, soon: bool = False) -> None:
        """Write, after all that waits; ``soon``: in a moment, with what may follow it.

        Most decisions are followed by the next input at once: two frames in one write wake the cell once. And while it
        does not compute, those who wait for what was committed have the cores.
        """
        if not self._waiting and soon:
            asyncio.get_running_loop().call_later(_SOON_S, self._flush)
        self._waiting += content
        if not soon:
            self._flush()

    async def writable(self) -> None:
        """Wait until the pipe takes more."""
        await self._writable.wait()

    def close(self) -> None:
        """Close it after all that was written."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._waiting and self._transport is not None and not self._over:
            self._transport.write(bytes(self._waiting))
        self._waiting.clear()


class CellProcess:
    """A running process with seats for so many sessions. Make it with ``start``; it ends when the last one leaves."""

    def __init__(self, forked: Forked, seats_max: int) -> None:
        self.pid, self._exited = forked.pid, forked.exited
        self._seats_max = seats_max
        self._seats: dict[str, Seat] = {}
        self._owing: set[str] = set()
        self._hello: asyncio.Future[frames.Hello | None] = asyncio.get_running_loop().create_future()
        self._ending = False
        self._pipe = _Pipe(self._take, self._gone)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.shared = False
        """Whether more than one session has been in it: from then on its death is nobody's."""
        self.code_version = ""
        """The version of its core, whose snapshots it can read."""

    @classmethod
    async def start(cls, zygote: Zygote, label: str, seats_max: int = 1) -> CellProcess:
        """Fork a process and wait for its first word. Raises CellDied, ZygoteDied."""
        try:
            forked = await zygote.fork(label)
        except TimeoutError as error:
            raise CellDied(None, "it was not forked in time") from error
        process = cls(forked, seats_max)
        try:
            await process._greet(forked)
        except BaseException:
            process.kill()
            process._pipe.close()
            raise
        return process

    def admits(self, session: str) -> bool:
        """Tell whether a session may have a seat; not while an answer to its former life may still come."""
        over = self._ending or self.lost.done()
        return not over and len(self._seats) < self._seats_max and session not in self._seats.keys() | self._owing

    def seat(self, session: str) -> Seat:
        """Give a session that it admits a seat; ``leave`` follows."""
        self.shared = self.shared or bool(self._seats)
        made = self._seats[session] = Seat()
        return made

    async def leave(self, session: str) -> None:
        """Free a seat. With the last one the pipe is closed; the process ends by itself, or is killed. Idempotent."""
        seat = self._seats.pop(session, None)
        if seat is not None and self._seats:
            if seat.owed:
                self._owing.add(session)
            self.write(wire.encode(frames.Drop(session)))
        if self._seats:
            return
        self._ending = True
        self._pipe.close()
        await asyncio.wait({self._exited}, timeout=_EXIT_S)
        self.kill()

    def write(self, content: bytes, *, soon: bool = False) -> None:
        """Write an encoded frame; ``soon``: in a moment, with what may follow it."""
        self._pipe.write(content, soon=soon)

    async def writable(self) -> None:
        """Wait until the pipe takes more."""
        await self._pipe.writable()

    def kill(self) -> None:
        """End the process at once, with every session in it."""
        self._ending = True
        if not self._exited.done():  # until then the zygote has not reaped it, so the pid is still its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def death(self, why: str = "") -> CellDied:
        """Return how a lost process ended; waits a moment for the zygote's report."""
        await asyncio.wait({self._exited}, timeout=_EXIT_S)
        return CellDied(self._exited.result() if self._exited.done() else None, why, shared=self.shared)

    async def _greet(self, forked: Forked) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self._pipe, sock=forked.pipe)
        PROCESSES.inc()
        self.lost.add_done_callback(lambda _: PROCESSES.dec())
        await asyncio.wait({self._hello}, timeout=limits.CELL_START_S_MAX)
        hello = self._hello.result() if self._hello.done() else None
        if hello is None or hello.protocol != frames.PROTOCOL:
            self.kill()
            raise await self.death(f"its first frame was {hello!r}")
        self.code_version = hello.code_version

    def _take(self, frame: frames.FromCell) -> None:
        """Give an answer to the session that it names. Raises FrameRefused for what nobody asked."""
        if isinstance(frame, frames.Hello):
            if self._hello.done():
                raise FrameRefused("it says hello again")
            self._hello.set_result(frame)
        elif frame.session in self._seats:
            self._seats[frame.session].take(frame)
        elif frame.session in self._owing:  # meant for a life that is over
            self._owing.discard(frame.session)
        else:
            raise FrameRefused("it answers for a session that it was not given")

    def _gone(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        if not self._hello.done():
            self._hello.set_result(None)
        for seat in self._seats.values():
            seat.gone()
