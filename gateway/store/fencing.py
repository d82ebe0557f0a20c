"""What was refused to former owners of a session. Called by the fencing route; nothing here writes."""

from __future__ import annotations

from typing import Final

from gateway import shapes
from migrations import door, named
from setpoint.contracts.clock import micros, rfc3339

_SQL: Final = named.beside(__file__)


async def refused(
    connection: door.Connection, tenant_id: str, session_id: str, limit: int
) -> tuple[int, list[shapes.FencedWrite]]:
    """Return how many writes were refused in all, and the ``limit`` kinds of them refused last, newest first."""
    rows = await connection.fetch(_SQL["fenced"], tenant_id, session_id, limit)
    writes = [
        shapes.FencedWrite(
            kind=row["kind"],
            epoch=(row["epoch_inc"], row["epoch"]),
            host=row["host"],
            against=(row["against_inc"], row["against_epoch"]),
            against_host=row["against_host"],
            refused=row["refused"],
            first_at=rfc3339(micros(row["first_at"])),
            last_at=rfc3339(micros(row["last_at"])),
        )
        for row in rows
    ]
    return (rows[0]["refused_in_all"] if rows else 0), writes
