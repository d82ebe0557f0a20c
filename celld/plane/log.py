"""The log of a session and its head row, read by its owner when a cell is to be restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from celld.plane.key import SessionKey
from migrations import door, named
from setpoint.contracts import limits
from setpoint.contracts.clock import micros
from setpoint.contracts.event import Event

_SQL: Final = named.beside(__file__)


@dataclass(frozen=True, slots=True)
class Head:
    """What the head row says. ``sandbox_host`` is empty until the session has a workspace."""

    name: str
    head_seq: int
    sandbox_host: str
    ledger_id: str
    workspace_no: int


async def page(pool: door.Pool, key: SessionKey, after: int) -> list[Event]:
    """Return at most RESTORE_EVENTS_PER_FRAME events after a seq, without attachments. Raises outcome.Fault."""
    rows = await pool.fetch(_SQL["page"], key.tenant, key.session, after, limits.RESTORE_EVENTS_PER_FRAME)
    return [_event(key, row) for row in rows]


async def head(pool: door.Pool, key: SessionKey) -> Head | None:
    """Return the head row, None when there is no such session. Raises outcome.Fault."""
    row = await pool.fetchrow(_SQL["session"], key.tenant, key.session)
    if row is None:
        return None
    return Head(
        row["name"], row["head_seq"], row["sandbox_host"] or "", row["ledger_id"] or "", row["workspace_no"] or 0
    )


def _event(key: SessionKey, row: door.Row) -> Event:
    return Event(
        row["seq"],
        row["type"],
        micros(row["at"]),
        key.session,
        (row["epoch_inc"], row["epoch"]),
        msgspec.json.decode(row["data"]),
        row["v"],
        row["command_id"],
        row["asset"],
        row["execution_id"],
    )
