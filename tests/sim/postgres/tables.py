"""The rows of the model: what is stored, in the shapes of migrations/versions, and the database's own clock.

The rooms beside this one are the functions of the schema and change these rows; the simulation's checkers may read
them. Nothing else writes here. Times are microseconds since the epoch, keys are canonical id strings. JSON values are
kept as they were given: whoever gives one never changes it afterwards.

Left out of the model, because no decision depends on it: tenants, API keys, signing keys, join tokens, column
defaults that are only shown to people (``created_at``, ``seen_at``), and row-level security.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from migrations.outcome import BadInput
from setpoint.contracts.event import Event

Key = tuple[str, str]
"""(tenant, session)."""
Epoch = tuple[int, int]
NEVER: Final = -(1 << 62)
"""'-infinity' as a time."""


@dataclass(slots=True)
class Head:
    """A row of session_heads. ``opened`` and ``unended`` are by lane."""

    epoch_inc: int
    epoch: int = 0
    owner_host: str | None = None
    owner_incarnation: str | None = None
    state: str = "open"
    head_seq: int = 1
    last_batch_id: str | None = None
    inbox_head: int = 0
    opened: list[int] = field(default_factory=lambda: [0, 0])
    unended: list[int] = field(default_factory=lambda: [0, 0])
    sandbox_host: str | None = None
    ledger_id: str | None = None
    workspace_no: int = 0
    snapshot_seq: int = 0
    delivering: int | None = None
    delivering_deaths: int = 0


@dataclass(slots=True)
class Session:
    """A row of sessions."""

    name: str
    labels: dict[str, object]
    closed_at: int | None = None


@dataclass(slots=True)
class Wake:
    """A row of session_wakes."""

    wake_at: int
    prefer_host: str | None = None
    avoid_host: str | None = None


@dataclass(slots=True)
class CellHost:
    """A row of cell_hosts: a lease. ``state`` is ready, draining or fenced; ``ordered`` is serve, cordon or drain."""

    incarnation: str
    state: str
    address: str
    public_key: bytes
    renewal_no: int
    lease_expires_at: int
    ordered: str = "serve"


@dataclass(slots=True)
class SandboxHost:
    """A row of sandbox_hosts. ``state`` may be dead as well."""

    incarnation: str
    ledger_id: str
    address: str
    state: str
    capacity: dict[str, object]
    ordered: str = "serve"


class Command(NamedTuple):
    """A row of commands: it never changes."""

    session: str
    lane: int
    type: str
    payload: object


class Result(NamedTuple):
    """A row of command_results."""

    session: str
    status: str
    result: object
    seq: int


class Claim(NamedTuple):
    """A row of idempotency_keys. ``kind`` is command or session."""

    kind: str
    fingerprint: bytes
    subject: str
    expires_at: int


class Lock(NamedTuple):
    """Who holds an asset lock, since when, and for how long nobody may break it without force."""

    session: str
    execution: str
    since: int
    ttl_s: float | None = None


class Generation(NamedTuple):
    """A row of generations."""

    resources: str
    files: str
    seq: int
    at: int


class Projected(NamedTuple):
    """A row of session_assets."""

    seq: int
    doc: object


class Snapshot(NamedTuple):
    """A row of session_snapshots."""

    code_version: str
    state: bytes


@dataclass(slots=True)
class Fenced:
    """A row of fenced_writes: what was refused to an epoch, the epoch it was refused against last, how often, when."""

    against: Epoch
    refused: int
    first_at: int
    last_at: int


@dataclass(slots=True)
class Tables:
    """A whole database. ``now`` is its clock: the caller sets it, no function does."""

    now: int = 0
    incarnation: int = 1
    sessions: dict[Key, Session] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    """(tenant, name) -> session: the unique index."""
    heads: dict[Key, Head] = field(default_factory=dict)
    wakes: dict[Key, Wake] = field(default_factory=dict)
    events: dict[Key, list[Event]] = field(default_factory=dict)
    """The log; the event with seq n is at n - 1."""
    snapshots: dict[Key, dict[int, Snapshot]] = field(default_factory=dict)
    generations: dict[Key, dict[int, Generation]] = field(default_factory=dict)
    assets: dict[Key, dict[str, Projected]] = field(default_factory=dict)
    locks: dict[tuple[str, str], Lock | None] = field(default_factory=dict)
    """(tenant, lock key) -> holder; None is a free key that was held once."""
    commands: dict[tuple[str, str], Command] = field(default_factory=dict)
    inbox: dict[Key, dict[tuple[int, int], str]] = field(default_factory=dict)
    """(lane, inbox_seq) -> command."""
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    claims: dict[tuple[str, str], Claim] = field(default_factory=dict)
    cell_hosts: dict[str, CellHost] = field(default_factory=dict)
    sandbox_hosts: dict[str, SandboxHost] = field(default_factory=dict)
    fenced: dict[tuple[str, str, int, int, str], Fenced] = field(default_factory=dict)
    """(tenant, session, incarnation, epoch, kind of write)."""
    audit: list[tuple[str, dict[str, object]]] = field(default_factory=list)


def bad(sqlstate: str, detail: str) -> BadInput:
    """Return what the real server's refusal of values becomes at the door."""
    return BadInput(detail, sqlstate)
