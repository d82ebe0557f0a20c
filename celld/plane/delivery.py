"""What is being delivered to a session's cell, as the head row keeps it: so that it outlives this host.

Called by ``celld.host.watch``; it knows inputs by a digest of their names alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from celld.plane.key import Held
from migrations import door, named

_SQL: Final = named.beside(__file__)


@dataclass(frozen=True, slots=True)
class Left:
    """What the owner before left: the input it was at (None: none), of how many deaths; whether it went on purpose."""

    suspect: int | None
    deaths: int
    given: bool


async def note(pool: door.Pool, held: Held, suspect: int | None, deaths: int) -> bool:
    """Note what is about to be delivered, None when nothing is; False when the session is another owner's.

    Raises outcome.Fault; may be repeated.
    """
    key = held.key
    status = await pool.fetchval(_SQL["note"], key.tenant, key.session, *held.epoch, suspect, deaths)
    return bool(status == "ok")


async def left(pool: door.Pool, held: Held) -> Left:
    """Read what the owner before left; ``held`` is as acquired. Raises outcome.Fault."""
    row = await pool.fetchrow(_SQL["left"], held.key.tenant, held.key.session, held.head_seq)
    return Left(None, 0, True) if row is None else Left(row["input"], row["deaths"], row["given"])
