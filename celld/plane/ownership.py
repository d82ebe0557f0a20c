"""Who owns which session, as calls of one statement each; called by the sweep and by a session's owner.

None of it relies on a clock of this host: the database compares times and epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import msgspec

from celld.plane.key import Epoch, Held, SessionKey
from migrations import door, named
from setpoint import runtime
from setpoint.contracts import limits
from setpoint.contracts.clock import moment

_SQL: Final = named.beside(__file__)

Mode = Literal["close", "hibernate", "drain", "move"]
Standing = Literal["ready", "cordoned", "draining", "fenced", "dead"]
"""Of a sandbox host: it takes workspaces; none new; it is to be left; it refused connections; nothing runs there."""
Released = Literal["ok", "fenced", "moved_head", "busy"]


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed session and the epoch it was claimed at."""

    key: SessionKey
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Recorded:
    """A session recorded as this host's. ``waiting``: commands lie in its inbox."""

    held: Held
    waiting: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What an operator wants of this host (serve, cordon, drain), and the other hosts that take sessions now."""

    ordered: str
    others: frozenset[str]


@dataclass(frozen=True, slots=True)
class SandboxHost:
    """A registered sandbox host. ``running`` and ``slots`` are what it said of itself last, ``seen_age_s`` ago."""

    host: str
    address: str
    standing: Standing
    running: int
    slots: int
    seen_age_s: float


@dataclass(frozen=True, slots=True)
class Ownership:
    """The calls of one host in one incarnation. All raise outcome.Fault; all may be repeated."""

    pool: door.Pool
    host: str
    incarnation: str

    async def claim(self) -> list[Due]:
        """Claim due sessions, at most WAKE_CLAIM_MAX."""
        hold = timedelta(seconds=limits.WAKE_CLAIM_HOLD_S)
        rows = await self.pool.fetch(_SQL["claim"], self.host, limits.WAKE_CLAIM_MAX, hold)
        return [Due(SessionKey(row[0], row[1]), (row[2], row[3])) for row in rows]

    async def acquire(self, due: Due) -> Held | None:
        """Take a session; None when somebody else has it, or it is closed or gone."""
        key = due.key
        row = await self.pool.fetchrow(
            _SQL["acquire"], key.tenant, key.session, self.host, self.incarnation, *due.epoch
        )
        assert row is not None, "a function that always returns one row"
        if row["status"] not in ("ok", "mine"):
            return None
        return Held(key, (row["epoch_inc"], row["epoch"]), row["head_seq"], runtime.boottime_s())

    async def release(
        self,
        key: SessionKey,
        epoch: Epoch,
        head_seq: int,
        mode: Mode,
        wake_at: int | None = None,
        target: str | None = None,
    ) -> tuple[Released, int]:
        """Give a session up; ``busy`` only for close and hibernate. Repeated after an unknown end: ``fenced``.

        ``wake_at`` (microseconds since the epoch) is when one that hibernates becomes due, None: at a command alone.
        ``target`` may take it before all others; with one this host keeps away for a while.
        """
        due = moment(wake_at) if wake_at is not None else None
        avoid = self.host if target is not None else None
        row = await self.pool.fetchrow(
            _SQL["release"], key.tenant, key.session, *epoch, head_seq, mode, due, target, avoid
        )
        assert row is not None, "a function that always returns one row"
        return row["status"], row["seq"] or head_seq

    async def owned(self) -> list[Recorded]:
        """Return all that is recorded as this host's."""
        rows = await self.pool.fetch(_SQL["owned"], self.host, self.incarnation)
        now_s = runtime.boottime_s()
        return [
            Recorded(Held(SessionKey(row[0], row[1]), (row[2], row[3]), row["head_seq"], now_s), row["open"] > 0)
            for row in rows
        ]

    async def bury_dead_hosts(self) -> list[str]:
        """Mark every owner whose lease is over and make its sessions due; returns whom this call marked."""
        return [
            row["host_id"]
            for row in await self.pool.fetch(_SQL["dead_hosts"])
            if await self.pool.fetchval(_SQL["host_dead"], row["host_id"], row["incarnation"]) > 0
        ]

    async def told(self) -> Told:
        """Return what an operator wants of this host, and who else takes sessions."""
        row = await self.pool.fetchrow(_SQL["told"], self.host)
        assert row is not None, "a function that always returns one row"
        return Told(row["ordered"], frozenset(row["others"]))

    async def sandboxes(self) -> list[SandboxHost]:
        """Return every registered sandbox host."""
        return [_sandbox_host(row) for row in await self.pool.fetch(_SQL["sandboxes"])]


_ORDERED: Final[dict[str, Standing]] = {"serve": "ready", "cordon": "cordoned", "drain": "draining"}


def _sandbox_host(row: door.Row) -> SandboxHost:
    capacity = msgspec.json.decode(row["capacity"])
    running, slots = capacity.get("running", 0), capacity.get("slots", limits.RUNS_PER_HOST_MAX)
    standing = _ORDERED[row["ordered"]] if row["state"] == "ready" else row["state"]
    return SandboxHost(row["host_id"], row["address"], standing, running, slots, row["seen_age_s"])
