"""The snapshots of one life of a session: its cell begins from the newest good one, and new ones are written.

Made by a life. A snapshot spares the fold of a long log and nothing else: whatever is wrong with one, the log is
folded instead, and a snapshot that cannot be written is done without.
"""

from __future__ import annotations

import asyncio
from typing import Final

from celld.host.cells import Cell
from celld.host.facts import SessionFacts
from celld.plane import snapshot
from celld.plane.key import Held
from migrations import door, outcome
from setpoint import runtime
from setpoint.contracts import cell as frames
from setpoint.contracts import limits

_RETRY_S: Final = 0.2
_ASSETS_PER_EVENT: Final = 10


class Snapshots:
    """The snapshots of a life. ``seq`` is that of the newest one that this life knows of, 0 without any."""

    def __init__(self, pool: door.Pool, held: Held, facts: SessionFacts) -> None:
        self._pool, self._held, self._facts = pool, held, facts
        self._assets = 0
        self.seq = 0

    async def resume(self, cell: Cell) -> int:
        """Have a cell begin from the newest good snapshot; return its seq, 0 when the whole log is to be folded."""
        for kept in await self._kept(cell.code_version):
            self.seq = kept.seq
            if self._facts.load(kept.shell) and await cell.resume(kept.cell) == kept.seq:
                return kept.seq
            runtime.log().error("snapshot refused", session=self._held.key.session, seq=kept.seq)
            self._facts.clear()
        self.seq = 0
        return 0

    def due(self, head_seq: int) -> bool:
        """Tell whether the tail has become so long that a snapshot is worth its price."""
        return head_seq - self.seq >= max(limits.SNAPSHOT_TAIL_EVENTS_MAX, self._assets // _ASSETS_PER_EVENT)

    async def take(self, cell: Cell) -> None:
        """Write a snapshot of where the cell is; between two decisions."""
        await self.keep(cell, await cell.snapshot())

    async def keep(self, cell: Cell, said: frames.Snapshot) -> None:
        """Write what a cell said. The next try after a failure is when the tail has grown as much again."""
        self._assets, self.seq = said.assets, said.head_seq
        if said.content is None:
            return
        key, content = self._held.key, snapshot.Snapshot(said.head_seq, self._facts.dump(), said.content)
        try:
            status = await snapshot.write(self._pool, key, self._held.epoch, cell.code_version, content)
        except outcome.Fault as error:
            status = str(error)[:200]
        if status != "ok":
            runtime.log().warning("snapshot not written", session=key.session, seq=said.head_seq, why=status)

    async def at_release(self, cell: Cell, head_seq: int) -> None:
        """Write a snapshot for the next owner, if the tail that it would have to fold is long."""
        if head_seq - self.seq >= limits.SNAPSHOT_RELEASE_EVENTS_MIN:
            await self.take(cell)

    async def keep_at_release(self, cell: Cell, said: frames.Snapshot) -> None:
        """Do the same with what the cell has said already."""
        if said.head_seq - self.seq >= limits.SNAPSHOT_RELEASE_EVENTS_MIN:
            await self.keep(cell, said)

    async def _kept(self, code_version: str) -> list[snapshot.Snapshot]:
        while True:
            try:
                return await snapshot.read(self._pool, self._held.key, code_version)
            except outcome.Fault as error:
                runtime.log().warning("snapshots not read", session=self._held.key.session, why=str(error)[:200])
                await asyncio.sleep(_RETRY_S)
