"""Locks: one holder at a time, tried again and given up, taken with the start alone and given back with the end."""

from __future__ import annotations

from celld.core.decide import decide
from setpoint.contracts.cell import LockChange, Owned, StartRun, Tick
from setpoint.contracts.resource.model import CompiledAsset
from tests.sim.world import SESSION, World, asset, fold, pair, project


def locked(name: str, *upstreams: str, key: str = "warehouse") -> CompiledAsset:
    return asset(name, *upstreams, pairs=[pair(lock=key)])


def drift(world: World, *names: str) -> int:
    """Let assets be found Drifted; return the seq before."""
    head = world.head
    for name in names:
        world.drift(name)
    world.command("evaluate", {"select": sorted(names)})
    return head


def test_the_lock_is_taken_with_the_start_and_given_back_with_the_end() -> None:
    world = World(project(locked("a")))
    world.run(5)
    (started,) = world.events("sync.started", "a")
    assert world.locks == {"warehouse": f"{SESSION}/{started.execution_id}"}
    world.run(20)
    assert world.locks == {}
    assert world.known() == {"a": "ready"}


def test_a_decision_that_takes_a_lock_holds_nothing_but_that_start() -> None:
    world = World(project(locked("a"), locked("b", key="other"), asset("c")))
    world.run(0.9)
    world.evaluate_s = {"a": 1.0, "b": 1.0, "c": 1.0}
    world.run(60)  # the world checks each decision
    assert [world.counts(name)[1] for name in "abc"] == [1, 1, 1]
    starts = {event.asset: event.at for event in world.events("sync.started")}
    assert starts["b"] - starts["c"] <= 3


def test_syncs_of_one_key_run_one_after_another_and_the_next_begins_at_once() -> None:
    world = World(project(*(locked(name) for name in "abc")))
    world.run(120)
    starts = [round(world.seconds(event)) for event in world.events("sync.started")]
    assert starts == [1, 12, 23]
    assert set(world.known().values()) == {"ready"}
    assert [(event.asset, event.data["attempt"]) for event in world.events("sync.waiting")] == [("b", 1), ("c", 1)]
    assert world.events("sync.waiting")[0].data["holder"].startswith(SESSION)


def test_a_lock_held_elsewhere_is_tried_again_and_then_the_sync_is_skipped() -> None:
    world = World(project(locked("a"), lock_retry_interval_s=20.0, lock_retry_max_attempts=3))
    world.hold("warehouse")
    world.run(30)
    assert world.docs["a"]["lock"]["attempt"] == 2
    assert world.docs["a"]["lock"]["holder"] == "other/execution"
    world.run(20)
    waits = [(event.data["attempt"], round(world.seconds(event))) for event in world.events("sync.waiting")]
    assert waits == [(1, 1), (2, 21)]
    (skipped,) = world.events("sync.skipped", "a")
    assert (skipped.data["reason"], skipped.data["key"], round(world.seconds(skipped))) == ("lock", "warehouse", 41)
    assert world.counts("a") == (1, 0)
    assert world.docs["a"]["lock"] is None


def test_after_a_skip_the_asset_is_evaluated_again_and_no_failure_is_counted() -> None:
    world = World(project(locked("a"), lock_retry_interval_s=20.0, lock_retry_max_attempts=1))
    world.hold("warehouse")
    world.run(20)
    assert world.types("a").count("sync.skipped") == 1
    assert world.docs["a"]["failures"] == 0
    world.run(90)
    assert world.types("a").count("sync.skipped") == 4  # every 30 s, with an evaluation before each
    world.foreign.clear()
    world.run(60)
    assert world.known() == {"a": "ready"}
    assert world.counts("a")[1] == 1


def test_a_trigger_is_kept_over_a_skip() -> None:
    world = World(project(asset("a"), locked("b", "a"), lock_retry_max_attempts=1), all_ready=True)
    world.run(10)
    world.hold("warehouse")
    head = drift(world, "a")
    world.run(20)
    assert [event.data["reason"] for event in world.events("sync.skipped", "b", head)] == ["lock"]
    assert world.docs["b"]["pending"]["sync"] == "direct"
    world.foreign.clear()
    world.run(60)
    assert world.counts("b", head)[1] == 1
    assert world.docs["b"]["pending"]["sync"] == "none"


def test_waiters_hold_no_slot() -> None:
    world = World(project(locked("a"), asset("b"), asset("c"), max_sync_concurrency=1))
    world.hold("warehouse")
    world.run(40)
    assert (world.known()["b"], world.known()["c"]) == ("ready", "ready")
    assert world.counts("a")[1] == 0


def test_a_limit_holds_for_locked_syncs_and_the_oldest_goes_first() -> None:
    world = World(project(locked("a"), asset("b"), locked("c", key="other"), max_sync_concurrency=1))
    for second in range(60):
        world.run(1)
        assert world.state.syncing <= 1, second
    assert [event.asset for event in world.events("sync.started")] == ["a", "b", "c"]


def test_a_manual_sync_that_does_not_get_its_lock_ends_its_command() -> None:
    world = World(project(locked("a"), lock_retry_max_attempts=1), all_ready=True)
    world.run(10)
    world.hold("warehouse")
    command = world.command("sync", {"select": ["a"]})
    world.run(5)
    (end,) = world.ends(command)
    assert (end.type, end.data["result"]["assets"]) == ("command.failed", {"a": "skipped"})


