"""All rows of both databases in one shape: table name -> sorted rows. What the model leaves out is not selected."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from migrations.door import Pool
from setpoint.contracts.clock import parse_rfc3339
from tests.integration.conformance.signatures import event_row, plain
from tests.sim.postgres.tables import Tables

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
Dump = dict[str, list[tuple[Any, ...]]]

_COLUMNS: Final = {
    "cluster": "incarnation",
    "sessions": "tenant_id, session_id, name, labels, closed_at",
    "session_heads": "tenant_id, session_id, epoch_inc, epoch, owner_host, owner_incarnation, state, head_seq,"
    " last_batch_id, inbox_head, inbox_open0, inbox_open1, unended0, unended1, sandbox_host, ledger_id, workspace_no,"
    " snapshot_seq, delivering, delivering_deaths",
    "session_wakes": "tenant_id, session_id, wake_at, prefer_host, avoid_host",
    "events": "tenant_id, session_id, seq, at, epoch_inc, epoch, type, v, command_id, asset, execution_id, data",
    "session_snapshots": "tenant_id, session_id, seq, code_version, state",
    "generations": "tenant_id, session_id, generation_no, resources, files, seq, at",
    "session_assets": "tenant_id, session_id, name, seq, doc",
    "asset_locks": "tenant_id, lock_key, session_id, execution_id, since, ttl_s",
    "commands": "tenant_id, command_id, session_id, lane, type, payload",
    "command_inbox": "tenant_id, session_id, lane, inbox_seq, command_id",
    "command_results": "tenant_id, command_id, session_id, status, result, seq",
    "idempotency_keys": "tenant_id, key, kind, fingerprint, subject_id, expires_at",
    "fenced_writes": "tenant_id, session_id, epoch_inc, epoch, kind, against_inc, against_epoch, refused, first_at,"
    " last_at",
    "cell_hosts": "host_id, incarnation, state, address, public_key, renewal_no, lease_expires_at, ordered",
    "sandbox_hosts": "host_id, incarnation, ledger_id, address, state, capacity, ordered",
    "audit_log": "action, detail AS detail_json",
}


async def real_dump(all_seeing: Pool) -> Dump:
    """Read all tables as a role that may see everything."""
    dump = {}
    for table, columns in _COLUMNS.items():
        rows = await all_seeing.fetch(f"SELECT {columns} FROM setpoint.{table}")
        dump[table] = _sorted([plain(row) for row in rows])
    dump["audit_log"] = _sorted([(action, _in_micros(detail)) for action, detail in dump["audit_log"]])
    return dump


def model_dump(db: Tables) -> Dump:
    """Return the rows of the model as the columns of the real tables."""
    dump: Dump = {
        "cluster": [(db.incarnation,)],
        "sessions": [(*key, x.name, x.labels, x.closed_at) for key, x in db.sessions.items()],
        "session_heads": [
            (
                *(*key, x.epoch_inc, x.epoch, x.owner_host, x.owner_incarnation, x.state, x.head_seq, x.last_batch_id),
                *(x.inbox_head, *x.opened, *x.unended, x.sandbox_host, x.ledger_id, x.workspace_no, x.snapshot_seq),
                *(x.delivering, x.delivering_deaths),
            )
            for key, x in db.heads.items()
        ],
        "session_wakes": [(*key, x.wake_at, x.prefer_host, x.avoid_host) for key, x in db.wakes.items()],
        "events": [(*key, *event_row(event)) for key, log in db.events.items() for event in log],
        "asset_locks": [(*key, *(x or (None,) * 4)) for key, x in db.locks.items()],
        "commands": [(key[0], key[1], *x) for key, x in db.commands.items()],
        "command_results": [(key[0], key[1], *x) for key, x in db.results.items()],
        "idempotency_keys": [(*key, *x) for key, x in db.claims.items()],
        "fenced_writes": [(*key, *x.against, x.refused, x.first_at, x.last_at) for key, x in db.fenced.items()],
        "cell_hosts": [
            (name, x.incarnation, x.state, x.address, x.public_key, x.renewal_no, x.lease_expires_at, x.ordered)
            for name, x in db.cell_hosts.items()
        ],
        "sandbox_hosts": [
            (name, x.incarnation, x.ledger_id, x.address, x.state, x.capacity, x.ordered)
            for name, x in db.sandbox_hosts.items()
        ],
        "audit_log": list(db.audit),
    }
    dump |= _of_sessions(db)
    return {table: _sorted(dump[table]) for table in _COLUMNS}


def _of_sessions(db: Tables) -> Dump:
    """The tables that the model keeps by session."""
    return {
        "session_snapshots": [(*key, seq, *x) for key, rows in db.snapshots.items() for seq, x in rows.items()],
        "generations": [(*key, no, *x) for key, rows in db.generations.items() for no, x in rows.items()],
        "session_assets": [(*key, name, *x) for key, rows in db.assets.items() for name, x in rows.items()],
        "command_inbox": [(*key, *at, command) for key, rows in db.inbox.items() for at, command in rows.items()],
    }


def _in_micros(detail: dict[str, Any]) -> dict[str, Any]:
    """Read the one time that the audit log keeps in its text."""
    return detail | {"since": parse_rfc3339(detail["since"])} if "since" in detail else detail


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=_ENCODER.encode)
