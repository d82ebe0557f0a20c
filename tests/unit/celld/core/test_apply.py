"""Apply: what a new generation disturbs, and what it leaves alone."""

from __future__ import annotations

import msgspec
import pytest

from celld.core.decide import decide
from setpoint.contracts.cell import CancelRun, Delivered, Materialize, RunEnded, RunFound
from setpoint.contracts.resource.model import CompiledAsset, encode
from tests.sim.world import World, asset, pair, project

CHAIN = (asset("a"), asset("b", "a"))


def ready() -> World:
    """Return a world in which a chain of two was found Ready."""
    world = World(project(*CHAIN), all_ready=True)
    world.run(20)
    return world


def test_the_same_project_disturbs_nothing() -> None:
    world = ready()
    head = world.head
    world.apply(project(*CHAIN))
    world.run(60)
    applied = world.events("resources.applied", after=head)[0].data
    assert (applied["generation"], applied["added"], applied["changed"], applied["removed"]) == (2, 0, 0, 0)
    assert world.types(after=head)[-1] == "command.succeeded"
    assert world.counts("a", head) == world.counts("b", head) == (0, 0)


def test_apply_evaluate_looks_at_every_asset() -> None:
    world = ready()
    head = world.head
    world.apply(project(*CHAIN), evaluate=True)
    world.run(60)
    assert world.counts("a", head) == world.counts("b", head) == (1, 0)


def test_a_changed_asset_is_looked_at_once_and_its_verdict_is_stale_until_then() -> None:
    world = ready()
    head = world.head
    world.apply(project(asset("a", labels={"v": "2"}), asset("b", "a")))
    assert world.docs["a"]["stale"] is True
    world.run(60)
    assert world.counts("a", head) == (1, 0)
    assert world.counts("b", head) == (0, 0)
    assert (world.docs["a"]["stale"], world.docs["a"]["generation"], world.docs["b"]["generation"]) == (False, 2, 1)


def test_a_new_asset_is_looked_at_once_and_a_removed_one_leaves() -> None:
    world = ready()
    world.apply(project(asset("a"), asset("n", "a")))
    world.run(20)
    assert sorted(world.docs) == ["a", "n"]
    assert [event.asset for event in world.events("asset.retired")] == ["b"]
    assert world.known()["n"] == "drifted" or world.known()["n"] == "ready"


def test_the_workspace_waits_until_nothing_runs_and_nothing_starts_meanwhile() -> None:
    world = World(project(*CHAIN))
    world.run(3)
    assert world.docs["a"]["state"] == "syncing"
    head = world.head
    changed = project(asset("a"), asset("b", "a"), asset("z"))
    applying = world.apply(changed)
    world.run(5)
    assert world.ends(applying) == []
    assert world.types("z", head) == []
    world.run(60)
    synced = world.events("sync.succeeded", "a", head)[0]
    stands = world.events("workspace.materialized", after=head)[0]
    assert synced.seq < stands.seq < world.events("evaluation.started", "z", head)[0].seq
    assert set(world.known().values()) == {"ready"}


def test_a_second_apply_before_the_workspace_stands_asks_for_the_newer_one() -> None:
    world = World()
    world.materialize_s = 5.0
    first = world.apply(project(asset("a")))
    second = world.apply(project(asset("a"), asset("b")))
    asked = [effect.generation for effect in world.effects if isinstance(effect, Materialize)]
    assert asked == [1, 2]
    world.run(60)
    assert [end.type for end in world.ends(first) + world.ends(second)] == ["command.succeeded"] * 2
    assert set(world.known().values()) == {"ready"}


def test_a_running_sync_finishes_on_its_generation_and_is_verified_by_the_new_one() -> None:
    world = World(project(asset("a")))
    world.run(5)
    head = world.head
    world.apply(project(asset("a", pairs=[pair("c"), pair("d", sync="fix-d")])))
    world.truth["a", "d"] = True
    world.run(60)
    assert [event.data["reason"] for event in world.events("evaluation.failed", "a", head)] == ["superseded"]
    verified = world.events("evaluation.started", "a", head)[1]
    assert sorted(verified.data["conditions"]) == ["c", "d"]
    assert world.counts("a", head) == (1, 0)
    assert world.events("sync.succeeded", "a", head)[0].data["verified"] is True


def test_a_sync_of_a_pair_that_is_gone_is_not_judged_by_it() -> None:
    world = World(project(asset("a")))
    world.scripts["a"] = lambda world, label: True
    world.run(5)
    world.apply(project(asset("a", pairs=[pair("c", sync="other")])))
    world.run(15)
    assert world.events("sync.failed", "a") == []


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_trigger_that_comes_while_a_sync_of_the_old_spec_runs_outlives_it(cancelled: bool) -> None:
    world = World(project(asset("a"), asset("b", "a")))
    world.sync_s["b"] = 100.0
    world.run(20)
    (old,) = world.events("sync.started", "b")
    world.command("sync", {"select": ["a"]})
    world.run(2)
    world.apply(project(asset("a"), asset("b", "a", labels={"v": "2"})))
    world.run(30)
    assert world.events("asset.ready", "a")[-1].seq > old.seq
    if cancelled:
        world.command("cancel", {"asset": "b"})
    world.run(400)
    assert [event.data["kind"] for event in world.events("sync.started", "b")] == ["direct", "direct"]


