"""The inbox of a session, read by its owner when a hint or a poll says that there is something in it."""

from __future__ import annotations

from typing import Final

import msgspec

from celld.plane.key import SessionKey
from migrations import door, named
from setpoint.contracts import limits
from setpoint.contracts.cell import Delivered

_SQL: Final = named.beside(__file__)


async def read(pool: door.Pool, key: SessionKey, after: tuple[int, int]) -> list[Delivered]:
    """Return at most INBOX_READ_MAX commands after the ``inbox_seq`` of each lane, without attachments.

    A full page means that there may be more. Raises migrations.outcome.Fault.
    """
    rows = await pool.fetch(_SQL["read"], key.tenant, key.session, *after, limits.INBOX_READ_MAX)
    return [
        Delivered(row["command_id"], row["lane"], row["inbox_seq"], row["type"], _payload(row["payload"]))
        for row in rows
    ]


def _payload(text: str) -> object:
    """Read a payload; one that holds a number beyond every float is None, which no command type takes."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
