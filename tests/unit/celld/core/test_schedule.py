"""When things start: timers, retries, the gate, concurrency, and a core that never spins."""

from __future__ import annotations

import pytest

from celld.core.decide import decide
from celld.core.evolve import UnknownEvent, evolve
from celld.core.state import empty
from celld.core.turn import EVENTS_MAX
from setpoint.contracts.cell import StartRun, Tick
from setpoint.contracts.event import TYPES, Event
from tests.sim.world import SECOND, World, asset, pair, project


def test_a_timer_runs_what_is_due_and_what_does_not_hold() -> None:
    pairs = [pair("fast", sync=None, interval=60), pair("slow", sync=None, interval=600), pair("once", sync=None)]
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.truth["a", "once"] = False
    world.run(130)
    ran = [sorted(event.data["conditions"]) for event in world.events("evaluation.started")]
    assert ran == [["fast", "once", "slow"], ["fast", "once"], ["fast", "once"]]


def test_the_next_tick_is_an_interval_after_the_end_and_missed_ticks_collapse() -> None:
    world = World(project(asset("a", interval=60)), all_ready=True)
    world.run(1)
    assert world.docs["a"]["next_due"] == "2027-01-15T08:01:01.000000Z"
    decision = decide(world.state, Tick(), world.now + 1000 * SECOND)
    assert [event.type for event in decision.events] == ["evaluation.started"]


def test_unknown_is_retried_with_a_growing_wait_and_nothing_is_synced_for_it() -> None:
    world = World(project(asset("a"), asset("b", "a")), all_ready=True)
    world.run(10)
    head = world.head
    world.truth["a", "c"] = "timeout"
    world.command("evaluate", {"select": ["a"]})
    world.run(400)
    failed = [(event.data["n"], round(world.seconds(event))) for event in world.events("evaluation.failed", "a")]
    assert failed == [(1, 11), (2, 42), (3, 103), (4, 224)]
    assert world.counts("a", head) == (0, 0)
    assert (world.docs["a"]["state"], world.docs["a"]["known"]) == ("unknown", "ready")
    world.truth["a", "c"] = True
    world.run(300)
    assert (world.docs["a"]["state"], world.docs["a"]["retry_at"]) == ("ready", None)


def test_the_gate_and_propagation_use_what_is_known_not_an_unknown() -> None:
    world = World(project(asset("a"), asset("b", "a", interval=60)), all_ready=True)
    world.run(10)
    world.truth["a", "c"] = "spawn"
    world.command("evaluate", {"select": ["a"]})
    world.run(10)
    head = world.head
    world.run(60)
    assert world.counts("b", head) == (1, 0)


def test_only_roots_are_looked_at_first_and_the_rest_when_they_are_clear() -> None:
    world = World(project(asset("a"), asset("b", "a"), asset("c", "b")), all_ready=True)
    world.run(0.5)
    assert [event.asset for event in world.events("evaluation.started")] == ["a"]
    assert world.docs["c"]["state"] == "blocked"
    assert world.docs["c"]["blocked_by"] == ["b"]
    world.run(1)
    assert [event.asset for event in world.events("evaluation.started")] == ["a", "b"]


def test_blocked_by_names_the_nearest_asset_that_is_at_fault_through_pass_throughs() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("p", "a", pairs=()), asset("x", "p")))
    world.run(5)
    assert world.docs["x"]["blocked_by"] == ["a"]
    assert world.docs["p"]["state"] == "ready"


def test_a_blocked_timer_neither_spins_nor_delays_others() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a", interval=60), asset("c", interval=60)))
    world.heal("b")
    world.heal("c")
    world.truth["a", "c"] = True
    world.run(10)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(1800)
    assert world.types("b").count("asset.blocked") == 1
    assert world.counts("c")[0] == 30


@pytest.mark.parametrize("limit", [1, 2])
def test_syncs_are_limited_and_start_in_the_order_of_their_requests(limit: int) -> None:
    names = ["e", "d", "c", "b", "a"]
    world = World(project(*(asset(name) for name in names), max_sync_concurrency=limit))
    for second in range(80):
        world.run(1)
        assert world.state.syncing <= limit, second
    assert [event.asset for event in world.events("sync.started")] == sorted(names)
    assert set(world.known().values()) == {"ready"}


def test_evaluations_are_limited_and_the_oldest_comes_first() -> None:
    world = World(
        project(asset("z", interval=5), asset("a", interval=6), asset("m", interval=7), max_evaluate_concurrency=1),
        all_ready=True,
    )
    world.run(200)
    counts = [world.counts(name)[0] for name in "zam"]
    assert min(counts) > 20
    assert all(later.seq > earlier.seq for earlier, later in zip(world.log, world.log[1:], strict=False))


def test_an_asset_whose_gate_closes_while_its_sync_waits_is_not_synced() -> None:
    world = World(project(asset("a"), asset("b", "a"), asset("z"), max_sync_concurrency=1), all_ready=True)
    world.run(10)
    world.sync_s["z"] = 60.0
    world.drift("z")
    world.drift("b")
    world.command("evaluate", {"select": ["z"]})
    world.run(2)
    world.command("evaluate", {"select": ["b"]})
    world.run(2)
    assert world.state.requested.first() is not None
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(65)
    assert [event.data["reason"] for event in world.events("sync.skipped", "b")] == ["blocked"]
    world.run(60)
    assert set(world.known().values()) == {"ready"}


def test_a_halt_over_a_waiting_sync_is_made_up_for_after_it() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(3)
    world.command("halt")
    world.run(60)
    world.command("unhalt")
    world.run(60)
    assert set(world.known().values()) == {"ready"}


def test_a_large_decision_goes_on_in_the_next_one() -> None:
    names = [f"n{i:04d}" for i in range(EVENTS_MAX + 300)]
    world = World(project(*(asset(name) for name in names)), all_ready=True)
    world.run(0.1)
    starts = [effect for effect in world.effects if isinstance(effect, StartRun)]
    assert len(starts) == len(names)
    world.run(5)
    assert set(world.known().values()) == {"ready"}


def test_a_pair_without_a_sync_is_watched_only() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None)]), asset("b", "a")))
    world.run(60)
    assert world.events("asset.drifted", "a")[0].data["obstacle"] == "no_sync"
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    assert world.docs["b"]["state"] == "ready"
    assert world.counts("b") == (1, 1)


def test_on_upstream_names_the_sync_of_a_trigger() -> None:
    pairs = [pair("c0", sync="fix0"), pair("c1", sync="rebuild")]
    world = World(project(asset("a"), asset("b", "a", pairs=pairs, on_upstream="rebuild")), all_ready=True)
    world.run(10)
    head = world.head
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    assert [event.data["pair"] for event in world.events("sync.started", "b", head)] == [1]


def test_every_event_type_is_known_to_the_fold_and_no_other() -> None:
    state = empty("s")
    with pytest.raises(UnknownEvent):
        evolve(state, Event(1, "asset.painted", 0, "s", (1, 1)))
    quiet = sorted(TYPES - {kind for kind in TYPES if kind.split(".")[0] in _WITH_STATE})
    for kind in quiet:
        assert evolve(state, Event(1, kind, 0, "s", (1, 1))).head_seq == 1


_WITH_STATE = {"asset", "sync", "evaluation", "command", "tool", "resources", "workspace", "halt", "lock"}