def test_a_removed_asset_takes_its_run_with_it() -> None:
    world = World(project(*CHAIN, asset("x")))
    world.run(5)
    world.apply(project(asset("x")))
    world.run(30)
    assert [event.data for event in world.events("sync.cancelled", "a")] == [{"reason": "retired"}]
    assert sorted(world.docs) == ["x"]
    assert not len(world.state.executions)


def test_a_change_resets_the_counters_and_lifts_a_guardrail_suspension_but_no_other() -> None:
    world = World(project(asset("a"), asset("m")))
    world.scripts["a"] = lambda world, label: True
    world.command("suspend", {"select": ["m"], "reason": "by hand"})
    world.run(600)
    assert world.docs["a"]["state"] == "suspended"
    world.scripts.clear()
    world.apply(project(asset("a", labels={"v": "2"}), asset("m", labels={"v": "2"})))
    world.run(60)
    assert (world.docs["a"]["state"], world.docs["a"]["failures"]) == ("ready", 0)
    assert world.docs["m"]["suspended"]["by"] == "user"


def test_an_asset_that_becomes_a_pass_through_forgets_its_verdict() -> None:
    world = World(project(asset("a"), asset("b", "a")))
    world.run(5)
    world.apply(project(asset("a", pairs=()), asset("b", "a")))
    world.run(60)
    assert world.docs["a"]["state"] == "ready"
    assert world.docs["b"]["state"] == "ready"
    assert len(world.events("sync.succeeded", "a")) == 1


def test_a_lost_verification_of_what_became_a_pass_through_ends_the_sync() -> None:
    world = World(project(asset("a"), asset("b", "a")))
    world.evaluate_s["a"] = 600.0
    world.command("sync", {"select": ["a"]})
    world.run(15)
    (run,) = world.state.executions.values()
    assert world.events("evaluation.started", "a")[-1].data["why"] == "verification"
    world.apply(project(asset("a", pairs=()), asset("b", "a")))
    world.runs[run.id].over = True
    world.feed(RunFound(run.id, "lost"))
    world.run(60)
    (ended,) = world.events("sync.succeeded", "a")
    assert (ended.execution_id, ended.data["verified"]) == (run.id, False)
    assert (world.docs["a"]["state"], world.docs["b"]["state"]) == ("ready", "ready")
    assert not world.state.commands


def test_an_asset_that_is_removed_while_its_sync_is_verified_leaves_nothing_behind() -> None:
    world = World(project(asset("a"), asset("x")))
    world.evaluate_s["a"] = 30.0
    world.run(45)
    (run,) = world.state.executions.values()
    assert world.events("evaluation.started", "a")[-1].data["why"] == "verification"
    head = world.head
    world.apply(project(asset("x")))
    assert world.types("a", head) == ["evaluation.failed", "sync.succeeded", "asset.retired"]
    assert world.events("sync.succeeded", "a")[0].data["verified"] is False
    assert CancelRun(run.id) in world.effects
    assert not len(world.state.executions)
    assert sorted(world.docs) == ["x"]


def test_a_block_of_the_old_spec_is_not_told_of_as_over_under_the_new_one() -> None:
    chain = (asset("a", auto_sync_on_drift=False), asset("b", "a", interval=60))
    world = World(project(*chain), all_ready=True)
    world.run(30)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(100)
    assert world.types("b")[-1] == "asset.blocked"
    head = world.head
    world.apply(project(chain[0], asset("b", "a", interval=60, labels={"v": "2"})))
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    assert "asset.unblocked" not in world.types("b", head)
    assert world.known() == {"a": "ready", "b": "ready"}


def test_an_evaluation_asked_for_is_over_for_an_asset_that_left_even_when_it_comes_back() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a")), all_ready=True)
    world.run(5)
    world.drift("a")
    world.evaluate_s["b"] = 600.0
    asked = world.command("evaluate", {})
    world.run(5)
    world.apply(project(asset("a", auto_sync_on_drift=False)))
    world.apply(project(asset("a", auto_sync_on_drift=False), asset("b", "a")))
    world.run(60)
    (end,) = world.ends(asked)
    assert (end.type, end.data["result"]["assets"]) == ("command.succeeded", {"a": "drifted", "b": "retired"})


