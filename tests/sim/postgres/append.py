"""append_batch: the one way a cell's decision becomes true (0010_append.sql).

A call happens whole or not at all: everything that can be refused is checked, in the order of the real function's
statements, before anything is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from setpoint.contracts.event import Event
from tests.sim.postgres.fencing import note
from tests.sim.postgres.item import Item, instant
from tests.sim.postgres.locks import decide_locks
from tests.sim.postgres.tables import Generation, Projected, Result, Tables, bad

_UUID: Final = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_ENDS: Final = frozenset({"succeeded", "failed", "cancelled", "rejected", "quarantined"})
_DATA_BYTES_MAX: Final = 65536
_encode: Final = msgspec.json.Encoder().encode


class Became(NamedTuple):
    """ok | already | fenced | truncated | moved_head | lock_busy | gone; ``seq`` and the epoch are the head's."""

    ord: int
    status: str
    seq: int | None
    epoch_inc: int | None
    epoch: int | None
    detail: str | None


def append_batch(db: Tables, items: Sequence[Item]) -> list[Became]:
    """Commit the items that are still true. Raises BadInput, and then nothing of the call is written."""
    for item in items:
        _uuid(item.batch)
    if len(items) > 1 and len({(item.tenant, item.session) for item in items}) < len(items):
        raise bad("22023", "a session twice in one batch")
    statuses = [_status(db, item) for item in items]
    details: list[str | None] = [None] * len(items)
    moves = None
    if any(status == "ok" and (item.take or item.give) for item, status in zip(items, statuses, strict=True)):
        moves = decide_locks(db, items, statuses, details)
    good = [item for item, status in zip(items, statuses, strict=True) if status == "ok"]
    _check(db, good)
    if moves:
        db.locks.update(moves)
    for item in good:
        _write(db, item)
    for item, status in zip(items, statuses, strict=True):
        if status == "fenced":
            note(db, (item.tenant, item.session), (item.inc, item.epoch), "append")
    rows = []
    for at, item in enumerate(items):
        head = db.heads.get((item.tenant, item.session))
        if head is None:
            rows.append(Became(at + 1, "gone", None, None, None, None))
        else:
            rows.append(Became(at + 1, statuses[at], head.head_seq, head.epoch_inc, head.epoch, details[at]))
    return rows


def _status(db: Tables, item: Item) -> str:
    head = db.heads.get((item.tenant, item.session))
    if head is None:
        return "gone"
    if head.epoch != item.epoch or head.epoch_inc != item.inc or head.owner_host is None:
        return "fenced"
    if item.batch is not None and head.last_batch_id == item.batch:
        return "already"
    if head.head_seq < item.head_seq:
        return "truncated"
    return "moved_head" if head.head_seq > item.head_seq else "ok"


def _check(db: Tables, good: list[Item]) -> None:
    """Refuse the call for what the real statements would refuse, one statement after the other over all items."""
    for item in good:
        if not item.events or item.batch is None:
            raise bad("22023", "an item needs events and a batch id")
    for item in good:
        _check_head(db, item)
    for item in good:
        _check_events(item)
    for item in good:
        queue = db.inbox.get((item.tenant, item.session), {})
        if item.ack and (len(set(item.ack)) < len(item.ack) or not queue.keys() >= set(item.ack)):
            raise bad("23503", f"acknowledged what is not in the inbox: {item.session} {item.ack}")
    _check_results(db, good)
    for item in good:
        _check_assets(item)
    for item in good:
        _check_generation(db, item)


def _check_head(db: Tables, item: Item) -> None:
    head = db.heads[item.tenant, item.session]
    if item.ack or item.results:
        for lane in (0, 1):
            acknowledged = sum(one[0] == lane for one in item.ack or ())
            ended = sum(one.lane == lane for one in item.results or ())
            if head.opened[lane] < acknowledged or head.unended[lane] < ended:
                raise bad("23514", f"more of lane {lane} leaves than is there: {item.session}")
    if item.sandbox is not None:
        _uuid(item.sandbox.ledger_id)
        if item.sandbox.workspace_no is None:
            raise bad("23502", "a sandbox without a workspace_no")


