"""Tenant-wide locks of running syncs: which are held, and taking one away. Called by the lock routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway import shapes
from gateway.store.database import Database
from migrations import door, named
from setpoint.contracts.clock import micros, rfc3339
from setpoint.contracts.problem import Problem

_SQL: Final = named.beside(__file__)
_MOVES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Broken:
    """A lock that was taken from its holder, now or under the same key before. ``owner_host`` may be poked."""

    answer: shapes.BrokenLock
    replayed: bool
    owner_host: str | None


@dataclass(frozen=True, slots=True)
class Breaking:
    """The wish to take a lock away: the id of the notice to come, who wants it, and the request's Idempotency-Key."""

    key: str
    sent: shapes.BreakLock
    command_id: str
    by: str
    idempotency_key: str | None
    fingerprint: bytes


async def page(connection: door.Connection, tenant_id: str, after: str, limit: int) -> list[shapes.Lock]:
    """Return the locks that are held, after a key (empty: from the first), by key."""
    rows = await connection.fetch(_SQL["page"], tenant_id, after, limit)
    return [
        shapes.Lock(
            row["lock_key"],
            row["session_id"],
            row["session_name"],
            row["execution_id"],
            rfc3339(micros(row["since"])),
            micros(row["since"]) // 1_000_000,
            row["ttl_s"],
            row["expired"],
        )
        for row in rows
    ]


async def take_away(database: Database, tenant_id: str, wish: Breaking) -> Broken:
    """Break a lock.

    Raises Problem: not-found when nobody holds it, locked while its time to live lasts, conflict when its holders
    change too quickly, idempotency-mismatch.
    """
    key, sent = wish.key, wish.sent
    values = (tenant_id, key, wish.command_id, wish.by, sent.reason, sent.force, wish.idempotency_key, wish.fingerprint)
    row = await _break(database, values)
    for _ in range(_MOVES_MAX):
        if row["status"] == "moved":
            row = await _break(database, values)
    if row["status"] in ("ok", "already"):
        broken = shapes.BrokenLock(key, row["session_id"], row["execution_id"], row["command_id"])
        # The same id means that our own first attempt had arrived: to the client this is the first answer.
        return Broken(broken, row["command_id"] not in (wish.command_id, None), row["owner_host"])
    if row["status"] == "mismatch":
        raise Problem("idempotency-mismatch", "this Idempotency-Key was used for another request")
    if row["status"] == "young":
        since = rfc3339(micros(row["since"]))
        detail = f"execution {row['execution_id']} holds {key!r} since {since}, for less than its {row['ttl_s']:.0f} s"
        raise Problem("locked", f"{detail}; wait, cancel that sync, or use force")
    if row["status"] == "free":
        raise Problem("not-found", f"nobody holds a lock {key[:256]!r}")
    raise Problem("conflict", f"the lock {key!r} goes from hand to hand; look at it again")


async def _break(database: Database, values: tuple[object, ...]) -> door.Row:
    row = await database.call(lambda pool: pool.fetchrow(_SQL["break"], *values))
    assert row is not None, "break_lock returns one row"
    return row