def test_a_pass_through_hands_triggers_on_in_the_same_decision() -> None:
    world = World(project(asset("a"), asset("p", "a", pairs=()), asset("q", "p", pairs=()), asset("x", "q", "p")))
    world.run(60)
    assert world.events("asset.ready", "a")[0].data["triggers"] == ["x"]
    assert world.counts("x") == (1, 1)


def test_an_apply_without_its_resources_fails() -> None:
    world = ready()
    payload = {"generation": {"resources": "r", "files": "f"}}
    for attachment in (None, b"nonsense"):
        decision = decide(world.state, Delivered("x", 1, 9, "apply", payload, attachment), world.now)
        assert [event.type for event in decision.events] == ["command.accepted", "command.failed"]


def test_resources_are_counted_and_named_in_the_event() -> None:
    world = World()
    compiled = project(*CHAIN)
    world.apply(compiled)
    (applied,) = world.events("resources.applied")
    assert applied.data["added"] == 2
    assert applied.attachment == encode(compiled)


def on_change(name: str, *upstreams: str) -> CompiledAsset:
    return asset(name, *upstreams, auto_sync_on_change=True)


def test_when_only_files_changed_the_assets_that_asked_for_it_are_evaluated() -> None:
    world = World(project(on_change("a"), asset("b"), on_change("c", "b")), all_ready=True)
    world.run(10)
    head = world.head
    world.change_files()
    world.run(10)
    started = {event.asset: event.data["why"] for event in world.events("evaluation.started", after=head)}
    assert started == {"a": "change", "c": "change"}
    head = world.head
    (*_, last) = world.events("resources.applied")
    generation = {name: last.data[name] for name in ("resources", "files")}
    world.command("apply", {"generation": generation}, attachment=encode(world.compiled))
    world.run(10)
    assert "evaluation.started" not in world.types(after=head)


def test_a_look_at_changed_files_that_finds_drift_syncs() -> None:
    world = World(project(on_change("a")), all_ready=True)
    world.run(10)
    head = world.head
    world.drift("a")
    world.change_files()
    world.run(60)
    assert world.counts("a", head) == (2, 1)


def test_a_sync_on_the_old_files_does_not_answer_for_the_new_ones() -> None:
    """Its verification ran on the files of before: the asset is looked at again when the new ones are there."""
    world = World(project(on_change("a")), all_ready=True)
    world.run(10)
    world.command("sync", {"select": ["a"]})
    world.run(5)
    head = world.head
    world.change_files()
    world.run(60)
    whys = [(event.data["why"], event.data["generation"]) for event in world.events("evaluation.started", "a", head)]
    assert whys == [("verification", 1), ("change", 2)]


def test_a_blocked_asset_is_looked_at_for_changed_files_when_it_is_clear() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), on_change("b", "a")), all_ready=True)
    world.run(10)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(5)
    head = world.head
    world.change_files()
    world.run(5)
    assert world.counts("b", head) == (0, 0)
    assert world.docs["b"]["state"] == "blocked"
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(20)
    assert world.counts("b", head)[1] == 1


@pytest.mark.parametrize("report", [RunFound("", "lost"), RunFound("", "interrupted"), RunEnded("", "cancelled")])
def test_a_run_of_an_asset_that_was_removed_and_came_back_says_nothing_of_the_new_one(
    report: RunFound | RunEnded,
) -> None:
    world = World(project(asset("a"), asset("b")))
    world.run(5)
    (old,) = world.events("sync.started", "a")
    world.apply(project(asset("b")))
    world.apply(project(asset("a"), asset("b")))
    asked = world.command("sync", {"select": ["a"]})
    world.feed(msgspec.structs.replace(report, execution_id=old.execution_id))
    world.run(200)
    ends = [event.type for event in world.log if event.execution_id == old.execution_id and event.seq > old.seq]
    assert ends == ["sync.cancelled"]
    assert [event.type for event in world.ends(asked)] == ["command.succeeded"]
    assert world.known() == {"a": "ready", "b": "ready"}
    assert not len(world.state.executions)


def test_what_an_answered_evaluate_leaves_to_a_newer_generation_waits_for_the_assets_above() -> None:
    world = World(project(asset("a"), on_change("b", "a")), all_ready=True)
    world.run(20)
    world.drift("b")
    world.command("evaluate", {"select": ["b"]})
    world.run(2)
    assert world.docs["b"]["state"] == "syncing"
    command_id = world.command("evaluate", {"select": ["b"]})
    world.compiled = project(asset("a", pairs=[pair("c2")]), on_change("b", "a"))
    world.truth["a", "c2"] = True
    world.evaluate_s["a"] = 20.0
    head = world.head
    world.change_files()
    world.run(90)
    assert len(world.ends(command_id)) == 1
    (above,) = world.events("evaluation.completed", "a", head)
    verified, changed = world.events("evaluation.started", "b", head)
    assert (verified.data["why"], changed.data["why"]) == ("verification", "change")
    assert verified.seq < world.ends(command_id)[0].seq < above.seq < changed.seq