def _check_events(item: Item) -> None:
    for event in item.events or ():
        if event.command_id is not None:
            _uuid(event.command_id)
        if event.execution_id is not None:
            _uuid(event.execution_id)
        if event.type is None or event.at is None:
            raise bad("23502", "an event without a type or a time")
        instant(event.at)
        if event.data is not UNSET and _is_too_large(event.data):
            raise bad("23514", f"{event.type}: too large")


def _is_too_large(content: object) -> bool:
    """Measure as jsonb prints: a space after each comma and colon makes it less than twice what it came as."""
    if len(_encode(content)) <= _DATA_BYTES_MAX // 2:
        return False
    return len(json.dumps(content, ensure_ascii=False).encode()) > _DATA_BYTES_MAX


def _check_results(db: Tables, good: list[Item]) -> None:
    ended: set[tuple[str, str]] = set()
    for item in good:
        for result in item.results or ():
            if result.command_id is None or result.status is None:
                raise bad("23502", "a result without its command or status")
            if _uuid(result.command_id) and result.status not in _ENDS:
                raise bad("23514", f"no end of a command: {result.status}")
            key = (item.tenant, result.command_id)
            if key in ended or key in db.results:
                raise bad("23505", f"ended twice: {result.command_id}")
            ended.add(key)


def _check_assets(item: Item) -> None:
    if item.assets:
        kept = [asset.name for asset in item.assets if asset.doc is not None]
        if None in kept:
            raise bad("23502", "a projected asset without a name")
        if len(set(kept)) < len(kept):
            raise bad("21000", "an asset twice in one item")


def _check_generation(db: Tables, item: Item) -> None:
    made = item.generation
    if made is None:
        return
    if made.n is None or made.resources is None or made.files is None:
        raise bad("23502", "a generation without its number, resources or files")
    if made.n in db.generations.get((item.tenant, item.session), {}):
        raise bad("23505", f"generation {made.n} is there")


def _write(db: Tables, item: Item) -> None:
    """Write an item in which nothing is wrong."""
    key, epoch = (item.tenant, item.session), (item.inc, item.epoch)
    head, seq = db.heads[key], item.head_seq
    log = db.events[key]
    for event in item.events or ():
        seq += 1
        assert event.type is not None, "checked before"
        content: Any = {} if event.data is UNSET else event.data
        fixed = (seq, event.type, instant(event.at), item.session, epoch, content, 1 if event.v is None else event.v)
        log.append(Event(*fixed, event.command_id, event.asset, event.execution_id))
    head.head_seq, head.last_batch_id = seq, item.batch
    for lane, inbox_seq in item.ack or ():
        head.opened[lane] -= 1
        del db.inbox[key][lane, inbox_seq]
    for result in item.results or ():
        assert result.command_id is not None and result.status is not None, "checked before"
        if result.lane in (0, 1):
            head.unended[result.lane] -= 1
        db.results[item.tenant, result.command_id] = Result(item.session, result.status, result.result, seq)
    if item.assets:
        rows = db.assets.setdefault(key, {})
        rows.update(
            (one.name, Projected(seq, one.doc)) for one in item.assets if one.name is not None and one.doc is not None
        )
        for asset in item.assets:
            if asset.doc is None and asset.name is not None:
                rows.pop(asset.name, None)
    if item.sandbox is not None and item.sandbox.workspace_no is not None:
        head.sandbox_host, head.ledger_id = item.sandbox.host, item.sandbox.ledger_id
        head.workspace_no = item.sandbox.workspace_no
    if item.delivering is not UNSET:
        head.delivering = item.delivering
    _write_generation(db, item, seq)


def _write_generation(db: Tables, item: Item, seq: int) -> None:
    made = item.generation
    if made is None or made.n is None or made.resources is None or made.files is None or not item.events:
        return
    at = instant(item.events[-1].at)
    db.generations.setdefault((item.tenant, item.session), {})[made.n] = Generation(made.resources, made.files, seq, at)


def _uuid(text: str | None) -> bool:
    """Refuse what is no id; null is one."""
    if text is not None and not _UUID.fullmatch(text):
        raise bad("22P02", f"invalid input syntax for type uuid: {text!r}")
    return True
