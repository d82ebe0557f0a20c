"""The way of a command into a session's inbox: key_claim, enqueue, session_owner, inbox (0009_enqueue.sql, 0011)."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.sim.postgres.tables import Claim, Command, Tables, Wake, bad

_KEY_US: Final = 24 * 3600 * 1_000_000


class Owner(NamedTuple):
    """Who runs a session and where."""

    host: str
    address: str
    incarnation: str


class Enqueued(NamedTuple):
    """ok | replay | mismatch | not_found | closed | full. ``owner_host`` is whom to poke."""

    status: str
    command_id: str | None = None
    inbox_seq: int | None = None
    owner_host: str | None = None
    owner_address: str | None = None


class Waiting(NamedTuple):
    """A command that is not accepted yet."""

    lane: int
    inbox_seq: int
    command_id: str
    type: str
    payload: object


def holder_of(db: Tables, tenant: str, key: str, fingerprint: bytes | None) -> Claim | None:
    """Return who has an idempotency key, None when it is free. Raises BadInput for a key without a fingerprint."""
    if fingerprint is None:
        raise bad("23502", "an idempotency key without a fingerprint")
    old = db.claims.get((tenant, key))
    return old if old is not None and old.expires_at >= db.now else None


def keep(db: Tables, tenant: str, key: str | None, kind: str, fingerprint: bytes | None, subject: str) -> None:
    """Claim a key that is free for a call that was not refused."""
    if key is not None and fingerprint is not None:
        db.claims[tenant, key] = Claim(kind, fingerprint, subject, db.now + _KEY_US)


def recover_session(
    db: Tables,
    tenant: str,
    session: str,
    command_id: str,
    payload: dict[str, object],
    idempotency_key: str | None,
    fingerprint: bytes | None,
    quota: int,
    who: str,
) -> Enqueued:
    """Queue the command that takes a failed session up again, and say who asked (0018_recover.sql)."""
    queued = enqueue(db, tenant, session, command_id, 0, "recover", payload, idempotency_key, fingerprint, quota)
    if queued.status == "ok":
        about = {"session_id": session, "command_id": queued.command_id, "by": who, "reason": payload.get("reason")}
        db.audit.append(("session.recover", about))
    return queued


def session_owner(db: Tables, tenant: str, session: str) -> Owner | None:
    """Return who runs a session, None when nobody does whose lease has a row."""
    head = db.heads.get((tenant, session))
    if head is None or head.owner_host is None or head.owner_incarnation is None:
        return None
    row = db.cell_hosts.get(head.owner_host)
    if row is None or row.incarnation != head.owner_incarnation:
        return None
    return Owner(head.owner_host, row.address, row.incarnation)


def enqueue(
    db: Tables,
    tenant: str,
    session: str,
    command_id: str,
    lane: int,
    kind: str,
    payload: object,
    idempotency_key: str | None,
    fingerprint: bytes | None,
    quota: int,
) -> Enqueued:
    """Queue a command once. A refused call leaves nothing behind."""
    if idempotency_key is not None:
        claim = holder_of(db, tenant, idempotency_key, fingerprint)
        if claim is not None and (claim.kind != "command" or claim.fingerprint != fingerprint):
            return Enqueued("mismatch")
        if claim is not None:
            return _replay(db, tenant, session, claim.subject)
    key = (tenant, session)
    head, known = db.heads.get(key), db.commands.get((tenant, command_id))
    if known is not None and known.session == session:
        keep(db, tenant, idempotency_key, "command", fingerprint, command_id)
        return _replay(db, tenant, session, command_id)
    if known is not None or head is None or head.state == "closed" or head.unended[lane != 0] >= quota:
        db.claims.pop((tenant, idempotency_key or ""), None)  # an expired claim goes with the refused one
        refusal = "mismatch" if known is not None else "not_found" if head is None else head.state
        return Enqueued("full" if refusal == "open" else refusal)
    if lane not in (0, 1):
        raise bad("23514", f"no lane: {lane}")
    keep(db, tenant, idempotency_key, "command", fingerprint, command_id)
    db.commands[tenant, command_id] = Command(session, lane, kind, payload)
    head.inbox_head += 1
    head.opened[lane] += 1
    head.unended[lane] += 1
    db.inbox.setdefault(key, {})[lane, head.inbox_head] = command_id
    if head.owner_host is None:
        wake = db.wakes.setdefault(key, Wake(db.now))
        wake.wake_at = min(wake.wake_at, db.now)
    owner = session_owner(db, tenant, session)
    return Enqueued("ok", command_id, head.inbox_head, *(owner[:2] if owner else ()))


def inbox(db: Tables, tenant: str, session: str, after0: int, after1: int, limit: int) -> list[Waiting]:
    """Return commands not accepted yet, control lane first, after the last one known of each lane."""
    after = (after0, after1)
    rows: list[Waiting] = []
    for (lane, inbox_seq), command_id in sorted(db.inbox.get((tenant, session), {}).items()):
        if inbox_seq > after[lane] and len(rows) < limit:
            command = db.commands[tenant, command_id]
            rows.append(Waiting(lane, inbox_seq, command_id, command.type, command.payload))
    return rows


def _replay(db: Tables, tenant: str, session: str, command_id: str) -> Enqueued:
    owner = session_owner(db, tenant, session)
    return Enqueued("replay", command_id, None, *(owner[:2] if owner else ()))
