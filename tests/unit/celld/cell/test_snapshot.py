"""Snapshots of a cell: what they keep, and what is refused as one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from celld.cell import snapshot
from celld.cell.loop import Cell
from celld.core.state import State, empty
from setpoint.contracts import cell as frames
from setpoint.contracts.event import Event
from tests.sim.world import World, asset, project

SESSION = "01a00000-0000-7000-8000-000000000001"
EPOCH = (1, 1)
CREATED = Event(1, "session.created", 1, SESSION, (1, 0), {"name": "s", "labels": {}})
ACQUIRED = Event(2, "lease.acquired", 2, SESSION, EPOCH, {"host": "h", "incarnation": "i"})
RELEASED = Event(6, "lease.released", 20, SESSION, EPOCH, {"mode": "drain"})
HALT = frames.Delivered("c1", 0, 1, "halt", {})


def halted() -> Cell:
    cell = Cell()
    cell.take(frames.Restore(SESSION, (CREATED, ACQUIRED), last=True))
    cell.take(frames.Deliver(SESSION, 1, 11, HALT))
    cell.take(frames.Committed(SESSION, 1, 3, 11, EPOCH))
    return cell


def taken(cell: Cell, *, if_idle: bool = False) -> frames.Snapshot:
    answer = cell.take(frames.SnapshotWanted(SESSION, if_idle))
    assert isinstance(answer, frames.Snapshot)
    return answer


def test_a_cell_goes_on_from_a_snapshot_and_the_events_after_it() -> None:
    said = taken(halted())
    assert (said.head_seq, said.idle, said.assets) == (5, True, 0)
    other = Cell()
    assert other.take(frames.Restore(SESSION, (), False, said.content)) == frames.Restored(SESSION, 5)
    assert other.take(frames.Restore(SESSION, (RELEASED,), last=True)) == frames.Restored(SESSION, 6)
    again = other.take(frames.Deliver(SESSION, 1, 30, HALT))
    assert isinstance(again, frames.Decided)
    assert (again.base_seq, again.decision.events) == (6, ()), "it knows the command that the snapshot ended"


@pytest.mark.parametrize("content", [b"", b"nonsense", snapshot.encode(empty("another session"))])
def test_what_is_no_snapshot_of_the_session_is_refused_and_the_log_does_without(content: bytes) -> None:
    cell = Cell()
    assert cell.take(frames.Restore(SESSION, (), False, content)) == frames.Restored(SESSION, 0)
    assert cell.take(frames.Restore(SESSION, (CREATED, ACQUIRED), last=True)) == frames.Restored(SESSION, 2)


def test_a_state_that_cannot_be_written_down_has_no_snapshot() -> None:
    with pytest.raises(snapshot.SnapshotRefused):
        snapshot.encode(replace(empty(SESSION), execution_no=1 << 70))
    with pytest.raises(snapshot.SnapshotRefused):
        snapshot.encode(replace(empty(SESSION), closing="\ud800"))


def test_what_a_trigger_waits_for_is_the_same_in_a_snapshot_when_more_has_begun_to_move() -> None:
    world = World(project(asset("a"), asset("b"), asset("c", "a", "b", upstream_policy="all")), all_ready=True)
    world.sync_s["b"] = 100.0
    world.run(5)
    world.command("sync", {"select": ["b"]})
    world.command("sync", {"select": ["a"]})
    world.run(15)
    world.command("sync", {"select": ["a"]})
    world.run(2)
    assert world.state.assets["c"].restless == "b"
    assert snapshot.decode(snapshot.encode(world.state), world.state.session_id) == world.state


def test_an_open_decision_is_in_no_snapshot() -> None:
    cell = halted()
    cell.take(frames.Deliver(SESSION, 2, 12, frames.Delivered("c2", 0, 2, "unhalt", {})))
    with pytest.raises(AssertionError):
        taken(cell)


def test_every_field_of_the_state_counts_for_the_version() -> None:
    shape = snapshot._shape()
    assert all(f"{name}:" in shape for name in State.__struct_fields__)
    assert "setpoint.contracts.resource.model.Stage " in shape, "also what the state is made of"
