"""A cell without its process: what each frame does to the session it names."""

from __future__ import annotations

import pytest

from celld.cell.loop import Cell, ReplayFailed
from setpoint.contracts import cell as frames
from setpoint.contracts.event import Event

SESSION = "01a00000-0000-7000-8000-000000000001"
EPOCH = (1, 1)
CREATED = Event(1, "session.created", 1, SESSION, (1, 0), {"name": "s", "labels": {}})
ACQUIRED = Event(2, "lease.acquired", 2, SESSION, EPOCH, {"host": "h", "incarnation": "i"})
HALT = frames.Delivered("c1", 0, 1, "halt", {})


def restored(cell: Cell, session: str = SESSION) -> None:
    assert cell.take(frames.Restore(session, (CREATED,), last=False)) is None
    assert cell.take(frames.Restore(session, (ACQUIRED,), last=True)) == frames.Restored(session, 2)


def decided(cell: Cell, input_no: int, input_: frames.Input, session: str = SESSION) -> frames.Decided:
    answer = cell.take(frames.Deliver(session, input_no, 10 + input_no, input_))
    assert isinstance(answer, frames.Decided)
    return answer


def test_the_state_moves_on_only_by_committed() -> None:
    cell = Cell()
    restored(cell)
    first = decided(cell, 1, HALT)
    assert first.base_seq == 2
    assert [event.type for event in first.decision.events] == ["command.accepted", "halt.started", "command.succeeded"]
    cell.take(frames.Aborted(SESSION, 1, "lock_busy"))
    again = decided(cell, 2, HALT)
    assert (again.base_seq, len(again.decision.events)) == (2, 3), "an aborted decision left no trace"
    cell.take(frames.Committed(SESSION, 2, 3, 12, EPOCH))
    after = decided(cell, 3, HALT)
    assert (after.base_seq, after.decision.events) == (5, ()), "the command is known now"


def test_sessions_in_one_cell_do_not_meet() -> None:
    cell = Cell()
    restored(cell)
    restored(cell, "other")
    decided(cell, 1, HALT)
    cell.take(frames.Committed(SESSION, 1, 3, 11, EPOCH))
    assert decided(cell, 1, frames.Tick(), "other").base_seq == 2
    cell.take(frames.Drop("other"))
    restored(cell, "other")


def test_two_decisions_of_a_session_are_never_open_at_once() -> None:
    cell = Cell()
    restored(cell)
    decided(cell, 1, HALT)
    with pytest.raises(AssertionError):
        decided(cell, 2, HALT)


def test_what_was_not_decided_cannot_be_committed() -> None:
    cell = Cell()
    restored(cell)
    decided(cell, 1, HALT)
    with pytest.raises(AssertionError):
        cell.take(frames.Committed(SESSION, 9, 3, 11, EPOCH))


def test_a_log_that_cannot_be_folded_says_where() -> None:
    cell = Cell()
    bad = Event(2, "no.such.type", 2, SESSION, EPOCH)
    with pytest.raises(ReplayFailed, match=r"event 2 \(no.such.type\)"):
        cell.take(frames.Restore(SESSION, (CREATED, bad), last=True))


def test_a_ping_is_answered_for_any_session() -> None:
    assert Cell().take(frames.Ping("whoever", 4)) == frames.Pong("whoever", 4)


def test_inputs_that_wait_behind_are_taken_into_the_same_decision_and_committed_with_it() -> None:
    cell = Cell()
    restored(cell)
    more = (frames.Delivered("c2", 0, 2, "unhalt", {}), frames.Delivered("c3", 0, 3, "close", {}), HALT)
    answer = cell.take(frames.Deliver(SESSION, 1, 11, HALT, more))
    assert isinstance(answer, frames.Decided)
    assert (answer.base_seq, answer.taken) == (2, 3), "what ends the session is the last"
    last = 2 + len(answer.decision.events)
    cell.take(frames.Committed(SESSION, 1, 3, 11, EPOCH))
    assert decided(cell, 2, frames.Delivered("c2", 0, 2, "unhalt", {})).base_seq == last
    assert decided(cell, 3, frames.Tick()).decision.events == ()


@pytest.mark.parametrize(("first_seq", "at", "epoch"), [(4, 11, EPOCH), (3, 12, EPOCH), (3, 11, (1, 2))])
def test_what_was_committed_otherwise_than_it_was_decided_ends_the_cell(
    first_seq: int, at: int, epoch: tuple[int, int]
) -> None:
    cell = Cell()
    restored(cell)
    decided(cell, 1, HALT)
    with pytest.raises(AssertionError):
        cell.take(frames.Committed(SESSION, 1, first_seq, at, epoch))
