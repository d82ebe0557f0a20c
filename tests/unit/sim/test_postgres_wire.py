"""The wire of the simulation's database: what each fate of a call leaves behind, and what its caller hears."""

from __future__ import annotations

import pytest

from migrations.outcome import BadInput, Fault, Retry, Unavailable, Unknown
from tests.sim.postgres import append, commands, lease, ownership
from tests.sim.postgres.item import Item, ItemEvent
from tests.sim.postgres.tables import Tables
from tests.sim.postgres.wire import Fate, Wire

KEY = ("t", "s")


def owned() -> Wire:
    """Return a database with one session, owned by host h at epoch (1, 1), its head at 2."""
    wire = Wire(Tables())
    assert wire.call(0, ownership.create_session, *KEY, "s").answer == ("ok", "s")
    wire.call(0, lease.host_register, "h", "i", "at", b"key", 10)
    assert wire.call(0, ownership.acquire, *KEY, "h", "i", 1, 0).answer == ("ok", 1, 1, 2)
    return wire


def item(head_seq: int = 2, batch: str = "00000000-0000-0000-0000-000000000001") -> Item:
    return Item(*KEY, 1, 1, head_seq, batch, [ItemEvent("x", 7)])


@pytest.mark.parametrize(
    ("fate", "heard", "head"),
    [
        (Fate.ANSWERED, None, 3),
        (Fate.UNAVAILABLE, Unavailable, 2),
        (Fate.UNDONE, Retry, 2),
        (Fate.LOST, Unknown, 2),
        (Fate.LOST_APPLIED, Unknown, 3),
        (Fate.LOST_LATE, Unknown, 2),
    ],
)
def test_a_fate_decides_what_is_written_and_what_is_heard(fate: Fate, heard: type[Fault] | None, head: int) -> None:
    wire = owned()
    answer, fault = wire.cut(1, fate, append.append_batch, [item()])
    assert (type(fault) if fault else None) is heard
    assert (answer is None) == (heard is not None)
    assert wire.db.heads[KEY].head_seq == head
    assert len(wire.late) == (fate is Fate.LOST_LATE)


def test_a_late_commit_after_its_retry_changes_nothing() -> None:
    wire = owned()
    wire.cut(1, Fate.LOST_LATE, append.append_batch, [item()])
    assert wire.call(2, append.append_batch, [item()]).answer == [(1, "ok", 3, 1, 1, None)]
    wire.land(wire.late[0], 3)
    assert [event.type for event in wire.db.events[KEY]] == ["session.created", "lease.acquired", "x"]
    assert wire.late == []


def test_a_late_commit_before_its_retry_is_found_by_it() -> None:
    wire = owned()
    wire.cut(1, Fate.LOST_LATE, append.append_batch, [item()])
    wire.land(wire.late[0], 2)
    assert wire.call(3, append.append_batch, [item()]).answer == [(1, "already", 3, 1, 1, None)]


def test_a_late_commit_runs_at_the_instant_it_lands() -> None:
    wire = Wire(Tables())
    wire.call(0, ownership.create_session, *KEY, "s")
    wire.call(0, lease.host_register, "h", "i", "at", b"key", 10)
    wire.cut(1, Fate.LOST_LATE, ownership.acquire, *KEY, "h", "i", 1, 0)
    wire.land(wire.late[0], 10)
    assert wire.db.heads[KEY].owner_host is None, "the lease was over"


def test_a_registration_that_lands_late_works_on_what_it_had_seen() -> None:
    wire = owned()
    wire.call(0, ownership.create_session, "t", "s2", "s2")
    wire.cut(1, Fate.LOST_LATE, lease.host_register, "h", "new", "at", b"key", 10)
    wire.call(2, ownership.acquire, "t", "s2", "h", "i", 1, 0)
    wire.land(wire.late[0], 3)
    assert list(wire.db.wakes) == [KEY]
    assert wire.call(4, lease.dead_hosts).answer == [("h", "i")]


def test_refused_values_are_heard_as_such_even_late_they_write_nothing() -> None:
    wire = owned()
    bad = item(batch="no id")
    _, fault = wire.call(1, append.append_batch, [bad])
    assert isinstance(fault, BadInput) and fault.sqlstate == "22P02"
    wire.cut(1, Fate.LOST_LATE, append.append_batch, [bad])
    wire.land(wire.late[0], 2)
    assert wire.db.heads[KEY].head_seq == 2


def test_a_command_whose_answer_was_lost_is_there_once() -> None:
    wire = owned()
    wire.cut(1, Fate.LOST_APPLIED, commands.enqueue, *KEY, "c", 1, "tool", {}, "k", b"body", 5)
    answer = wire.call(2, commands.enqueue, *KEY, "c", 1, "tool", {}, "k", b"body", 5).answer
    assert answer is not None and answer[:2] == ("replay", "c")
    assert len(wire.db.inbox[KEY]) == 1
