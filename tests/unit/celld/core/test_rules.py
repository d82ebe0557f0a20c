"""One test per rule whose absence was seen to break a session (the trace is in each docstring)."""

from __future__ import annotations

from msgspec.json import decode, encode
from msgspec.structs import replace

from setpoint.contracts.event import TYPES
from setpoint.contracts.resource.model import CompiledAsset
from tests.sim.world import World, asset, fold, pair, project

HOUR = 3600.0


def ready_world(*assets: CompiledAsset) -> World:
    """Return a world in which every asset was found Ready."""
    world = World(project(*assets), all_ready=True)
    world.run(30)
    assert set(world.known().values()) == {"ready"}
    return world


def heal(world: World, name: str) -> int:
    """Let an asset drift and be found so; return the seq before. Its own sync then heals it."""
    head = world.head
    world.drift(name)
    world.command("evaluate", {"select": [name]})
    return head


def test_r1_a_ready_verification_of_a_failed_sync_does_not_disarm_the_guardrail() -> None:
    """B's stage fails while its conditions hold: without the rule it syncs hundreds of times an hour."""
    world = ready_world(asset("a"), asset("b", "a"))
    world.scripts["b"] = lambda world, label: False
    head = heal(world, "a")
    world.run(HOUR)
    assert world.counts("b", head) == (3, 3)
    assert world.docs["b"]["state"] == "suspended"
    assert world.docs["b"]["pending"]["sync"] == "direct"


def test_r2_two_pairs_that_break_each_other_are_suspended() -> None:
    world = World(project(asset("a", pairs=[pair("c0", sync="fix0"), pair("c1", sync="fix1")])), all_ready=True)

    def break_other(world: World, label: str) -> bool:
        good, bad = ("c0", "c1") if label.startswith("fix0") else ("c1", "c0")
        world.truth["a", good], world.truth["a", bad] = True, False
        return True

    world.run(5)
    world.scripts["a"] = break_other
    world.drift("a", "c0")
    world.command("evaluate")
    world.run(HOUR)
    assert world.counts("a")[1] == 12
    assert [event.data["reason"] for event in world.events("sync.failed", "a")] == ["oscillating"] * 3
    assert world.docs["a"]["suspended"]["by"] == "guardrail"


def test_r4_a_kept_trigger_of_an_asset_that_may_not_sync_evaluates_it_once() -> None:
    world = ready_world(asset("a"), asset("b", "a", auto_sync_on_drift=False), asset("c", "b"))
    world.drift("b")
    head = heal(world, "a")
    world.run(HOUR)
    assert world.counts("b", head) == (1, 0)
    assert world.counts("c", head) == (0, 0)
    assert world.docs["b"]["pending"]["sync"] == "direct"


def test_r4_a_trigger_goes_on_through_an_asset_that_may_not_sync_when_it_is_ready() -> None:
    world = ready_world(asset("a"), asset("b", "a", auto_sync_on_drift=False), asset("c", "b"))
    head = heal(world, "a")
    world.run(HOUR)
    assert world.counts("b", head) == (1, 0)
    assert world.counts("c", head) == (1, 1)
    assert world.docs["b"]["pending"]["sync"] == "none"


def test_r5_a_drifted_asset_that_may_not_sync_is_looked_at_once() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False)))
    world.run(HOUR)
    assert world.counts("a") == (1, 0)


def test_r7_an_evaluation_for_a_trigger_runs_every_condition() -> None:
    """A breaks B, which has no interval: an evaluation of what is due would run nothing and forward to C."""
    world = ready_world(asset("a"), asset("b", "a", auto_sync_on_drift=False), asset("c", "b"))
    world.drift("b")
    head = heal(world, "a")
    world.run(60)
    assert world.events("evaluation.started", "b", head)[0].data["conditions"] == ["c"]
    assert world.known()["b"] == "drifted"
    assert world.counts("c", head) == (0, 0)