def test_a_manual_sync_tries_the_lock_in_the_very_decision_that_gave_the_drift_sync_up() -> None:
    world = World(project(locked("a"), locked("b"), lock_retry_interval_s=5.0, lock_retry_max_attempts=2))
    world.sync_s = {"a": 60.0}
    world.run(3)
    first = world.command("sync", {"select": ["b"]})
    second = world.command("sync", {"select": ["b"]})
    world.run(30)
    assert len(world.events("sync.skipped", "b")) == 3
    assert [world.ends(command)[0].type for command in (first, second)] == ["command.failed", "command.failed"]
    world.run(120)
    assert world.known() == {"a": "ready", "b": "ready"}


def test_a_cancelled_wait_and_a_halted_one_end_without_the_lock() -> None:
    world = World(project(locked("a"), locked("b")))
    world.hold("warehouse")
    world.run(5)
    world.command("cancel", {"asset": "a"})
    world.command("halt")
    world.run(2000)
    assert world.types("a").count("sync.cancelled") == 1
    assert [event.data["reason"] for event in world.events("sync.skipped", "b")] == ["halted"]
    assert world.state.lock_queues.get("warehouse") is None


def test_the_lock_follows_the_execution_over_a_new_owner() -> None:
    world = World(project(locked("a"), locked("b")))
    world.run(5)
    held = dict(world.locks)
    world.crash(lambda execution_id: "running")
    world.run(1)
    assert world.locks == held
    world.crash(lambda execution_id: "never_seen")
    world.run(0.5)
    assert [effect.seq > 0 for effect in world.effects if isinstance(effect, StartRun)][-1]
    world.run(120)
    assert world.locks == {}
    assert set(world.known().values()) == {"ready"}


def test_a_removed_asset_gives_its_lock_back_when_its_run_has_ended() -> None:
    world = World(project(locked("a")))
    world.run(5)
    assert world.locks
    world.apply(project(asset("b")))
    world.run(5)
    assert world.locks == {}


def test_a_start_that_takes_a_lock_names_it_in_the_decision() -> None:
    world = World(project(locked("a")))
    world.run(5)
    (started,) = world.events("sync.started", "a")
    assert world.state.locks.get("warehouse") == started.execution_id
    again = decide(world.state, Owned("h2"), world.now)
    assert (again.takes, again.gives) == ((), ())
    run = world.runs[started.execution_id or ""]
    world.state = fold(world.log[: started.seq - 1])
    taking = decide(world.state, Tick(), started.at)
    assert taking.takes == (LockChange("warehouse", run.start.execution_id),)
    assert [event.type for event in taking.events] == ["sync.started"]


def test_a_start_names_for_how_long_its_lock_may_not_be_broken() -> None:
    world = World(project(asset("a", pairs=[pair(lock="warehouse")]), lock_ttl_s=120.0))
    world.hold("warehouse")
    world.run(5)
    world.foreign.clear()
    waiting = world.state.assets["a"].sync
    assert waiting is not None
    decision = decide(world.state, Tick(), waiting.lock_at)
    assert [(change.key, change.ttl_s) for change in decision.takes] == [("warehouse", 120.0)]


def test_a_broken_lock_is_recorded_and_what_ran_under_it_goes_on_without_it() -> None:
    world = World(project(locked("a")))
    world.run(5)
    execution_id = world.break_lock("warehouse")
    (told,) = world.events("lock.broken", "a")
    assert told.execution_id == execution_id
    assert told.data == {"key": "warehouse", "by": "key 1", "reason": "stuck"}
    world.hold("warehouse")
    world.run(60)
    assert [event.type for event in world.log if event.execution_id == execution_id][-1] == "sync.succeeded"
    assert world.known() == {"a": "ready"}
    assert world.foreign == {"warehouse": "other/execution"}


def test_who_waits_for_a_broken_lock_in_the_same_session_begins_at_once() -> None:
    world = World(project(locked("a"), locked("b")))
    world.sync_s["a"] = 500
    world.run(20)
    assert [event.asset for event in world.events("sync.started")] == ["a"]
    world.break_lock("warehouse")
    world.run(1)
    assert [event.asset for event in world.events("sync.started")] == ["a", "b"]


def test_a_sync_that_never_began_does_not_begin_without_its_lock() -> None:
    world = World(project(locked("a")))
    world.run(5)
    world.break_lock("warehouse")
    world.crash(lambda execution_id: "never_seen")
    world.run(1)
    (skipped,) = world.events("sync.skipped", "a")
    assert (skipped.data["reason"], "cooldown_until" in skipped.data) == ("lock", True)
    world.run(120)
    assert world.counts("a")[1] == 2
    assert world.known() == {"a": "ready"}


def test_a_notice_that_comes_after_the_end_or_while_the_session_closes_takes_nothing() -> None:
    world = World(project(locked("a")))
    world.run(5)
    world.command("close")
    execution_id = world.break_lock("warehouse")
    world.run(5)
    assert world.state.closed
    assert [event.execution_id for event in world.events("lock.broken")] == [execution_id]
    again = World(project(locked("a")))
    again.run(5)
    over = again.state.locks["warehouse"]
    again.run(60)
    again.command("lock_broken", {"key": "warehouse", "execution_id": over})
    assert again.locks == {}
    assert [event.asset for event in again.events("lock.broken")] == [None]
