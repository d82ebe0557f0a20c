"""Sessions and their generations. Called by the routes; every answer is of one tenant, seen in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from gateway import shapes
from gateway.store.database import Database
from migrations import door, named
from setpoint.contracts import ids
from setpoint.contracts.clock import micros, rfc3339
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.problem import Problem

_SQL: Final = named.beside(__file__)
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_SEQ_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a call to create: the session that answers it, now or from the first call with this key."""

    status: Literal["ok", "already"]
    session_id: str


async def create(
    database: Database,
    tenant_id: str,
    session_id: str,
    *,
    name: str,
    labels: Mapping[str, str],
    prefer_host: str | None,
    key: str | None,
    fingerprint: bytes,
) -> Created:
    """Make a session. Raises Problem conflict when the name is taken, idempotency-mismatch, unavailable."""
    text = canonical_json(dict(labels)).decode()
    row = await database.call(
        lambda pool: pool.fetchrow(_SQL["create"], tenant_id, session_id, name, text, prefer_host, key, fingerprint)
    )
    assert row is not None, "create_session returns one row"
    if row["status"] == "conflict":
        raise Problem("conflict", f"there is a session named {name!r} already: {row['session_id']}")
    if row["status"] == "mismatch":
        raise Problem("idempotency-mismatch", "this Idempotency-Key was used for another request")
    return Created(row["status"], row["session_id"])


async def find(connection: door.Connection, tenant_id: str, named_: str) -> shapes.Session:
    """Return a session by id or name, inside a transaction of its tenant. Raises Problem not-found."""
    row = None
    if ids.is_uuid(named_):
        row = await connection.fetchrow(_SQL["by_id"], tenant_id, named_)
    if row is None and ids.is_name(named_):
        row = await connection.fetchrow(_SQL["by_name"], tenant_id, named_)
    if row is None:
        raise Problem("not-found", f"there is no session {named_[:128]!r}")
    return _session(row)


async def one(database: Database, tenant_id: str, named_: str) -> shapes.Session:
    """Return a session by id or name. Raises Problem not-found."""
    return await database.read(tenant_id, lambda connection: find(connection, tenant_id, named_))


async def page(database: Database, tenant_id: str, after: str, limit: int) -> list[shapes.Session]:
    """Return sessions after an id (empty: from the first), oldest first."""
    start = after if ids.is_uuid(after) else _FIRST_ID
    rows = await database.read(tenant_id, lambda connection: connection.fetch(_SQL["page"], tenant_id, start, limit))
    return [_session(row) for row in rows]


async def generations(
    connection: door.Connection, tenant_id: str, session_id: str, before: int | None, limit: int
) -> list[shapes.Generation]:
    """Return generations below a number (None: from the newest), newest first."""
    top = _SEQ_MAX if before is None else before
    rows = await connection.fetch(_SQL["generations"], tenant_id, session_id, top, limit)
    return [_generation(row) for row in rows]


async def generation(connection: door.Connection, tenant_id: str, session_id: str, number: int) -> shapes.Generation:
    """Return one generation. Raises Problem not-found."""
    row = await connection.fetchrow(_SQL["generation"], tenant_id, session_id, number)
    if row is None:
        raise Problem("not-found", f"there is no generation {number}")
    return _generation(row)


def _session(row: door.Row) -> shapes.Session:
    closed_at = row["closed_at"]
    labels: dict[str, Any] = msgspec.json.decode(row["labels"])
    return shapes.Session(
        id=row["session_id"],
        name=row["name"],
        labels=labels,
        state="sleeping" if row["asleep"] else row["state"],
        created_at=rfc3339(micros(row["created_at"])),
        closed_at=None if closed_at is None else rfc3339(micros(closed_at)),
        head_seq=row["head_seq"],
        epoch=(row["epoch_inc"], row["epoch"]),
        owner_host=row["owner_host"],
        sandbox_host=row["sandbox_host"],
        unended={"control": row["unended0"], "work": row["unended1"]},
    )


def _generation(row: door.Row) -> shapes.Generation:
    at = rfc3339(micros(row["at"]))
    return shapes.Generation(row["generation_no"], row["resources"], row["files"], row["seq"], at)