def test_r7_also_when_only_some_conditions_did_not_hold_before() -> None:
    pairs = [pair("flaky"), pair("sound", sync="other")]
    world = ready_world(asset("a"), asset("b", "a", pairs=pairs, auto_sync_on_drift=False))
    world.truth["b", "flaky"] = "timeout"
    world.command("evaluate", {"select": ["b"]})
    world.run(2)
    head = heal(world, "a")
    world.run(15)
    assert world.events("evaluation.started", "b", head)[0].data["conditions"] == ["flaky", "sound"]


def test_r8_a_fan_in_asset_does_not_suspend_itself_while_an_upstream_heals() -> None:
    world = ready_world(asset("a"), asset("b"), asset("x", "a", "b"))
    world.sync_s["b"] = 600.0

    def needs_b(world: World, label: str) -> bool:
        if world.known()["b"] == "ready":
            world.heal("x")
            return True
        return False

    world.scripts["x"] = needs_b
    head = heal(world, "a")
    heal(world, "b")
    world.drift("x")
    world.run(2 * HOUR)
    assert world.counts("x", head) == (2, 2)
    assert world.docs["x"]["state"] == "ready"


def test_r9_a_waiting_trigger_does_not_swallow_the_initial_evaluation() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False)))
    world.run(5)
    world.command("halt")
    world.apply(project(asset("a", auto_sync_on_drift=False), asset("b", "a")))
    world.run(5)
    world.command("sync", {"select": ["a"]})
    world.run(60)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    assert world.counts("b") == (1, 0)
    world.command("unhalt")
    world.run(60)
    assert world.docs["b"]["state"] == "ready"
    assert world.counts("b")[1] == 1


def test_r10_what_is_to_be_looked_at_synced_and_verified_is_kept_apart() -> None:
    """One slot for the three would lose one of them: here all three are owed at once, and each is served."""
    world = ready_world(asset("a"), asset("b", "a"))
    world.truth["b", "c"] = "timeout"
    world.scripts["b"] = lambda world, label: True
    heal(world, "a")
    world.run(20)
    world.command("halt")
    world.drift("a")
    world.command("sync", {"select": ["a"]})
    world.run(15)
    head = world.head
    world.command("evaluate", {"select": ["b"]})
    assert world.docs["b"]["pending"] == {"look": True, "sync": "direct", "verify": True}
    world.truth["b", "c"] = True
    world.run(3)
    assert world.events("evaluation.completed", "b", head)[0].data["why"] == "command"
    assert world.docs["b"]["pending"] == {"look": False, "sync": "direct", "verify": False}
    world.command("unhalt")
    world.run(60)
    assert world.counts("b", head) == (2, 1)
    assert world.docs["b"]["pending"]["sync"] == "none"


def test_r11_a_tick_that_fell_into_a_block_is_made_up_for_when_the_asset_is_clear() -> None:
    day = 86_400.0
    world = ready_world(asset("a"), asset("b", "a", interval=day))
    world.at(80_000, lambda: world.drift("b"))
    world.run(day - 60)
    world.evaluate_s["a"] = 60.0  # A is stale across B's tick, and comes back Ready: that propagates nothing
    world.apply(project(asset("a", labels={"v": "2"}), asset("b", "a", interval=day)))
    world.run(45)
    assert [event.data["by"] for event in world.events("asset.blocked", "b")] == [["a"]]
    assert world.docs["b"]["state"] == "blocked"
    world.run(60)
    assert world.types("b").count("asset.unblocked") == 1
    assert world.counts("b")[1] == 1
    assert world.docs["b"]["state"] == "ready"


def test_r12_an_evaluation_in_flight_is_superseded_by_a_sync_and_propagates_nothing() -> None:
    world = ready_world(asset("a"), asset("b", "a"), asset("c", "b"))
    world.sync_s["b"] = 60.0
    world.evaluate_s["b"] = 30.0
    head = heal(world, "a")
    world.at(5, lambda: world.command("evaluate", {"select": ["b"]}))
    world.run(300)
    assert [event.data["reason"] for event in world.events("evaluation.failed", "b", head)] == ["superseded"]
    assert world.counts("c", head) == (1, 1)


