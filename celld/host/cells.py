"""The cells of one host: each is a session in a process, alone or with others of its tenant.

A life opens one and closes it. Up to ``per_process`` sessions share a process, never those of two tenants: a process is
what one session can take down with it. Who is to be alone gets a process that nobody else is let into.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from celld.cell import wire
from celld.host.processes import CellDied, CellProcess
from celld.host.zygote import Zygote
from celld.plane.key import SessionKey
from setpoint.contracts import cell as frames

DECIDE_S_MAX: Final = 30.0
"""A decision that takes longer is a cell that hangs: its process is killed."""

RESTORE_S_MAX: Final = 120.0


class Cell:
    """One session in a running process. Get it from ``Cells.open``; every call raises CellDied when it is gone."""

    def __init__(self, process: CellProcess, session: str) -> None:
        self._process, self._session = process, session
        self._seat = process.seat(session)
        self._input_no = 0
        self.pid, self.code_version = process.pid, process.code_version

    @property
    def lost(self) -> asyncio.Future[None]:
        """Return the future that is done once the cell is gone."""
        return self._seat.lost

    async def resume(self, snapshot: bytes) -> int:
        """Begin from a snapshot, before any part of the log; return the seq the cell is at, 0 if it refused."""
        return await self.restore([frames.Restore(self._session, (), last=False, snapshot=snapshot)])

    async def snapshot(self, *, if_idle: bool = False) -> frames.Snapshot:
        """Return the state of the cell, between two decisions; ``if_idle``: without content when there is work."""
        said = await self._ask(frames.SnapshotWanted(self._session, if_idle), RESTORE_S_MAX)
        if not isinstance(said, frames.Snapshot):
            raise await self._wrong(f"it answered {type(said).__name__} when asked for a snapshot")
        return said

    async def restore(self, parts: Iterable[frames.Restore]) -> int:
        """Fold the last parts of the log and return the seq the cell is at; earlier ones go by ``feed``."""
        *earlier, last = parts
        for part in earlier:
            await self.feed(part)
        restored = await self._ask(last, RESTORE_S_MAX)
        if not isinstance(restored, frames.Restored):
            raise await self._wrong(f"it answered {type(restored).__name__} to its log")
        return restored.head_seq

    async def feed(self, frame: frames.ToCell) -> None:
        """Write a frame that is not answered, at the pace the cell reads."""
        self._write(frame)
        await self._process.writable()

    async def decide(self, input_: frames.Input, now: int, more: tuple[frames.Input, ...] = ()) -> frames.Decided:
        """Have the cell decide on an input, and on what it likes of ``more``, which waits behind it.

        Answer with ``committed`` or ``aborted`` when the decision has events.
        """
        self._input_no += 1
        frame = frames.Deliver(self._session, self._input_no, now, input_, more)
        decided = await self._ask(frame, DECIDE_S_MAX)
        if not isinstance(decided, frames.Decided) or decided.input_no != self._input_no:
            raise await self._wrong(f"it answered {type(decided).__name__} to an input")
        if not 1 <= decided.taken <= 1 + len(more):
            raise await self._wrong(f"it decided on {decided.taken} of {1 + len(more)} inputs")
        return decided

    def committed(self, first_seq: int, at: int, epoch: tuple[int, int]) -> None:
        """Tell the cell that its last decision is in the log."""
        self._write(frames.Committed(self._session, self._input_no, first_seq, at, epoch), soon=True)

    def aborted(self, reason: str, detail: str = "") -> None:
        """Tell the cell that its last decision was not written."""
        self._write(frames.Aborted(self._session, self._input_no, reason, detail), soon=True)

    async def close(self) -> None:
        """Leave the process, which ends when nobody else is in it. Idempotent."""
        await self._process.leave(self._session)

    async def death(self, why: str = "") -> CellDied:
        """Return how a lost cell ended; waits a moment for the zygote's report."""
        return await self._process.death(why)

    async def _wrong(self, why: str) -> CellDied:
        """End a process that does not keep to the protocol."""
        self._process.kill()
        return await self.death(why)

    def _write(self, frame: frames.ToCell, *, soon: bool = False) -> None:
        self._process.write(wire.encode(frame), soon=soon)

    async def _ask(self, frame: frames.ToCell, within_s: float) -> frames.FromCell:
        """Write a frame and wait for its answer; a cell that is gone or hangs is a CellDied. Raises FrameRefused."""
        seat, content = self._seat, wire.encode(frame)
        seat.owed += 1
        self._process.write(content)
        while not seat.answers and not seat.lost.done():
            if not await seat.news(within_s):
                raise await self._wrong(f"no answer within {within_s:g} s")
        if seat.answers:
            return seat.answers.popleft()
        raise await self.death()


class _Tenant:
    """The processes that sessions of one tenant may share. ``filling``: one looks for a seat at a time."""

    def __init__(self) -> None:
        self.processes: list[CellProcess] = []
        self.filling = asyncio.Lock()


class Cells:
    """Opens the cells of one host, up to ``per_process`` in a process."""

    def __init__(self, zygote: Zygote, per_process: int) -> None:
        self._zygote, self._per_process = zygote, per_process
        self._tenants: dict[str, _Tenant] = {}

    async def open(self, key: SessionKey, *, alone: bool) -> Cell:
        """Give a session a cell, in a process of its own if it is to be ``alone``. Raises CellDied, ZygoteDied."""
        if alone or self._per_process == 1:
            return Cell(await CellProcess.start(self._zygote, key.session), key.session)
        tenant = self._tenants.setdefault(key.tenant, _Tenant())
        async with tenant.filling:
            process = next((one for one in tenant.processes if one.admits(key.session)), None)
            if process is None:
                label = f"of tenant {key.tenant}"
                process = await CellProcess.start(self._zygote, label, self._per_process)
                tenant.processes.append(process)
                process.lost.add_done_callback(lambda _: self._forget(key.tenant, tenant, process))
            return Cell(process, key.session)

    def _forget(self, name: str, tenant: _Tenant, process: CellProcess) -> None:
        tenant.processes.remove(process)
        if not tenant.processes and not tenant.filling.locked() and self._tenants.get(name) is tenant:
            del self._tenants[name]
