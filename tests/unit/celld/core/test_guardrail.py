"""The guardrails: what counts as a failed sync, the waits between attempts, when an asset stops and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from celld.core.guardrail import cooldown_s, degraded
from celld.core.state import Result, Verdict
from setpoint.contracts.resource.model import CompiledAsset, Settings
from tests.sim.world import World, asset, pair, project


def in_vain(world: World, label: str) -> bool:
    """Be a stage that exits with 0 and changes nothing."""
    return True


def failing(world: World, label: str) -> bool:
    """Be a stage that fails."""
    return False


def drifted(script: Callable[[World, str], bool], *assets: CompiledAsset, **settings: Any) -> World:
    """Return a new world in which everything has drifted and A's sync is ``script``."""
    world = World(project(*(assets or (asset("a"),)), **settings))
    world.scripts["a"] = script
    return world


@pytest.mark.parametrize(("failures", "wait"), [(1, 30.0), (2, 60.0), (3, 120.0), (7, 1800.0), (5000, 1800.0)])
def test_each_failure_doubles_the_cooldown_up_to_the_longest(failures: int, wait: float) -> None:
    assert cooldown_s(Settings(), failures) == wait


def test_resume_forgets_a_failure_of_an_asset_that_is_not_suspended_yet() -> None:
    world = drifted(failing)
    world.run(20)
    assert (world.docs["a"]["failures"], world.docs["a"]["suspended"]) == (1, None)
    world.command("resume", {"select": ["a"]})
    assert (world.docs["a"]["failures"], world.docs["a"]["cooldown_until"]) == (0, None)
    assert [event.data for event in world.events("asset.resumed", "a")] == [{"by": "user"}]


def test_a_failed_stage_counts_and_the_next_attempt_waits_and_evaluates_first() -> None:
    world = drifted(failing)
    world.run(40)
    failed = world.events("sync.failed", "a")
    assert [(event.data["reason"], event.data["k"]) for event in failed] == [("stage", 1)]
    assert world.seconds(failed[0]) == 11.0
    assert world.counts("a") == (2, 1)
    world.run(3)
    second = world.events("evaluation.started", "a")[2]
    assert (second.data["why"], world.seconds(second)) == ("cooldown", 41.0)
    world.run(1)
    assert world.counts("a") == (3, 2)


def test_a_sync_that_leaves_its_pair_drifted_has_failed() -> None:
    world = drifted(in_vain)
    world.run(13)
    assert [event.data["reason"] for event in world.events("sync.failed")] == ["not_converged"]
    assert world.docs["a"]["failures"] == 1


def test_after_three_failures_in_a_row_the_asset_is_suspended_and_still_evaluated() -> None:
    world = drifted(in_vain, asset("a", interval=60))
    world.run(3600)
    assert world.counts("a")[1] == 3
    assert world.docs["a"]["state"] == "suspended"
    assert world.docs["a"]["suspended"]["reason"] == "3 consecutive sync failures"
    head = world.head
    world.run(300)
    assert world.counts("a", head)[0] >= 4


def test_the_number_of_failures_allowed_is_a_setting() -> None:
    world = drifted(in_vain, max_consecutive_sync_failures=1)
    world.run(20)
    assert world.counts("a")[1] == 1
    assert world.docs["a"]["state"] == "suspended"


def test_a_ready_asset_is_taken_out_of_its_suspension_by_itself() -> None:
    world = drifted(in_vain, asset("a", interval=60))
    world.run(3600)
    world.heal("a")
    world.run(70)
    assert [event.data["by"] for event in world.events("asset.resumed", "a")] == ["ready"]
    assert (world.docs["a"]["state"], world.docs["a"]["failures"]) == ("ready", 0)


def test_a_suspension_by_hand_is_lifted_by_resume_alone() -> None:
    world = World(project(asset("a", interval=60)), all_ready=True)
    world.run(5)
    world.command("suspend", {"select": ["a"], "reason": "migration"})
    world.drift("a")
    world.run(120)
    world.heal("a")
    world.run(120)
    assert world.docs["a"]["suspended"]["by"] == "user"
    assert world.counts("a")[1] == 0
    world.drift("a")
    world.command("resume", {"select": ["a"]})
    world.run(20)
    assert world.counts("a")[1] == 1
    assert world.docs["a"]["suspended"] is None


