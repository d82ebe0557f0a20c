"""The log, read. Called by the event and execution routes and by the watcher; nothing here writes or wakes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import msgspec

from gateway.store.database import Database
from migrations import door, named
from setpoint.contracts.clock import micros
from setpoint.contracts.event import Event
from setpoint.contracts.limits import MIB

_SQL: Final = named.beside(__file__)
_SEQ_MAX: Final = 2**63 - 1
_EVENTS_OF_EXECUTIONS_MAX: Final = 20_000
_EXECUTIONS_BYTES_MAX: Final = MIB


@dataclass(frozen=True, slots=True)
class Page:
    """Events after a seq and where the log ended when they were read."""

    events: tuple[Event, ...]
    head_seq: int
    state: str


@dataclass(frozen=True, slots=True)
class ExecutionPage:
    """Executions as their events; ``next_before`` is where the next page starts, None after the last."""

    executions: list[list[Event]]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class AssetPage:
    """Events of an asset's executions, the last verdict before them, and where the next page starts."""

    events: list[Event]
    earlier: Event | None
    next_before: int | None


async def page(database: Database, tenant_id: str, session_id: str, after: int, limit: int, bytes_max: int) -> Page:
    """Return the events after a seq, oldest first, at most ``limit`` and about ``bytes_max`` bytes of them."""

    values = (tenant_id, session_id, after, limit, bytes_max)
    rows = await database.call(lambda pool: pool.fetch(_SQL["page"], *values))
    assert rows, "the caller has found the session, and sessions are never deleted"
    found = tuple(_event(session_id, row) for row in rows if row["seq"] is not None)
    return Page(found, rows[0]["head_seq"], rows[0]["state"])


async def heads(database: Database, watched: Sequence[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Return (tenant, session, head_seq) of each watched pair that exists."""
    tenants, sessions = [pair[0] for pair in watched], [pair[1] for pair in watched]
    rows = await database.call(lambda pool: pool.fetch(_SQL["heads"], tenants, sessions))
    return [(row["tenant_id"], row["session_id"], row["head_seq"]) for row in rows]


async def executions(
    connection: door.Connection, tenant_id: str, session_id: str, *, before: int | None, asset: str | None, limit: int
) -> ExecutionPage:
    """Return executions that started before a seq (None: from the newest), newest first, each as its events.

    A page ends early at about a mebibyte of what the commands printed; its first execution always comes.
    """
    top = _SEQ_MAX if before is None else before
    values = (tenant_id, session_id, top, limit)
    if asset is None:
        started = await connection.fetch(_SQL["started"], *values)
    else:
        started = await connection.fetch(_SQL["started_of_asset"], *values, asset)
    kept = await _that_fit(connection, tenant_id, session_id, started)
    first = kept[-1]["seq"] if kept else 0
    found = [row["execution_id"] for row in kept]
    by_id = await _of_executions(connection, tenant_id, session_id, first, found)
    is_last = len(kept) == len(started) < limit
    return ExecutionPage([by_id[execution_id] for execution_id in found], None if is_last or not kept else first)


async def _that_fit(
    connection: door.Connection, tenant_id: str, session_id: str, started: Sequence[door.Row]
) -> Sequence[door.Row]:
    """Return the first of these rows, newest first, whose executions are not too large for a page together."""
    if not started:
        return started
    oldest, found = started[-1]["seq"], [row["execution_id"] for row in started]
    sizes = {
        row["execution_id"]: row["bytes"]
        for row in await connection.fetch(_SQL["sizes"], tenant_id, session_id, oldest, found)
    }
    total = accumulate(sizes.get(execution_id, 0) for execution_id in found)
    return started[: max(1, sum(bytes_ <= _EXECUTIONS_BYTES_MAX for bytes_ in total))]


async def execution(
    connection: door.Connection, tenant_id: str, session_id: str, execution_id: str, first: int = 0
) -> list[Event]:
    """Return everything that the log says of one execution, oldest first; empty when it knows none.

    ``first`` is a seq before which nothing of it lies, for a reader that knows where it started.
    """
    return (await _of_executions(connection, tenant_id, session_id, first, [execution_id]))[execution_id]


async def of_asset(
    connection: door.Connection,
    tenant_id: str,
    session_id: str,
    asset: str,
    *,
    before: int | None,
    syncs_only: bool,
    limit: int,
) -> AssetPage:
    """Return what the log says of an asset's executions that started before a seq (None: the newest), oldest first."""
    top = _SEQ_MAX if before is None else before
    rows = await connection.fetch(_SQL["of_asset_started"], tenant_id, session_id, top, asset, syncs_only, limit)
    if not rows:
        return AssetPage([], None, None)
    first = rows[-1]["seq"]
    found = await connection.fetch(
        _SQL["of_asset"], tenant_id, session_id, first, top, asset, _EVENTS_OF_EXECUTIONS_MAX
    )
    earlier = await connection.fetchrow(_SQL["verdict_before"], tenant_id, session_id, first, asset)
    return AssetPage(
        [_event(session_id, row) for row in found],
        None if earlier is None else _event(session_id, earlier),
        first if len(rows) == limit else None,
    )


async def _of_executions(
    connection: door.Connection, tenant_id: str, session_id: str, first: int, found: list[str]
) -> dict[str, list[Event]]:
    by_id: dict[str, list[Event]] = {execution_id: [] for execution_id in found}
    rows = await connection.fetch(_SQL["of_executions"], tenant_id, session_id, first, found, _EVENTS_OF_EXECUTIONS_MAX)
    for row in rows:
        by_id[row["execution_id"]].append(_event(session_id, row))
    return by_id


def _event(session_id: str, row: door.Row) -> Event:
    return Event(
        seq=row["seq"],
        type=row["type"],
        at=micros(row["at"]),
        session_id=session_id,
        epoch=(row["epoch_inc"], row["epoch"]),
        data=msgspec.json.decode(row["data"]),
        v=row["v"],
        command_id=row["command_id"],
        asset=row["asset"],
        execution_id=row["execution_id"],
    )
