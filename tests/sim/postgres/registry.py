"""The registry of hosts, as far as sessions depend on it (0012_registry.sql, 0017_drain.sql)."""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.postgres.tables import CellHost, SandboxHost, Tables, bad


class Sandbox(NamedTuple):
    """A registered sandbox host. ``sessions``: open sessions whose head names it."""

    host: str
    incarnation: str
    ledger_id: str
    address: str
    state: str
    capacity: dict[str, object]
    sessions: int
    ordered: str


class Told(NamedTuple):
    """What is wanted of a cell host, and the others that take sessions now."""

    ordered: str
    others: list[str]


class Candidate(NamedTuple):
    """A cell host where a session may be placed."""

    host: str
    incarnation: str
    address: str
    sessions: int


def sandbox_register(
    db: Tables, host: str, incarnation: str, ledger_id: str, address: str, capacity: dict[str, object]
) -> bool:
    """Record a sandbox host; a new incarnation replaces the old one's row. False: this one was declared dead."""
    old = db.sandbox_hosts.get(host)
    if old is not None and old.state == "dead" and old.incarnation == incarnation:
        return False
    ordered = "serve" if old is None else old.ordered
    db.sandbox_hosts[host] = SandboxHost(incarnation, ledger_id, address, "ready", capacity, ordered)
    return True


def sandbox_seen(db: Tables, host: str, incarnation: str, capacity: dict[str, object]) -> bool:
    """Record a sign of life; False: this incarnation is not the registered one, or was marked."""
    row = db.sandbox_hosts.get(host)
    if row is None or row.incarnation != incarnation or row.state in ("fenced", "dead"):
        return False
    row.capacity = capacity
    return True


def sandbox_gone(db: Tables, host: str, incarnation: str) -> bool:
    """Mark a sandbox host; whether this call did it."""
    row = db.sandbox_hosts.get(host)
    if row is None or row.incarnation != incarnation or row.state in ("fenced", "dead"):
        return False
    row.state = "fenced"
    return True


def sandboxes(db: Tables) -> list[Sandbox]:
    """Return every sandbox host, by name."""
    return [
        Sandbox(
            *(host, row.incarnation, row.ledger_id, row.address, row.state, row.capacity),
            sum(head.sandbox_host == host and head.state == "open" for head in db.heads.values()),
            row.ordered,
        )
        for host, row in sorted(db.sandbox_hosts.items())
    ]


def cell_candidates(db: Tables) -> list[Candidate]:
    """Return the cell hosts that are ready, wanted to serve and have a live lease, by name."""
    return [
        Candidate(
            *(host, row.incarnation, row.address),
            sum(head.owner_host == host and head.owner_incarnation == row.incarnation for head in db.heads.values()),
        )
        for host, row in sorted(db.cell_hosts.items())
        if _takes(db, row)
    ]


def host_order(db: Tables, host: str, word: str, why: str) -> str | None:
    """Note what an operator wants of a host; what kind it is. Raises BadInput for an unknown word."""
    if word not in ("serve", "cordon", "drain"):
        raise bad("22023", f"no such order: {word}")
    kind = "cell" if host in db.cell_hosts else "sandbox"
    row = db.cell_hosts.get(host) or db.sandbox_hosts.get(host)
    if row is None:
        return None
    if row.ordered != word:
        said: dict[str, object] = {"host": host, "role": kind, "ordered": word, "before": row.ordered, "reason": why}
        db.audit.append(("host.ordered", said))
        row.ordered = word
    return kind


def host_told(db: Tables, host: str) -> Told:
    """Return what is wanted of a cell host, and which others take sessions now."""
    row = db.cell_hosts.get(host)
    others = sorted(name for name, other in db.cell_hosts.items() if name != host and _takes(db, other))
    return Told("serve" if row is None else row.ordered, others)


def host_declare_dead(db: Tables, host: str, incarnation: str, why: str) -> bool:
    """Declare an incarnation of a sandbox host dead; whether this call did it."""
    row = db.sandbox_hosts.get(host)
    if row is None or row.incarnation != incarnation or row.state == "dead":
        return False
    row.state = "dead"
    db.audit.append(("host.declared_dead", {"host": host, "incarnation": incarnation, "reason": why}))
    return True


def _takes(db: Tables, row: CellHost) -> bool:
    return row.state == "ready" and row.ordered == "serve" and row.lease_expires_at > db.now
