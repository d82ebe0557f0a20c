"""The cell hosts and who owns what, read. Called by the links; a stale answer costs a poll, never safety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.store.database import Database
from migrations import named

_SQL: Final = named.beside(__file__)


@dataclass(frozen=True, slots=True)
class CellHost:
    """A cell host with a live lease; ``incarnation`` changes with each start of its process."""

    host: str
    incarnation: str
    address: str


async def ready(database: Database) -> list[CellHost]:
    """Return every cell host that may own sessions now. Raises Problem unavailable."""
    rows = await database.call(lambda pool: pool.fetch(_SQL["ready"]))
    return [CellHost(row["host_id"], row["incarnation"], row["address"]) for row in rows]


async def owner(database: Database, tenant_id: str, session_id: str) -> str | None:
    """Return the host that owns a session, None when nobody does. Raises Problem unavailable."""
    row = await database.call(lambda pool: pool.fetchrow(_SQL["owner"], tenant_id, session_id))
    return None if row is None else row["host_id"]
