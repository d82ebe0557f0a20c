"""What is owed and what becomes of it: propagation, triggers that merge or wait, retries, and documented surprises."""

from __future__ import annotations

import pytest

from setpoint.contracts.cell import StepEnded
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.resource.model import CompiledAsset
from setpoint.contracts.run import StepResult
from tests.sim.world import World, asset, pair, project

HOUR = 3600.0


def ready(*assets: CompiledAsset, **settings: float) -> World:
    """Return a world in which all was found Ready."""
    world = World(project(*assets, **settings), all_ready=True)
    world.run(30)
    return world


def heal(world: World, name: str) -> int:
    """Let an asset drift and be found so; return the seq before. Its own sync then heals it."""
    head = world.head
    world.drift(name)
    world.command("evaluate", {"select": [name]})
    return head


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ((True, True), "ready"),
        ((True, False), "drifted"),
        ((False, "timeout"), "drifted"),
        ((True, "timeout"), "not_evaluated"),
    ],
)
def test_conditions_are_anded_and_drift_outweighs_unknown(states: tuple[bool | str, ...], verdict: str) -> None:
    """Of one Conditions resource or of two: any Drifted, else any Unknown (no verdict), else Ready."""
    for pairs in ([pair("c0", "c1", sync=None)], [pair("c0", sync=None), pair("c1", sync=None)]):
        world = World(project(asset("a", pairs=pairs)))
        for name, holds in zip(("c0", "c1"), states, strict=True):
            world.truth["a", name] = holds
        world.run(5)
        assert world.known() == {"a": verdict}


def test_the_result_has_the_shape_of_the_seed() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None)])))
    world.run(5)
    found = dict(world.docs["a"]["last_evaluation"])
    assert found.pop("at")
    assert found.pop("evaluationId") == world.events("evaluation.completed", "a")[0].execution_id
    reason = "'test' exited with code 1"
    status = {"state": "drifted", "reason": reason}
    condition = {"conditionName": "c", "conditionType": "Command", "status": status}
    assert found == {"assetName": "a", "ready": False, "conditions": [condition]}


def test_ready_after_drift_propagates_whoever_healed_it() -> None:
    world = ready(asset("a", auto_sync_on_drift=False), asset("b", "a"))
    head = heal(world, "a")
    world.run(10)
    assert world.counts("b", head) == (0, 0)
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    assert world.counts("b", head) == (1, 1)


def test_ready_again_by_a_timer_propagates_nothing() -> None:
    world = ready(asset("a", interval=60), asset("b", "a"))
    head = world.head
    world.run(600)
    assert world.counts("a", head)[0] >= 9
    assert world.counts("b", head) == (0, 0)


def test_the_first_attempt_for_a_trigger_is_not_gated() -> None:
    world = ready(asset("a"), asset("b", auto_sync_on_drift=False), asset("x", "a", "b"))
    heal(world, "b")
    world.run(5)
    head = heal(world, "a")
    world.run(60)
    assert world.known()["b"] == "drifted"
    assert world.counts("x", head) == (1, 1)


def test_nor_is_the_look_for_a_trigger_of_an_asset_that_may_not_sync() -> None:
    world = ready(asset("a"), asset("u", auto_sync_on_drift=False), asset("b", "a", "u", auto_sync_on_drift=False))
    heal(world, "u")
    world.run(5)
    head = heal(world, "a")
    world.run(60)
    assert world.known()["u"] == "drifted"
    assert world.counts("b", head) == (1, 0)


def test_a_trigger_that_merged_into_a_sync_of_unknown_outcome_is_still_a_first_attempt() -> None:
    """A retry would wait for the other upstream, which stays Drifted."""
    world = ready(asset("a"), asset("u", auto_sync_on_drift=False), asset("x", "a", "u"))
    world.sync_s["x"] = 100.0
    heal(world, "u")
    world.run(5)
    world.command("sync", {"select": ["x"]})
    world.run(2)
    head = heal(world, "a")
    world.run(20)
    merged = world.state.assets["x"].direct
    assert merged is not None and merged.merged
    world.crash(lambda execution_id: "lost")
    world.run(60)
    assert world.known()["u"] == "drifted"
    assert world.types("x", head)[:4] == ["run.interrupted", "sync.outcome_unknown", "sync.requested", "sync.started"]
    assert world.events("sync.started", "x")[-1].data["kind"] == "direct"


def test_a_new_trigger_makes_a_retry_a_first_attempt_again_and_the_cooldown_holds() -> None:
    world = ready(asset("a"), asset("b"), asset("x", "a", "b"), cooldown_initial_s=300.0)
    world.scripts["x"] = lambda world, label: False
    world.sync_s["b"] = 100.0
    heal(world, "a")
    world.run(30)
    first = world.state.assets["x"].direct
    assert first is not None and first.retry
    head = heal(world, "b")
    world.run(120)
    again = world.state.assets["x"].direct
    assert again is not None and not again.retry
    assert world.counts("x", head) == (0, 0)
    world.run(300)
    assert world.counts("x", head)[1] == 1


def test_a_cancelled_sync_spends_the_trigger_it_took_and_not_one_that_came_meanwhile() -> None:
    world = ready(asset("a"), asset("b"), asset("x", "a", "b"))
    world.sync_s["x"] = 200.0
    heal(world, "a")
    world.run(30)
    world.command("cancel", {"asset": "x"})
    world.run(2)
    assert world.docs["x"]["pending"]["sync"] == "none"
    world.run(60)
    heal(world, "a")
    world.run(30)
    heal(world, "b")
    world.run(30)
    world.command("cancel", {"asset": "x"})
    world.run(2)
    assert world.docs["x"]["pending"]["sync"] == "direct"


