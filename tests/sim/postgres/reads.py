"""What is read of one session, and its snapshots (0011_reads.sql)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from setpoint.contracts.event import Event
from tests.sim.postgres.fencing import note
from tests.sim.postgres.tables import Snapshot, Tables


class SessionRow(NamedTuple):
    """session_row, without the tenant's name and the time of creation."""

    name: str
    labels: dict[str, object]
    closed_at: int | None
    state: str
    epoch_inc: int
    epoch: int
    owner_host: str | None
    owner_incarnation: str | None
    head_seq: int
    inbox_head: int
    inbox_open: int
    sandbox_host: str | None
    ledger_id: str | None
    workspace_no: int
    snapshot_seq: int
    delivering: int | None


class Seen(NamedTuple):
    """A head as the gateway's watcher sees it."""

    tenant: str
    session: str
    head_seq: int
    state: str


class Stored(NamedTuple):
    """A snapshot that is kept."""

    seq: int
    code_version: str
    state: bytes


def log_page(db: Tables, tenant: str, session: str, after: int, limit: int) -> list[Event]:
    """Return at most ``limit`` events after a seq."""
    return db.events.get((tenant, session), [])[max(after, 0) :][:limit]


def session_row(db: Tables, tenant: str, session: str) -> SessionRow | None:
    """Return a session and its head, None when there is none."""
    key = (tenant, session)
    if (row := db.sessions.get(key)) is None:
        return None
    h = db.heads[key]
    return SessionRow(
        row.name,
        row.labels,
        row.closed_at,
        h.state,
        h.epoch_inc,
        h.epoch,
        h.owner_host,
        h.owner_incarnation,
        h.head_seq,
        h.inbox_head,
        sum(h.opened),
        h.sandbox_host,
        h.ledger_id,
        h.workspace_no,
        h.snapshot_seq,
        h.delivering,
    )


def snapshot_write(
    db: Tables, tenant: str, session: str, epoch_inc: int, epoch: int, at_seq: int, code: str, state: bytes
) -> str:
    """Keep a snapshot and the one before it: ok | fenced | ahead."""
    key = (tenant, session)
    head = db.heads.get(key)
    if head is None:
        return "fenced"
    if (head.epoch_inc, head.epoch) != (epoch_inc, epoch) or head.owner_host is None:
        note(db, key, (epoch_inc, epoch), "snapshot")
        return "fenced"
    if at_seq > head.head_seq:
        return "ahead"
    rows = db.snapshots.setdefault(key, {})
    rows[at_seq] = Snapshot(code, state)
    for seq in sorted(rows)[:-2]:
        del rows[seq]
    head.snapshot_seq = max(head.snapshot_seq, at_seq)
    return "ok"


def snapshot_read(db: Tables, tenant: str, session: str) -> list[Stored]:
    """Return the snapshots that are kept, newest first."""
    rows = db.snapshots.get((tenant, session), {})
    return [Stored(seq, *rows[seq]) for seq in sorted(rows, reverse=True)[:2]]


def heads(db: Tables, tenants: Sequence[str], sessions: Sequence[str]) -> list[Seen]:
    """Return the heads of pairs by position; a pair that does not exist has no row."""
    return [
        Seen(*key, head.head_seq, head.state)
        for key in zip(tenants, sessions, strict=True)
        if (head := db.heads.get(key)) is not None
    ]
