"""The life of a session's ownership: create_session, claim_wakes, acquire, release, restored.

They are those of 0008_lifecycle.sql and 0017_drain.sql.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from setpoint.contracts.event import Event
from tests.sim.postgres.commands import holder_of, keep
from tests.sim.postgres.fencing import note
from tests.sim.postgres.tables import NEVER, Head, Session, Tables, Wake, bad

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,126}[a-z0-9])?")
_EVENTS: Final = {"hibernate": "session.hibernated", "close": "session.closed"}
_PREFERRED_US: Final = 2_000_000
_AVOIDED_US: Final = 5_000_000


class Created(NamedTuple):
    """ok | already | conflict | mismatch. ``session``: the first answer, or who has the name."""

    status: str
    session: str | None


class Due(NamedTuple):
    """A claimed session and the epoch it was claimed at."""

    tenant: str
    session: str
    epoch_inc: int
    epoch: int
    head_seq: int


class Acquired(NamedTuple):
    """ok | mine | held | moved | no_lease | closed | gone, and the head as it is."""

    status: str
    epoch_inc: int | None
    epoch: int | None
    head_seq: int | None


class Released(NamedTuple):
    """ok | fenced | moved_head | busy."""

    status: str
    seq: int | None


def create_session(
    db: Tables,
    tenant: str,
    session: str,
    name: str,
    labels: dict[str, object] | None = None,
    prefer: str | None = None,
    idempotency_key: str | None = None,
    fingerprint: bytes | None = None,
) -> Created:
    """Make a session with its head, its first event and a wake that is due."""
    if idempotency_key is not None:
        claim = holder_of(db, tenant, idempotency_key, fingerprint)
        if claim is not None:
            same = claim.kind == "session" and claim.fingerprint == fingerprint
            return Created("already", claim.subject) if same else Created("mismatch", None)
    key, labels = (tenant, session), labels or {}
    taken = db.names.get((tenant, name))
    if not _NAME.fullmatch(name):
        raise bad("23514", f"no name of a session: {name!r}")
    if taken == session:
        keep(db, tenant, idempotency_key, "session", fingerprint, session)
        return Created("already", session)
    if taken is not None or key in db.sessions:
        db.claims.pop((tenant, idempotency_key or ""), None)  # an expired claim goes with the refused one
        return Created("conflict", taken)
    keep(db, tenant, idempotency_key, "session", fingerprint, session)
    db.sessions[key] = Session(name, labels)
    db.names[tenant, name] = session
    db.heads[key] = Head(db.incarnation)
    created = Event(1, "session.created", db.now, session, (db.incarnation, 0), {"name": name, "labels": labels})
    db.events[key] = [created]
    db.wakes[key] = Wake(db.now, prefer)
    return Created("ok", session)


def claim_wakes(db: Tables, me: str, limit: int, hold_us: int) -> list[Due]:
    """Claim due sessions for a host, the longest due first; a claim postpones them for everybody else."""
    now = db.now
    host = db.cell_hosts.get(me)
    if host is not None and host.ordered != "serve":
        return []
    due = [
        (wake.wake_at, key)
        for key, wake in db.wakes.items()
        if wake.wake_at <= now
        and (wake.prefer_host is None or wake.prefer_host == me or wake.wake_at <= now - _PREFERRED_US)
        and (wake.avoid_host != me or wake.wake_at <= now - _AVOIDED_US)
    ]
    due.sort()
    rows = []
    for _, key in due[:limit]:
        db.wakes[key].wake_at = now + hold_us
        head = db.heads[key]
        rows.append(Due(*key, head.epoch_inc, head.epoch, head.head_seq))
    return rows


def acquire(db: Tables, tenant: str, session: str, host: str, incarnation: str, want_inc: int, want: int) -> Acquired:
    """Take a session that is still as it was claimed; an expired holder loses its whole incarnation."""
    key = (tenant, session)
    head = db.heads.get(key)
    if head is None:
        return Acquired("gone", None, None, None)
    verdict = _may_acquire(db, head, host, incarnation, (want_inc, want))
    if verdict == "closed":
        db.wakes.pop(key, None)
    if verdict != "ok":
        return Acquired(verdict, head.epoch_inc, head.epoch, head.head_seq)
    head.epoch_inc, head.epoch = db.incarnation, head.epoch + 1
    head.owner_host, head.owner_incarnation = host, incarnation
    head.head_seq += 1
    head.last_batch_id = None
    _write(db, key, head, "lease.acquired", {"host": host, "incarnation": incarnation})
    db.wakes.pop(key, None)
    return Acquired("ok", head.epoch_inc, head.epoch, head.head_seq)


def release(
    db: Tables,
    tenant: str,
    session: str,
    epoch_inc: int,
    epoch: int,
    head_seq: int,
    mode: str,
    next_wake: int | None = None,
    target: str | None = None,
    avoid: str | None = None,
) -> Released:
    """Give a session up. Raises BadInput for an unknown mode."""
    if mode not in ("hibernate", "close", "drain", "move"):
        raise bad("22023", f"no such release mode: {mode}")
    key = (tenant, session)
    head = db.heads.get(key)
    if head is None:
        return Released("fenced", None)
    if (head.epoch_inc, head.epoch) != (epoch_inc, epoch) or head.owner_host is None:
        if (head.epoch_inc, head.epoch) != (epoch_inc, epoch):  # under the same epoch it is a repeated call
            note(db, key, (epoch_inc, epoch), "release")
        return Released("fenced", head.head_seq)
    if head.head_seq != head_seq:
        return Released("moved_head", head.head_seq)
    if mode in _EVENTS and sum(head.opened) > 0:
        return Released("busy", head.head_seq)
    head.owner_host = head.owner_incarnation = head.last_batch_id = None
    head.head_seq += 1
    _write(db, key, head, _EVENTS.get(mode, "lease.released"), {"mode": mode})
    due: int | None = db.now
    if mode == "close":
        head.state, db.sessions[key].closed_at, due = "closed", db.now, None
    elif mode == "hibernate":
        due = next_wake
    if due is not None:
        db.wakes[key] = Wake(due, target, avoid)
    return Released("ok", head.head_seq)


def restored(db: Tables) -> tuple[int, int]:
    """Void every epoch handed out before: (the new incarnation, how many sessions became due)."""
    db.incarnation += 1
    for host in db.cell_hosts.values():
        host.state, host.lease_expires_at = "fenced", NEVER
    count = 0
    for key, head in db.heads.items():
        if head.state == "open" and (head.owner_host is not None or sum(head.opened) + sum(head.unended) > 0):
            db.wakes[key] = Wake(db.now)
            count += 1
        head.epoch_inc = db.incarnation
        head.owner_host = head.owner_incarnation = head.last_batch_id = None
    db.audit.append(("cluster.restored", {"incarnation": db.incarnation, "sessions": count}))
    return db.incarnation, count


def _may_acquire(db: Tables, head: Head, host: str, incarnation: str, want: tuple[int, int]) -> str:
    if head.state == "closed":
        return "closed"
    if head.owner_host == host and head.owner_incarnation == incarnation:
        return "mine"
    if (head.epoch_inc, head.epoch) != want:
        return "moved"
    lease = db.cell_hosts.get(host)
    if lease is None or lease.incarnation != incarnation or lease.state != "ready" or lease.lease_expires_at <= db.now:
        return "no_lease"
    holder = db.cell_hosts.get(head.owner_host or "")
    if holder is not None and holder.incarnation == head.owner_incarnation and holder.state != "fenced":
        if holder.lease_expires_at >= db.now:
            return "held"
        holder.state = "fenced"
    return "ok"


def _write(db: Tables, key: tuple[str, str], head: Head, kind: str, data: dict[str, object]) -> None:
    """Append the one event that a change of ownership writes."""
    db.events[key].append(Event(head.head_seq, kind, db.now, key[1], (head.epoch_inc, head.epoch), data))
