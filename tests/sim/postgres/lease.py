"""Leases of cell hosts: host_register, host_renew, host_dead, dead_hosts, owned (0007_leases.sql)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tests.sim.postgres.tables import CellHost, Key, Tables, Wake


class Renewal(NamedTuple):
    """ok | fenced | key_mismatch | went_back. ``renewal_no`` is None when there is no such host."""

    status: str
    renewal_no: int | None
    cluster_incarnation: int


class Recorded(NamedTuple):
    """A session recorded as a host's. ``open``: commands not accepted yet."""

    tenant: str
    session: str
    epoch_inc: int
    epoch: int
    head_seq: int
    open: int


def host_register(
    db: Tables,
    host: str,
    incarnation: str,
    address: str,
    public_key: bytes,
    ttl_us: int,
    *,
    seen: Collection[Key] | None = None,
) -> Renewal:
    """Begin a lease. ``seen``: the sessions of the predecessor when its statement began, None for now."""
    old = db.cell_hosts.get(host)
    expires_at = db.now + ttl_us
    if old is not None and old.incarnation == incarnation:
        if old.state == "fenced":
            return Renewal("fenced", old.renewal_no, db.incarnation)
        old.lease_expires_at, old.address = expires_at, address
        return Renewal("ok", old.renewal_no, db.incarnation)
    if old is not None and old.public_key != public_key and old.state != "fenced" and old.lease_expires_at > db.now:
        return Renewal("key_mismatch", old.renewal_no, db.incarnation)
    ordered = "serve" if old is None else old.ordered
    db.cell_hosts[host] = CellHost(incarnation, "ready", address, public_key, 0, expires_at, ordered)
    if old is not None:
        for key in sessions_before(db, host, incarnation) if seen is None else seen:
            wake = db.wakes.setdefault(key, Wake(db.now))
            wake.wake_at = min(wake.wake_at, db.now)
            wake.prefer_host = host
    return Renewal("ok", 0, db.incarnation)


def host_renew(db: Tables, host: str, incarnation: str, last_no: int, ttl_us: int) -> Renewal:
    """Go on with a lease, unless this incarnation was marked or the database is older than the last renewal."""
    row = db.cell_hosts.get(host)
    if row is None:
        return Renewal("fenced", None, db.incarnation)
    if row.incarnation != incarnation or row.state == "fenced":
        return Renewal("fenced", row.renewal_no, db.incarnation)
    if row.renewal_no < last_no:
        return Renewal("went_back", row.renewal_no, db.incarnation)
    row.renewal_no += 1
    row.lease_expires_at = db.now + ttl_us
    return Renewal("ok", row.renewal_no, db.incarnation)


def host_dead(db: Tables, host: str, incarnation: str, refused: bool, *, seen: Collection[Key] | None = None) -> int:
    """Mark an incarnation and make its sessions due; how many became due by this call, -1 while its lease lives."""
    row = db.cell_hosts.get(host)
    if row is not None and row.incarnation == incarnation and row.state != "fenced":
        if not refused and row.lease_expires_at >= db.now:
            return -1
        row.state = "fenced"
        proof = "refused" if refused else "expired"
        db.audit.append(("host.fenced", {"host": host, "incarnation": incarnation, "proof": proof}))
    due = [key for key in (sessions_of(db, host, incarnation) if seen is None else seen) if key not in db.wakes]
    for key in due:
        db.wakes[key] = Wake(db.now)
    return len(due)


def dead_hosts(db: Tables) -> list[tuple[str, str]]:
    """Return owners without a live lease whose sessions are not all due yet: (host, incarnation), in order."""
    dead = set()
    for key, head in db.heads.items():
        if head.owner_host is None or head.owner_incarnation is None or key in db.wakes:
            continue
        row = db.cell_hosts.get(head.owner_host)
        alive = (
            row is not None
            and row.incarnation == head.owner_incarnation
            and row.state != "fenced"
            and row.lease_expires_at >= db.now
        )
        if not alive:
            dead.add((head.owner_host, head.owner_incarnation))
    return sorted(dead)


def owned(db: Tables, host: str, incarnation: str) -> list[Recorded]:
    """Return what is recorded as an incarnation's, in the order of the sessions."""
    rows = []
    for key in sorted(sessions_of(db, host, incarnation)):
        head = db.heads[key]
        rows.append(Recorded(*key, head.epoch_inc, head.epoch, head.head_seq, sum(head.opened)))
    return rows


def sessions_of(db: Tables, host: str, incarnation: str) -> frozenset[Key]:
    """Return the sessions whose head names this incarnation."""
    return frozenset(
        key for key, head in db.heads.items() if head.owner_host == host and head.owner_incarnation == incarnation
    )


def sessions_before(db: Tables, host: str, incarnation: str) -> frozenset[Key]:
    """Return the sessions whose head names another incarnation of the host."""
    return frozenset(
        key for key, head in db.heads.items() if head.owner_host == host and head.owner_incarnation != incarnation
    )