def test_fewer_conditions_after_a_drift_sync_suspend_at_once() -> None:
    world = World(project(asset("a", pairs=[pair("c0", "c1", interval=60)])), all_ready=True)

    def break_more(world: World, label: str) -> bool:
        world.truth["a", "c1"] = False
        return True

    world.run(5)
    world.scripts["a"] = break_more
    world.drift("a", "c0")
    world.command("evaluate")
    world.run(600)
    assert world.counts("a")[1] == 1
    assert world.events("asset.suspended", "a")[0].data["reason"].startswith("degraded")


def test_a_direct_sync_is_not_compared() -> None:
    world = World(project(asset("a"), asset("b", "a", pairs=[pair("c0", "c1")])), all_ready=True)
    world.run(5)

    def break_one(world: World, label: str) -> bool:
        world.truth["b", "c1"] = False
        return True

    world.scripts["b"] = break_one
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(30)
    assert world.events("asset.suspended", "b") == []
    assert world.events("sync.failed", "b")[0].data["reason"] == "not_converged"


def test_degraded_looks_at_what_the_evaluation_before_really_ran() -> None:
    pairs = [pair("c0", interval=60), pair("c1", sync="other")]
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.run(5)
    world.drift("a", "c0")
    world.drift("a", "c1")  # unseen: it has no timer
    world.run(80)
    assert world.events("asset.suspended") == []
    assert world.docs["a"]["state"] == "ready"


def test_degraded_compares_only_what_is_known_on_both_sides() -> None:
    def results(**states: Verdict) -> dict[str, Result]:
        return {name: Result(state, "", 1) for name, state in states.items()}

    assert degraded({"x": "ready", "y": "drifted"}, results(x="drifted", y="drifted"))
    assert not degraded({"x": "ready", "y": "drifted"}, results(x="drifted", y="ready"))
    assert not degraded({"x": "ready"}, results(x="unknown"))
    assert not degraded({"x": "unknown"}, results(x="drifted"))
    assert not degraded({"x": "ready"}, results(z="drifted"))


def test_the_next_pair_syncs_at_once_when_the_first_has_come_right() -> None:
    world = World(project(asset("a", pairs=[pair("c0", sync="fix0"), pair("c1", sync="fix1")])))
    world.run(30)
    assert [event.data["pair"] for event in world.events("sync.started", "a")] == [0, 1]
    assert world.counts("a") == (3, 2)
    assert world.events("sync.failed") == []


def test_a_retry_for_a_trigger_runs_the_sync_without_evaluating_first() -> None:
    world = World(project(asset("a"), asset("b", "a")), all_ready=True)
    world.run(5)
    world.scripts["b"] = failing
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(30)
    head = world.head
    world.run(30)
    assert world.types("b", head)[:2] == ["sync.requested", "sync.started"]
    assert world.events("sync.requested", "b", head)[0].data["kind"] == "direct"


def test_a_failed_manual_sync_counts() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False)))
    world.scripts["a"] = failing
    for _ in range(3):
        world.command("sync", {"select": ["a"]})
        world.run(20)
    assert world.docs["a"]["failures"] == 3
    assert world.docs["a"]["state"] == "suspended"


def test_some_stages_only_are_not_judged_by_the_verdict() -> None:
    world = World(project(asset("a", pairs=[pair(stages="pre run post")], auto_sync_on_drift=False)))
    world.run(5)
    world.command("sync", {"select": ["a"], "stages": ["pre"]})
    world.run(20)
    assert world.events("sync.failed") == []
    assert world.docs["a"]["last_sync"]["stages"] == [{"stage": "pre", "exitCode": 0}]


def test_a_failing_stage_skips_those_after_it_and_is_verified_like_a_good_one() -> None:
    world = drifted(lambda world, label: label != "fix/run", asset("a", pairs=[pair(stages="pre run post")]))
    world.run(13)
    steps = [(event.data["name"], event.data.get("error")) for event in world.events("sync.step_finished")]
    assert steps == [("pre", None), ("run", None), ("post", "skipped")]
    assert world.counts("a") == (2, 1)
