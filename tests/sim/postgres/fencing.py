"""Writes of owners that are owners no more, counted: fenced_note (0015_fencing.sql)."""

from __future__ import annotations

from tests.sim.postgres.tables import Epoch, Fenced, Key, Tables


def note(db: Tables, key: Key, stale: Epoch, kind: str) -> None:
    """Count a write of a session under ``stale`` that was refused; ``kind``: append, release or snapshot."""
    head = db.heads[key]
    against = (head.epoch_inc, head.epoch)
    row = db.fenced.setdefault((*key, *stale, kind), Fenced(against, 0, db.now, db.now))
    row.against, row.refused, row.last_at = against, row.refused + 1, db.now
