"""How each function of the model is called in the real database: role, statement, arguments there and rows back.

Arguments are those of the model (microseconds, JSON values, ids as text); here they become what the driver takes.
Rows become plain tuples again, so that both back ends answer in one shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from migrations.door import Row
from setpoint.contracts.clock import micros, moment
from setpoint.contracts.event import Event
from tests.sim.postgres import append, commands, delivery, janitor, lease, locks, ownership, reads, registry
from tests.sim.postgres.item import decode
from tests.sim.postgres.tables import NEVER, Tables

JSON_COLUMNS: Final = frozenset({"payload", "labels", "data", "doc", "result", "capacity", "detail_json"})


@dataclass(frozen=True, slots=True)
class Signature:
    """One function in both worlds. ``cast`` by position of the argument; ``one``: it returns one row, or none."""

    role: str
    sql: str
    model: Callable[..., Any]
    cast: dict[int, Callable[[Any], Any]]
    one: bool = False
    scalar: bool = False
    order: bool = True


def append_batch(db: Tables, payload: str) -> list[append.Became]:
    """Call the model with the JSON text that the real function takes."""
    return append.append_batch(db, decode(payload.encode()))


def log_page(db: Tables, tenant: str, session: str, after: int, limit: int) -> list[tuple[Any, ...]]:
    """Call the model and return its events as the columns of a row."""
    return [event_row(event) for event in reads.log_page(db, tenant, session, after, limit)]


def event_row(event: Event) -> tuple[Any, ...]:
    """Return an event as the columns of a row."""
    fixed = (event.seq, event.at, *event.epoch, event.type, event.v)
    return (*fixed, event.command_id, event.asset, event.execution_id, event.data)


def plain(row: Row) -> tuple[Any, ...]:
    """Return a row of the driver in the values of the model."""
    return tuple(_plain(name, value) for name, value in row.items())


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return NEVER if value.year == 1 else micros(value)
    if name in JSON_COLUMNS and isinstance(value, str):
        return msgspec.json.decode(value)
    return value


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _interval(us: int) -> timedelta:
    return timedelta(microseconds=us)


def _time(us: int | None) -> datetime | None:
    return None if us is None else moment(us)


def _same(value: Sequence[str]) -> list[str]:
    return list(value)


_GATEWAY: Final = "setpoint_gateway"
_CELLD: Final = "setpoint_celld"
_BROKER: Final = "setpoint_broker"

SIGNATURES: Final[dict[str, Signature]] = {
    "create_session": Signature(
        _GATEWAY,
        "SELECT * FROM setpoint.create_session($1, $2, $3, $4::text::jsonb, $5, $6, $7)",
        ownership.create_session,
        {3: _json},
        one=True,
    ),
    "enqueue": Signature(
        _GATEWAY,
        "SELECT * FROM setpoint.enqueue($1, $2, $3, $4, $5, $6::text::jsonb, $7, $8, $9)",
        commands.enqueue,
        {5: _json},
        one=True,
    ),
    "recover_session": Signature(
        _GATEWAY,
        "SELECT * FROM setpoint.recover_session($1, $2, $3, $4::text::jsonb, $5, $6, $7, $8)",
        commands.recover_session,
        {3: _json},
        one=True,
    ),
    "delivery_note": Signature(
        _CELLD,
        "SELECT setpoint.delivery_note($1, $2, $3, $4, $5, $6)",
        delivery.delivery_note,
        {},
        scalar=True,
    ),
    "delivery_left": Signature(
        _CELLD, "SELECT * FROM setpoint.delivery_left($1, $2, $3)", delivery.delivery_left, {}, one=True
    ),
    "break_lock": Signature(
        _GATEWAY, "SELECT * FROM setpoint.break_lock($1, $2, $3, $4, $5, $6, $7, $8)", locks.break_lock, {}, one=True
    ),
    "session_owner": Signature(
        _GATEWAY, "SELECT * FROM setpoint.session_owner($1, $2)", commands.session_owner, {}, one=True
    ),
    "heads": Signature(
        _GATEWAY,
        "SELECT * FROM setpoint.heads($1::text[]::uuid[], $2::text[]::uuid[])",
        reads.heads,
        {0: _same, 1: _same},
        order=False,
    ),
    "inbox": Signature(
        _CELLD,
        "SELECT lane, inbox_seq, command_id, type, payload FROM setpoint.inbox($1, $2, $3, $4, $5)",
        commands.inbox,
        {},
    ),
    "log_page": Signature(_CELLD, "SELECT * FROM setpoint.log_page($1, $2, $3, $4)", log_page, {}),
    "session_row": Signature(
        _CELLD,
        "SELECT name, labels, closed_at, state, epoch_inc, epoch, owner_host, owner_incarnation, head_seq,"
        " inbox_head, inbox_open, sandbox_host, ledger_id, workspace_no, snapshot_seq,"
        " delivering FROM setpoint.session_row($1, $2)",
        reads.session_row,
        {},
        one=True,
    ),
    "snapshot_write": Signature(
        _CELLD,
        "SELECT setpoint.snapshot_write($1, $2, $3, $4, $5, $6, $7)",
        reads.snapshot_write,
        {},
        scalar=True,
    ),
    "snapshot_read": Signature(_CELLD, "SELECT * FROM setpoint.snapshot_read($1, $2)", reads.snapshot_read, {}),
    "append_batch": Signature(_CELLD, "SELECT * FROM setpoint.append_batch($1)", append_batch, {}),
    "claim_wakes": Signature(
        _CELLD,
        "SELECT * FROM setpoint.claim_wakes($1, $2, $3)",
        ownership.claim_wakes,
        {2: _interval},
        order=False,
    ),
    "acquire": Signature(
        _CELLD, "SELECT * FROM setpoint.acquire($1, $2, $3, $4, $5, $6)", ownership.acquire, {}, one=True
    ),
    "release": Signature(
        _CELLD,
        "SELECT * FROM setpoint.release($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ownership.release,
        {6: _time},
        one=True,
    ),
    "host_register": Signature(
        _CELLD,
        "SELECT * FROM setpoint.host_register($1, $2, $3, $4, '{}', $5)",
        lease.host_register,
        {4: _interval},
        one=True,
    ),
    "host_renew": Signature(
        _CELLD, "SELECT * FROM setpoint.host_renew($1, $2, $3, $4)", lease.host_renew, {3: _interval}, one=True
    ),
    "host_dead": Signature(_BROKER, "SELECT setpoint.host_dead($1, $2, $3)", lease.host_dead, {}, scalar=True),
    "dead_hosts": Signature(_CELLD, "SELECT * FROM setpoint.dead_hosts()", lease.dead_hosts, {}, order=False),
    "owned": Signature(_CELLD, "SELECT * FROM setpoint.owned($1, $2)", lease.owned, {}, order=False),
    "sandbox_register": Signature(
        _BROKER,
        "SELECT setpoint.sandbox_register($1, $2, $3, $4, '\\x6b', $5::text::jsonb)",
        registry.sandbox_register,
        {4: _json},
        scalar=True,
    ),
    "sandbox_seen": Signature(
        _BROKER,
        "SELECT setpoint.sandbox_seen($1, $2, $3::text::jsonb)",
        registry.sandbox_seen,
        {2: _json},
        scalar=True,
    ),
    "sandbox_gone": Signature(_BROKER, "SELECT setpoint.sandbox_gone($1, $2)", registry.sandbox_gone, {}, scalar=True),
    "sandboxes": Signature(
        _CELLD,
        "SELECT host_id, incarnation, ledger_id, address, state, capacity, sessions, ordered FROM setpoint.sandboxes()",
        registry.sandboxes,
        {},
    ),
    "host_order": Signature(_BROKER, "SELECT setpoint.host_order($1, $2, $3)", registry.host_order, {}, scalar=True),
    "host_told": Signature(_CELLD, "SELECT * FROM setpoint.host_told($1)", registry.host_told, {}, one=True),
    "host_declare_dead": Signature(
        _BROKER, "SELECT setpoint.host_declare_dead($1, $2, $3)", registry.host_declare_dead, {}, scalar=True
    ),
    "cell_candidates": Signature(
        _CELLD,
        "SELECT host_id, incarnation, address, sessions FROM setpoint.cell_candidates()",
        registry.cell_candidates,
        {},
    ),
    "sweep_keys": Signature(_BROKER, "SELECT setpoint.sweep_keys($1)", janitor.sweep_keys, {}, scalar=True),
    "sweep_wakes": Signature(_BROKER, "SELECT setpoint.sweep_wakes($1)", janitor.sweep_wakes, {}, scalar=True),
    "sweep_locks": Signature(_BROKER, "SELECT setpoint.sweep_locks($1)", janitor.sweep_locks, {}, scalar=True),
    "sweep_fenced": Signature(
        _BROKER, "SELECT setpoint.sweep_fenced($1, $2)", janitor.sweep_fenced, {1: _interval}, scalar=True
    ),
    "restored": Signature("setpoint_migrate", "SELECT * FROM setpoint.restored()", ownership.restored, {}, one=True),
}
"""Every function of the model by its name, which is its name in the schema."""
