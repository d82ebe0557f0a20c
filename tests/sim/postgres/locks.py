"""Asset locks inside append_batch: append_locks of 0010_append.sql."""

from __future__ import annotations

from collections.abc import Sequence

from tests.sim.postgres.item import Item
from tests.sim.postgres.tables import Holder, Tables, bad

Held = dict[tuple[str, str], Holder | None]


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
    for at, item in enumerate(items):
        if statuses[at] != "ok":
            continue
        after = dict(held)
        for change in item.give or ():
            if change.key is not None and held[item.tenant, change.key] == (item.session, change.execution):
                after[item.tenant, change.key] = None
        freed = dict(after)
        for change in item.take or ():
            if change.key is None:
                continue
            mine, holder = Holder(item.session, change.execution), freed[item.tenant, change.key]
            if holder is not None and holder != mine:
                statuses[at], details[at] = "lock_busy", f"{change.key} {holder.session}/{holder.execution}"
            after[item.tenant, change.key] = mine
        if statuses[at] == "ok":
            held = after
    return held