def test_what_an_asset_owes_goes_with_it_when_it_is_retired() -> None:
    world = ready(asset("a"), asset("b", "a"))
    world.command("suspend", {"select": ["b"]})
    heal(world, "a")
    world.run(60)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    world.apply(project(asset("a")))
    world.run(5)
    world.apply(project(asset("a"), asset("b", "a")))
    world.run(60)
    assert world.docs["b"]["pending"] == {"look": False, "sync": "none", "verify": False}
    assert world.docs["b"]["suspended"] is None


def test_a_suspension_and_a_halt_say_who_why_and_since_when() -> None:
    world = ready(asset("a"))
    world.command("suspend", {"select": ["a"], "reason": "month end"})
    world.command("halt", {"reason": "an audit"})
    (suspended,), (halted,) = world.events("asset.suspended", "a"), world.events("halt.started")
    assert suspended.data == {"reason": "month end", "by": "user"}
    assert world.docs["a"]["suspended"] == {"reason": "month end", "since": rfc3339(suspended.at), "by": "user"}
    assert halted.data == {"reason": "an audit", "by": "user"}
    assert world.state.halted is not None and world.state.halted.since == halted.at


def test_each_attempt_is_an_execution_of_its_own() -> None:
    world = World(project(asset("a")))
    world.scripts["a"] = lambda world, label: False
    world.run(HOUR)
    started = [event.execution_id for event in world.events("sync.started", "a")]
    assert len(started) == 3 == len(set(started))
    assert world.events("sync.started", "a")[0].data["steps"] == [
        {"index": 0, "kind": "stage", "name": "run"},
        {"index": 1, "kind": "condition", "name": "c"},
    ]


def test_an_evaluation_of_an_older_generation_is_dropped() -> None:
    world = ready(asset("a"))
    world.evaluate_s["a"] = 30.0
    world.command("evaluate")
    world.run(5)
    (flight,) = [run for run in world.runs.values() if not run.over]
    head = world.head
    world.apply(project(asset("a", labels={"v": "2"})))
    assert [event.data["reason"] for event in world.events("evaluation.failed", "a", head)] == ["superseded"]
    late = StepResult(0, "condition", "c", 0, 0, exit_code=1)
    world.feed(StepEnded(flight.start.execution_id, late))
    assert world.known() == {"a": "ready"}
    world.run(60)
    assert world.counts("a", head) == (1, 0)


def test_a_verification_that_is_unknown_decides_nothing_yet() -> None:
    pairs = [pair("c0", "c1", sync="fix", interval=60)]
    world = ready(asset("a", pairs=pairs))
    world.drift("a", "c0")

    def unsure(world: World, label: str) -> bool:
        world.truth["a", "c0"], world.truth["a", "c1"] = "timeout", "timeout"
        return True

    world.scripts["a"] = unsure
    world.run(75)
    assert world.docs["a"]["pending"]["verify"] is True
    assert (world.docs["a"]["failures"], world.docs["a"]["suspended"]) == (0, None)
    assert world.events("sync.succeeded", "a") == world.events("sync.failed", "a") == []
    world.truth["a", "c0"], world.truth["a", "c1"] = True, False
    world.run(60)
    assert world.docs["a"]["suspended"] is None  # one held before and one does now
    assert [event.data["reason"] for event in world.events("sync.failed", "a")] == ["not_converged"]


def test_any_other_ready_that_owes_nothing_resets_the_counters() -> None:
    world = ready(asset("a"))
    world.scripts["a"] = lambda world, label: False
    world.command("sync", {"select": ["a"]})  # fails, and its verification finds Ready: that changes nothing
    world.run(30)
    assert world.docs["a"]["failures"] == 1
    world.command("evaluate")
    world.run(5)
    assert world.docs["a"]["failures"] == 0


def test_surprise_a_changed_sync_of_a_ready_asset_does_not_run() -> None:
    world = ready(asset("a", pairs=[pair("c", sync="old")]))
    head = world.head
    world.apply(project(asset("a", pairs=[pair("c", sync="new")])))
    world.run(60)
    assert world.counts("a", head) == (1, 0)


def test_surprise_a_flapping_upstream_syncs_what_is_below_it_each_time() -> None:
    world = ready(asset("a", auto_sync_on_drift=False), asset("b", "a"))
    head = world.head
    for _ in range(4):
        heal(world, "a")
        world.run(30)
        world.heal("a")
        world.command("evaluate", {"select": ["a"]})
        world.run(60)
    assert world.counts("b", head)[1] == 4


def test_surprise_what_the_guardrail_suspended_stays_so_when_its_upstream_heals() -> None:
    world = ready(asset("a"), asset("b", "a"))
    world.scripts["b"] = lambda world, label: False
    world.drift("b")
    world.command("evaluate", {"select": ["b"]})
    world.run(HOUR)
    assert world.docs["b"]["state"] == "suspended"
    del world.scripts["b"]
    head = heal(world, "a")
    world.run(HOUR)
    assert world.counts("b", head) == (1, 0)
    assert world.docs["b"]["suspended"]["by"] == "guardrail"
    world.command("resume", {"select": ["b"]})
    world.run(60)
    assert world.docs["b"]["state"] == "ready"


def test_surprise_a_failing_post_stage_holds_back_what_is_below() -> None:
    world = ready(asset("a", pairs=[pair("c", stages="run post")]), asset("b", "a"))

    def no_post(world: World, label: str) -> bool:
        if label.endswith("/run"):
            world.heal("a")
        return not label.endswith("/post")

    world.scripts["a"] = no_post
    head = world.head
    world.command("sync", {"select": ["a"]})
    world.run(60)
    assert world.known()["a"] == "ready"
    assert world.counts("b", head) == (0, 0)
