"""The janitor: what nobody needs any more goes, at most ``limit`` rows a call (0016_janitor.sql).

Each returns how many rows went. Which go first is open where the real functions have no order. Rows of hosts and join
tokens are not swept here: when they go depends on when a host was last seen, which the model leaves out.
"""

from __future__ import annotations

from itertools import islice

from tests.sim.postgres.tables import Key, Tables

_SOON_US = 60 * 1_000_000


def sweep_keys(db: Tables, limit: int) -> int:
    """Remove idempotency keys that answer for nothing any more, the oldest first."""
    ended = sorted((claim.expires_at, key) for key, claim in db.claims.items() if claim.expires_at < db.now)[:limit]
    for _, key in ended:
        del db.claims[key]
    return len(ended)


def sweep_wakes(db: Tables, limit: int) -> int:
    """Remove due rows of sessions that somebody alive owns."""
    due = (key for key, wake in db.wakes.items() if wake.wake_at <= db.now + _SOON_US and _is_owned(db, key))
    found = list(islice(due, limit))
    for key in found:
        del db.wakes[key]
    return len(found)


def sweep_locks(db: Tables, limit: int) -> int:
    """Remove keys of locks that nobody holds."""
    free = list(islice((key for key, lock in db.locks.items() if lock is None), limit))
    for key in free:
        del db.locks[key]
    return len(free)


def sweep_fenced(db: Tables, limit: int, keep_us: int) -> int:
    """Remove what was refused to ended epochs, the longest ago first."""
    before = db.now - keep_us
    ended = sorted((row.last_at, key) for key, row in db.fenced.items() if row.last_at < before)[:limit]
    for _, key in ended:
        del db.fenced[key]
    return len(ended)


def _is_owned(db: Tables, key: Key) -> bool:
    """Tell whether the owner of a session has a live lease."""
    head = db.heads[key]
    host = db.cell_hosts.get(head.owner_host or "")
    is_its = host is not None and host.incarnation == head.owner_incarnation
    return is_its and host is not None and host.state != "fenced" and host.lease_expires_at >= db.now
