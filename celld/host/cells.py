"""A cell seen from celld: its pipe, the answers that are awaited on it, and its death.

One session per process for now (``cells_per_process`` = 1): the owner that opened a cell alone uses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Iterable
from typing import Final

from celld.cell import wire
from celld.host.zygote import Forked, Zygote
from setpoint.contracts import cell as frames
from setpoint.contracts import limits
from setpoint.contracts.codec import FrameRefused, Unpacker

DECIDE_S_MAX: Final = 30.0
"""A decision that takes longer is a cell that hangs: it is killed."""

RESTORE_S_MAX: Final = 120.0
_EXIT_S: Final = 1.0
_ANSWERS_MAX: Final = 16
_unpack: Final = Unpacker(frames.FromCell)


class CellDied(Exception):
    """The cell is gone. ``code`` is its exit code, negative for a signal, None when nobody knows."""

    def __init__(self, code: int | None, why: str = "") -> None:
        super().__init__(f"cell ended with {code}" + (f": {why}" if why else ""))
        self.code = code


class _Pipe(asyncio.Protocol):
    """The bytes of one pipe as frames. One task at a time awaits ``news``: an answer, or that the pipe is gone."""

    def __init__(self) -> None:
        self._splitter = wire.Splitter()
        self.answers: deque[frames.FromCell] = deque()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._news: asyncio.Future[bool] | None = None
        self._waiting = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transport is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for content in self._splitter.feed(data):
                self.answers.append(_unpack(content))
            if len(self.answers) > _ANSWERS_MAX:
                raise FrameRefused("it says more than it is asked")
        except FrameRefused:  # a cell that does not keep to the protocol is a dead cell
            if self.transport is not None:
                self.transport.abort()
        self._tell()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        if not self.lost.done():
            self.lost.set_result(None)
        self._tell()

    async def news(self, within_s: float) -> bool:
        """Wait until something has arrived or the pipe is gone; False when nothing did in time.

        A bare timer: one is set for every decision and hardly ever runs out.
        """
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        late = loop.call_later(within_s, self._tell, False)
        try:
            return await self._news
        finally:
            late.cancel()

    def _tell(self, arrived: bool = True) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(arrived)

    def write(self, content: bytes, *, soon: bool = False) -> None:
        """Write, after all that waits; ``soon``: in this turn of the loop, with what may follow it.

        Most decisions are followed by the next input at once: two frames in one write wake the cell once.
        """
        if not self._waiting and soon:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting += content
        if not soon:
            self._flush()

    def _flush(self) -> None:
        if self._waiting and self.transport is not None and not self.lost.done():
            self.transport.write(bytes(self._waiting))
        self._waiting.clear()

    async def writable(self) -> None:
        """Wait until the pipe takes more."""
        await self._writable.wait()


class Cell:
    """A running cell with one session. Make it with ``open``; every call raises CellDied when it is gone."""

    def __init__(self, forked: Forked, pipe: _Pipe, session: str) -> None:
        self.pid, self._exited = forked.pid, forked.exited
        self._pipe, self._session = pipe, session
        self._input_no = 0
        self.code_version = ""
        """The version of its core, whose snapshots it can read."""

    @classmethod
    async def open(cls, zygote: Zygote, session: str) -> Cell:
        """Fork a cell for a session and wait for its first word. Raises CellDied, ZygoteDied."""
        try:
            forked = await zygote.fork(session)
        except TimeoutError as error:
            raise CellDied(None, "it was not forked in time") from error
        _, pipe = await asyncio.get_running_loop().create_unix_connection(_Pipe, sock=forked.pipe)
        cell = cls(forked, pipe, session)
        hello = await cell._answer(limits.CELL_START_S_MAX)
        if not isinstance(hello, frames.Hello) or hello.protocol != frames.PROTOCOL:
            cell.kill()
            raise CellDied(None, f"its first frame was {hello!r}")
        cell.code_version = hello.code_version
        return cell

    @property
    def lost(self) -> asyncio.Future[None]:
        """Return the future that is done once the cell is gone."""
        return self._pipe.lost

    async def resume(self, snapshot: bytes) -> int:
        """Begin from a snapshot, before any part of the log; return the seq the cell is at, 0 if it refused."""
        return await self.restore([frames.Restore(self._session, (), last=False, snapshot=snapshot)])

    async def snapshot(self, *, if_idle: bool = False) -> frames.Snapshot:
        """Return the state of the cell, between two decisions; ``if_idle``: without content when there is work."""
        self._write(frames.SnapshotWanted(self._session, if_idle))
        said = await self._answer(RESTORE_S_MAX)
        if not isinstance(said, frames.Snapshot):
            raise CellDied(None, f"it answered {type(said).__name__} when asked for a snapshot")
        return said

    async def restore(self, parts: Iterable[frames.Restore]) -> int:
        """Fold the last parts of the log and return the seq the cell is at; earlier ones go by ``feed``."""
        for part in parts:
            await self.feed(part)
        restored = await self._answer(RESTORE_S_MAX)
        if not isinstance(restored, frames.Restored):
            raise CellDied(None, f"it answered {type(restored).__name__} to its log")
        return restored.head_seq

    async def feed(self, frame: frames.ToCell) -> None:
        """Write a frame that is not answered, at the pace the cell reads."""
        self._write(frame)
        await self._pipe.writable()

    async def decide(self, input_: frames.Input, now: int, more: tuple[frames.Input, ...] = ()) -> frames.Decided:
        """Have the cell decide on an input, and on what it likes of ``more``, which waits behind it.

        Answer with ``committed`` or ``aborted`` when the decision has events.
        """
        self._input_no += 1
        self._write(frames.Deliver(self._session, self._input_no, now, input_, more))
        decided = await self._answer(DECIDE_S_MAX)
        if not isinstance(decided, frames.Decided) or decided.input_no != self._input_no:
            raise CellDied(None, f"it answered {type(decided).__name__} to an input")
        if not 1 <= decided.taken <= 1 + len(more):
            raise CellDied(None, f"it decided on {decided.taken} of {1 + len(more)} inputs")
        return decided

    def committed(self, first_seq: int, at: int, epoch: tuple[int, int]) -> None:
        """Tell the cell that its last decision is in the log."""
        self._write(frames.Committed(self._session, self._input_no, first_seq, at, epoch), soon=True)

    def aborted(self, reason: str, detail: str = "") -> None:
        """Tell the cell that its last decision was not written."""
        self._write(frames.Aborted(self._session, self._input_no, reason, detail), soon=True)

    def kill(self) -> None:
        """End the process at once."""
        if not self._exited.done():  # until then the zygote has not reaped it, so the pid is still its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Close the pipe; the cell ends by itself, and is killed when it does not. Idempotent."""
        if self._pipe.transport is not None:
            self._pipe.transport.close()
        await asyncio.wait({self._exited}, timeout=_EXIT_S)
        self.kill()

    async def death(self, why: str = "") -> CellDied:
        """Return how a lost cell ended; waits a moment for the zygote's report."""
        await asyncio.wait({self._exited}, timeout=_EXIT_S)
        return CellDied(self._exited.result() if self._exited.done() else None, why)

    def _write(self, frame: frames.ToCell, *, soon: bool = False) -> None:
        self._pipe.write(wire.encode(frame), soon=soon)

    async def _answer(self, within_s: float) -> frames.FromCell:
        """Wait for the next frame of the cell; a cell that is gone or hangs is a CellDied."""
        pipe = self._pipe
        while not pipe.answers and not pipe.lost.done():
            if not await pipe.news(within_s):
                self.kill()
                raise await self.death(f"no answer within {within_s:g} s")
        if pipe.answers:
            return pipe.answers.popleft()
        raise await self.death()
