"""What is being delivered to a session's cell: delivery_note, delivery_left (0019_deliveries.sql)."""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.postgres.tables import Tables

_GIVEN = frozenset({"session.created", "lease.released", "session.hibernated"})


class Left(NamedTuple):
    """What the former owner was at, and whether it gave the session away."""

    input: int | None
    deaths: int
    given: bool


def delivery_note(
    db: Tables, tenant: str, session: str, epoch_inc: int, epoch: int, input_: int | None, deaths: int
) -> str:
    """Note what is about to be decided: ok | fenced."""
    head = db.heads.get((tenant, session))
    if head is None or (head.epoch_inc, head.epoch) != (epoch_inc, epoch) or head.owner_host is None:
        return "fenced"
    head.delivering, head.delivering_deaths = input_, deaths
    return "ok"


def delivery_left(db: Tables, tenant: str, session: str, acquired: int) -> Left | None:
    """Say what a former owner left; None when there is no such session."""
    head = db.heads.get((tenant, session))
    if head is None:
        return None
    before = [event.type for event in db.events[tenant, session] if event.seq == acquired - 1]
    return Left(head.delivering, head.delivering_deaths, bool(_GIVEN & set(before)))
