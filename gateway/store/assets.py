"""The projection of a session's assets, read. Called by the asset routes; the cell writes it with its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from migrations import door, named
from setpoint.contracts.problem import Problem

_SQL: Final = named.beside(__file__)
_ABOVE_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Asset:
    """One row: ``doc`` is the asset as the cell describes it, as of event ``seq``."""

    name: str
    seq: int
    doc: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the asset as the API shows it."""
        return self.doc | {"name": self.name, "seq": self.seq}


async def page(connection: door.Connection, tenant_id: str, session_id: str, after: str, limit: int) -> list[Asset]:
    """Return assets after a name (empty: from the first), by name."""
    rows = await connection.fetch(_SQL["page"], tenant_id, session_id, after, limit)
    return [_asset(row) for row in rows]


async def one(connection: door.Connection, tenant_id: str, session_id: str, name: str) -> Asset:
    """Return one asset. Raises Problem not-found."""
    row = await connection.fetchrow(_SQL["one"], tenant_id, session_id, name)
    if row is None:
        raise Problem("not-found", f"there is no asset {name[:128]!r} in this session")
    return _asset(row)


async def with_above(connection: door.Connection, tenant_id: str, session_id: str, name: str) -> dict[str, Asset]:
    """Return what explains an asset by name: itself, the session's own row, and what is above it while it is blocked.

    Raises Problem not-found.
    """
    rows = await connection.fetch(_SQL["with_above"], tenant_id, session_id, name, _ABOVE_MAX)
    found = {row["name"]: _asset(row) for row in rows}
    if not name or name not in found:
        raise Problem("not-found", f"there is no asset {name[:128]!r} in this session")
    return found


def _asset(row: door.Row) -> Asset:
    return Asset(row["name"], row["seq"], msgspec.json.decode(row["doc"]))
