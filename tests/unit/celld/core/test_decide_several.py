"""Inputs that wait together are decided on together, and it comes to what they would have come to one by one."""

from __future__ import annotations

from collections.abc import Sequence

from celld.core.decide import concluded, decide, decide_several
from celld.core.evolve import evolve
from celld.core.state import State
from setpoint.contracts.cell import CancelRun, Delivered, Input, Release, RunEnded, StartRun, Tick
from setpoint.contracts.event import NewEvent, committed
from setpoint.contracts.resource.model import CompiledAsset
from tests.sim.world import World, asset, pair, project


def after(state: State, events: Sequence[NewEvent], now: int) -> State:
    """Fold events onto a state."""
    for event in events:
        state = evolve(state, committed(event, state.head_seq + 1, now, state.session_id, state.epoch))
    return state


def one_by_one(state: State, inputs: Sequence[Input], now: int) -> tuple[list[NewEvent], State]:
    """Decide on each input alone and fold what comes of it before the next."""
    events: list[NewEvent] = []
    for observed in inputs:
        decided = decide(state, observed, now).events
        events += decided
        state = after(state, decided, now)
    return events, state


def command(n: int, kind: str, payload: object = None) -> Delivered:
    return Delivered(f"0198c0de-0000-7000-9000-{n:012}", 0, 100 + n, kind, payload or {})


def settled(*assets: CompiledAsset) -> World:
    world = World(project(*assets), all_ready=True)
    world.run(20)
    return world


def test_commands_that_wait_together_are_one_decision() -> None:
    world = settled(asset("a"), asset("b", "a"))
    inputs = [command(1, "halt"), command(2, "unhalt"), command(3, "suspend", {"select": ["b"]}), command(4, "halt")]
    turn, taken = decide_several(world.state, inputs, world.now)
    decision = concluded(world.state, turn)
    events, state = one_by_one(world.state, inputs, world.now)
    assert taken == 4
    assert list(decision.events) == events
    assert turn.state == state == after(world.state, decision.events, world.now)
    assert len({event.command_id for event in decision.events if event.type == "command.succeeded"}) == 4
    assert sorted(doc.name for doc in decision.assets) == ["", "b"], (
        "one row of the projection each, as it is in the end"
    )


def test_a_run_is_started_under_the_seq_of_its_event_wherever_that_stands() -> None:
    world = settled(asset("a"), asset("b"))
    inputs = [command(1, "halt"), command(2, "evaluate", {"select": ["a"]}), command(3, "evaluate", {"select": ["b"]})]
    turn, taken = decide_several(world.state, inputs, world.now)
    starts = [effect for effect in turn.effects if isinstance(effect, StartRun)]
    assert (taken, [start.asset for start in starts]) == (3, ["a", "b"])
    for start in starts:
        event = turn.events[start.seq_offset]
        assert (event.type, event.asset, event.execution_id) == ("evaluation.started", start.asset, start.execution_id)


def test_a_cancel_behind_what_it_cancels_ends_the_run_that_is_begun_before_it() -> None:
    world = settled(asset("a"))
    inputs = [command(1, "sync", {"select": ["a"]}), command(2, "cancel", {"asset": "a"})]
    turn, taken = decide_several(world.state, inputs, world.now)
    start, cancel = turn.effects
    assert taken == 2
    assert isinstance(start, StartRun) and isinstance(cancel, CancelRun)
    assert start.execution_id == cancel.execution_id


def test_what_takes_or_gives_a_lock_stands_alone() -> None:
    locked = asset("a", pairs=[pair("c", lock="k")])
    world = settled(locked, asset("b"))
    sync, halt = command(1, "sync", {"select": ["a"]}), command(2, "halt")
    assert decide_several(world.state, [sync, halt], world.now)[1] == 1, "it takes one"
    world.command("sync", {"select": ["a"]})
    world.run(1)
    (run,) = world.state.executions.values()
    ended = RunEnded(run.id, "cancelled")
    assert concluded(world.state, decide_several(world.state, [ended], world.now)[0]).gives
    assert decide_several(world.state, [ended, halt], world.now)[1] == 1, "it gives one back"
    assert decide_several(world.state, [halt, ended], world.now)[1] == 1, "the one behind it gives one back"


def test_nothing_follows_the_end_of_a_session() -> None:
    world = settled(asset("a"))
    turn, taken = decide_several(world.state, [command(1, "close"), command(2, "halt")], world.now)
    assert (taken, turn.effects) == (1, [Release("close")])


def test_a_decision_does_not_grow_without_a_bound() -> None:
    world = settled(asset("a"))
    inputs = [command(n, "halt" if n % 2 else "unhalt") for n in range(1, 100)]
    turn, taken = decide_several(world.state, inputs, world.now)
    assert 100 <= len(turn.events) < 110
    assert taken < 40
    assert decide_several(turn.state, inputs[taken:], world.now)[1] > 1, "the rest goes on"


def test_inputs_without_consequence_are_taken_too() -> None:
    world = settled(asset("a"))
    turn, taken = decide_several(world.state, [Tick(), Tick()], world.now)
    assert (taken, turn.events) == (2, [])
