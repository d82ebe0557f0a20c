"""Asset locks: append_locks, a part of append_batch, and break_lock (0013_locks.sql)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.sim.postgres.commands import enqueue, holder_of, keep
from tests.sim.postgres.item import Item
from tests.sim.postgres.tables import Lock, Tables, bad

Held = dict[tuple[str, str], Lock | None]
_TTL_S: Final = 3600.0
_NO_QUOTA: Final = 2**31 - 1


class Broken(NamedTuple):
    """ok | already | mismatch | free | young, and who held the lock. ``command_id``: the notice to its session.

    The real function may also answer moved: somebody else took the lock between two of its statements.
    """

    status: str
    session: str | None = None
    execution: str | None = None
    since: int | None = None
    ttl_s: float | None = None
    command_id: str | None = None
    owner_host: str | None = None


def decide_locks(db: Tables, items: Sequence[Item], statuses: list[str], details: list[str | None]) -> Held:
    """Decide the locks of the items that are still ok, in their order; refused ones become lock_busy in place.

    Returns the rows as they are afterwards, of every key that an ok item named, to be written if the call goes on.
    """
    held: Held = {}
    for item, status in zip(items, statuses, strict=True):
        if status == "ok":
            for change in (*(item.take or ()), *(item.give or ())):
                if change.key is None:
                    raise bad("23502", "a lock without a key")
                held[item.tenant, change.key] = db.locks.get((item.tenant, change.key))
    before = dict(held)
    for at, item in enumerate(items):
        if statuses[at] != "ok":
            continue
        freed = _freed(held, item)
        after = dict(freed)
        for change in item.take or ():
            key = (item.tenant, change.key or "")
            lock, holder = Lock(item.session, change.execution, db.now, change.ttl_s), freed[key]
            if holder is not None and holder[:2] != lock[:2]:
                statuses[at], details[at] = "lock_busy", f"{change.key} {holder.session}/{holder.execution}"
            after[key] = lock
        if statuses[at] == "ok":
            held = after
    return {key: _unless_same(before[key], lock) for key, lock in held.items()}


def break_lock(
    db: Tables,
    tenant: str,
    lock_key: str,
    command_id: str,
    by: str,
    reason: str | None,
    forced: bool,
    idempotency_key: str | None = None,
    fingerprint: bytes | None = None,
) -> Broken:
    """Take a lock away from the execution that holds it; its session gets a control command, beyond any quota."""
    first, said = command_id, "already"
    claim = None if idempotency_key is None else holder_of(db, tenant, idempotency_key, fingerprint)
    if claim is not None:
        first = claim.subject
        said = "already" if claim.kind == "command" and claim.fingerprint == fingerprint else "mismatch"
    known = db.commands.get((tenant, first))
    if known is not None or said == "mismatch":
        if claim is None:
            keep(db, tenant, idempotency_key, "command", fingerprint, command_id)
        named = known.payload.get("execution_id") if known and isinstance(known.payload, dict) else None
        return Broken(said, known.session if known else None, named, command_id=first)
    lock = db.locks.get((tenant, lock_key))
    ttl_s = _TTL_S if lock is None or lock.ttl_s is None else lock.ttl_s
    if lock is None or (not forced and db.now < lock.since + round(ttl_s * 1_000_000)):
        if claim is None or claim.subject == command_id:
            db.claims.pop((tenant, idempotency_key or ""), None)
        return Broken("free", ttl_s=ttl_s) if lock is None else Broken("young", *lock[:3], ttl_s)
    if claim is None:
        keep(db, tenant, idempotency_key, "command", fingerprint, command_id)
    db.locks[tenant, lock_key] = None
    about: dict[str, object] = {"key": lock_key, "execution_id": lock.execution, "by": by, "reason": reason}
    held_for = {"session_id": lock.session, "since": lock.since, "ttl_s": lock.ttl_s, "forced": forced}
    db.audit.append(("lock.broken", about | held_for))
    notice = enqueue(db, tenant, lock.session, command_id, 0, "lock_broken", about, None, None, _NO_QUOTA)
    return Broken("ok", *lock[:3], ttl_s, notice.command_id, notice.owner_host)


def _freed(held: Held, item: Item) -> Held:
    """Return the locks without what an item gives; what it does not hold it cannot give."""
    freed = dict(held)
    for change in item.give or ():
        key = (item.tenant, change.key or "")
        holder = held[key]
        if holder is not None and holder[:2] == (item.session, change.execution):
            freed[key] = None
    return freed


def _unless_same(before: Lock | None, after: Lock | None) -> Lock | None:
    """Leave the row as it was when its holder is the same after the call as before."""
    return before if before is not None and after is not None and before[:2] == after[:2] else after
