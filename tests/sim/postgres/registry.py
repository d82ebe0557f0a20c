"""The registry of hosts, as far as sessions depend on it (0012_registry.sql)."""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.postgres.tables import SandboxHost, Tables


class Sandbox(NamedTuple):
    """A registered sandbox host. ``sessions``: open sessions whose head names it."""

    host: str
    incarnation: str
    ledger_id: str
    address: str
    state: str
    capacity: dict[str, object]
    sessions: int


class Candidate(NamedTuple):
    """A cell host where a session may be placed."""

    host: str
    incarnation: str
    address: str
    sessions: int


def sandbox_register(
    db: Tables, host: str, incarnation: str, ledger_id: str, address: str, capacity: dict[str, object]
) -> None:
    """Record a sandbox host; a new incarnation replaces the old one's row."""
    db.sandbox_hosts[host] = SandboxHost(incarnation, ledger_id, address, "ready", capacity)


def sandbox_seen(db: Tables, host: str, incarnation: str, capacity: dict[str, object]) -> bool:
    """Record a sign of life; False: this incarnation is not the registered one, or was marked."""
    row = db.sandbox_hosts.get(host)
    if row is None or row.incarnation != incarnation or row.state == "fenced":
        return False
    row.capacity = capacity
    return True


def sandbox_gone(db: Tables, host: str, incarnation: str) -> bool:
    """Mark a sandbox host; whether this call did it."""
    row = db.sandbox_hosts.get(host)
    if row is None or row.incarnation != incarnation or row.state == "fenced":
        return False
    row.state = "fenced"
    return True


def sandboxes(db: Tables) -> list[Sandbox]:
    """Return every sandbox host, by name."""
    return [
        Sandbox(
            *(host, row.incarnation, row.ledger_id, row.address, row.state, row.capacity),
            sum(head.sandbox_host == host and head.state == "open" for head in db.heads.values()),
        )
        for host, row in sorted(db.sandbox_hosts.items())
    ]


def cell_candidates(db: Tables) -> list[Candidate]:
    """Return the cell hosts that are ready and have a live lease, by name."""
    return [
        Candidate(
            *(host, row.incarnation, row.address),
            sum(head.owner_host == host and head.owner_incarnation == row.incarnation for head in db.heads.values()),
        )
        for host, row in sorted(db.cell_hosts.items())
        if row.state == "ready" and row.lease_expires_at > db.now
    ]