def test_r13_a_trigger_does_not_merge_into_the_sync_of_another_pair() -> None:
    pairs = [pair("built", sync="rebuild"), pair("clean", sync="repair")]
    world = ready_world(asset("a"), asset("b", "a", pairs=pairs))
    world.sync_s["b"] = 60.0
    head = world.head
    world.drift("b", "clean")
    world.command("evaluate", {"select": ["b"]})
    world.run(5)
    heal(world, "a")
    world.run(300)
    synced = [event.data["pair"] for event in world.events("sync.started", "b", head)]
    assert synced == [1, 0]


def test_a_trigger_merges_into_a_drift_sync_that_is_the_one_it_asks_for() -> None:
    world = ready_world(asset("a"), asset("b", "a"))
    world.sync_s["b"] = 60.0
    head = world.head
    world.drift("b")
    world.command("evaluate", {"select": ["b"]})
    world.run(5)
    heal(world, "a")
    world.run(200)
    assert world.counts("b", head) == (2, 1)


def test_a_trigger_that_comes_during_the_verification_is_a_sync_of_its_own() -> None:
    world = ready_world(asset("a"), asset("b", "a"))
    world.evaluate_s["b"] = 60.0
    head = world.head
    world.command("sync", {"select": ["b"]})
    world.run(12)
    assert world.docs["b"]["pending"]["verify"] is True
    heal(world, "a")
    world.run(300)
    assert world.counts("b", head)[1] == 2


def test_a_trigger_that_merged_into_a_sync_that_failed_stays_owed_as_a_first_attempt() -> None:
    world = ready_world(asset("a"), asset("b"), asset("x", "a", "b"))
    world.sync_s.update(x=60.0, b=20.0)
    world.scripts["x"] = lambda world, label: False
    heal(world, "a")
    heal(world, "b")
    world.run(80)
    assert world.state.assets["x"].direct is not None
    assert world.state.assets["x"].direct.retry is False
    assert world.docs["x"]["failures"] == 1


def test_r13_a_failed_manual_sync_gives_the_trigger_back() -> None:
    world = ready_world(asset("a"), asset("b", "a"))
    world.command("halt")
    head = world.head
    world.drift("a")
    world.command("sync", {"select": ["a"]})
    world.run(60)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    world.scripts["b"] = lambda world, label: False
    world.command("sync", {"select": ["b"]})
    world.run(60)
    assert world.events("sync.requested", "b", head)[0].data["takes_direct"] is True
    assert world.docs["b"]["pending"]["sync"] == "direct"


def test_r14_a_suspended_asset_hands_the_trigger_on_and_keeps_its_own() -> None:
    world = ready_world(asset("a"), asset("b", "a"), asset("c", "b"))
    world.command("suspend", {"select": ["b"], "reason": "by hand"})
    head = heal(world, "a")
    world.run(60)
    assert world.counts("b", head) == (1, 0)
    assert world.counts("c", head) == (1, 1)
    world.command("resume", {"select": ["b"]})
    world.run(60)
    assert world.counts("b", head) == (2, 1)


def test_r15_an_unknown_condition_does_not_stop_the_healing_of_a_pair_above_it() -> None:
    world = ready_world(asset("a", pairs=[pair("c0", sync="fix0", interval=60), pair("c1", sync="fix1")]))
    world.truth["a", "c1"] = "timeout"
    world.drift("a", "c0")
    world.command("evaluate")  # looks at both: a timer would leave c1 as it was known
    world.run(10)
    assert world.counts("a")[1] == 1
    world.run(10)
    assert world.truth["a", "c0"] is True


def test_r15_an_unknown_condition_above_holds_back_the_pairs_below_it() -> None:
    world = ready_world(asset("a", pairs=[pair("c0", sync="fix0"), pair("c1", sync="fix1", interval=60)]))
    head = world.head
    world.truth["a", "c0"] = "timeout"
    world.drift("a", "c1")
    world.command("evaluate")
    world.run(10)
    assert world.events("asset.drifted", "a", head)[0].data == {"pair": 1, "obstacle": "unknown_above"}
    assert world.counts("a", head)[1] == 0
    world.truth["a", "c0"] = True
    world.run(120)
    assert world.counts("a", head)[1] == 1


def test_r16_a_sync_is_not_blamed_for_drift_that_nobody_had_seen() -> None:
    world = ready_world(
        asset("a", pairs=[pair("c0", sync="fix0", interval=60), pair("c1", sync="fix1", interval=7200)])
    )
    world.drift("a", "c1")
    world.drift("a", "c0")
    tries = iter(("in vain", "good", "good"))

    def late(world: World, label: str) -> bool:
        if next(tries) == "good":
            world.heal("a", label.removesuffix("/run"))
        return True

    world.scripts["a"] = late
    world.run(600)
    assert world.docs["a"]["state"] == "ready"
    assert world.events("asset.suspended") == []


def test_r17_an_unknown_outcome_waits_before_the_next_attempt_and_is_no_failure() -> None:
    world = World(project(asset("a")))
    world.run(3)
    head = world.head
    world.crash(lambda execution_id: "interrupted")
    world.run(5)
    assert world.types("a", head)[:2] == ["run.interrupted", "sync.outcome_unknown"]
    assert world.counts("a", head) == (0, 0)
    world.run(40)
    assert world.events("evaluation.started", "a", head)[0].data["why"] == "cooldown"
    assert world.counts("a", head) == (2, 1)
    assert world.docs["a"]["failures"] == 0


def test_r18_a_verification_that_stays_unknown_does_not_hold_back_new_triggers() -> None:
    world = ready_world(asset("a"), asset("b", "a"))
    world.truth["b", "c"] = "timeout"
    world.scripts["b"] = lambda world, label: True
    head = heal(world, "a")
    world.run(100)
    assert world.counts("b", head)[1] == 1
    heal(world, "a")
    world.run(100)
    assert world.counts("b", head)[1] == 2
    first = world.events("sync.succeeded", "b", head)[0]
    assert first.data == {"verified": False}


def test_r19_a_changed_upstream_is_stale_so_that_a_change_does_not_race_down_the_chain() -> None:
    world = ready_world(asset("a"), asset("b", "a"))
    world.evaluate_s["a"] = 5.0
    head = world.head
    world.drift("a")
    world.drift("b")
    world.apply(project(asset("a", labels={"v": "2"}), asset("b", "a", labels={"v": "2"})))
    world.run(100)
    assert world.counts("b", head) == (1, 1)


def test_r20_the_events_of_the_closed_list_carry_all_that_the_fold_needs() -> None:
    """A log that went through JSON and back folds to the state that was decided by."""
    world = ready_world(asset("a", interval=60), asset("b", "a", pairs=[pair(interval=60, lock="k", cache_ttl_s=90.0)]))
    world.scripts["b"] = lambda world, label: False
    world.hold("k")
    heal(world, "a")
    world.run(2000)  # tried three times, 900 s apart, and skipped
    world.foreign.clear()
    world.run(600)
    world.scripts["a"] = lambda world, label: False
    heal(world, "a")
    world.run(600)
    world.truth["a", "c"] = "timeout"
    world.run(HOUR)
    carried = {
        "asset.ready": {"triggers"},
        "asset.blocked": {"look", "by"},
        "evaluation.completed": {"reused", "next_due"},
        "evaluation.failed": {"reason", "retry_at"},
        "sync.requested": {"kind", "pair", "takes_direct"},
        "sync.failed": {"reason", "k", "cooldown_until"},
        "sync.waiting": {"key", "holder", "attempt", "retry_at"},
        "sync.skipped": {"reason", "cooldown_until"},
    }
    for kind, fields in carried.items():
        found = world.events(kind)
        assert found, f"the world has no {kind}"
        assert all(fields <= event.data.keys() for event in found), kind
    log = [replace(event, data=decode(encode(event.data))) for event in world.log]
    assert {event.type for event in log} <= TYPES
    assert fold(log) == world.state
