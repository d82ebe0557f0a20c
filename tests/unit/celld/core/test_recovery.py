"""Restart and take-over: what is open is found again, and nothing that was known or owed is lost."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from celld.core.decide import decide
from celld.core.state import Workspace
from setpoint.contracts.cell import (
    AttachRun,
    CancelRun,
    LockBusy,
    Materialize,
    Materialized,
    Owned,
    RecoverRun,
    Release,
    RunEnded,
    RunFound,
    RunRefused,
    StartRun,
    StepEnded,
    Tick,
)
from setpoint.contracts.run import Outcome, StepResult
from tests.sim.world import Fate, World, asset, fold, pair, project

CHAIN = (asset("a"), asset("b", "a"))


def syncing() -> World:
    """Return a world three seconds into the first sync of A."""
    world = World(project(*CHAIN))
    world.run(4)
    assert world.docs["a"]["state"] == "syncing"
    return world


def test_a_new_owner_asks_for_every_open_run_and_starts_no_other_of_that_asset() -> None:
    world = syncing()
    (run,) = world.state.executions.values()
    decision = decide(world.state, Owned("other"), world.now)
    assert decision.effects == (RecoverRun(run.id, run.at, 600.0),)
    assert [event.type for event in decision.events] == ["session.started"]


@pytest.mark.parametrize("orphan_timeout_s", [30.0, 21_600.0])
def test_a_new_owner_waits_for_the_orphan_timeout_of_the_sync_that_is_open(orphan_timeout_s: float) -> None:
    sync = pair().sync
    assert sync is not None
    patient = msgspec.structs.replace(pair(), sync=msgspec.structs.replace(sync, orphan_timeout_s=orphan_timeout_s))
    world = World(project(asset("a", pairs=[patient])))
    world.run(4)
    (run,) = world.state.executions.values()
    assert decide(world.state, Owned("other"), world.now).effects == (RecoverRun(run.id, run.at, orphan_timeout_s),)


def test_ready_assets_stay_ready_and_are_not_looked_at_again() -> None:
    world = World(project(*CHAIN), all_ready=True)
    world.run(20)
    head = world.head
    world.crash()
    world.run(600)
    assert world.types(after=head) == ["lease.acquired", "session.started"]


def test_timers_cooldowns_counters_and_triggers_survive() -> None:
    world = World(project(asset("a", interval=60), asset("b", "a")), all_ready=True)
    world.run(5)
    world.scripts["b"] = lambda world, label: False
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(25)
    before = world.docs["b"]
    assert (before["failures"], before["pending"]["sync"]) == (1, "direct")
    world.crash()
    world.run(1)
    assert world.state == fold(world.log)
    assert world.docs["b"] == before
    head = world.head
    world.run(120)
    assert world.counts("a", head) == (2, 0)
    assert world.counts("b", head)[1] == 2


@pytest.mark.parametrize("fate", ["running", "finished", "never_seen"])
def test_a_run_that_is_found_runs_once(fate: Fate) -> None:
    world = syncing()
    if fate == "finished":
        for run in world.runs.values():
            run.deaf = True
        world.run(30)
    world.crash(lambda execution_id: fate)
    world.run(60)
    assert world.counts("a") == (2, 1)
    assert set(world.known().values()) == {"ready"}
    assert world.types("a").count("run.adopted") == (fate == "running")


def test_a_run_that_a_close_asked_to_die_is_asked_again_by_the_next_owner() -> None:
    world = syncing()
    world.command("close")
    (run,) = fold(world.log).executions.values()
    decision = decide(fold(world.log), RunFound(run.id, "running"), world.now)
    assert decision.effects == (AttachRun(run.id, -1), CancelRun(run.id))
    never = decide(fold(world.log), RunFound(run.id, "never_seen"), world.now)
    assert "sync.cancelled" in [event.type for event in never.events]


def test_an_adopted_run_is_attached_after_its_last_committed_step() -> None:
    world = World(project(asset("a", pairs=[pair(stages="pre run post")])))
    world.run(6)
    (run,) = world.state.executions.values()
    assert run.last_step == 0
    decision = decide(world.state, RunFound(run.id, "running"), world.now)
    assert decision.effects == (AttachRun(run.id, 0),)
    finished = decide(world.state, RunFound(run.id, "finished"), world.now)
    assert finished.effects == (AttachRun(run.id, 0),)
    assert finished.events == ()


def test_a_run_that_was_never_seen_is_started_again_word_for_word_under_its_old_seq() -> None:
    world = syncing()
    (run,) = world.state.executions.values()
    (first,) = [effect for effect in world.effects if isinstance(effect, StartRun) and effect.execution_id == run.id]
    decision = decide(world.state, RunFound(run.id, "never_seen"), world.now)
    (again,) = decision.effects
    assert isinstance(again, StartRun)
    assert again.steps == first.steps
    assert (again.seq, again.execution_id) == (run.seq, first.execution_id)
    assert world.log[run.seq - 1].type == "sync.started"


@pytest.mark.parametrize("fate", ["interrupted", "lost"])
def test_a_drift_sync_of_unknown_outcome_is_evaluated_after_a_while(fate: Fate) -> None:
    world = syncing()
    head = world.head
    world.crash(lambda execution_id: fate)
    world.run(20)
    assert world.types("a", head) == ["run.interrupted", "sync.outcome_unknown"]
    assert world.docs["a"]["last_sync"]["outcome"] == "outcome_unknown"
    world.heal("a")
    world.run(30)
    assert world.counts("a", head) == (1, 0)
    assert world.docs["a"]["state"] == "ready"


def test_a_direct_trigger_outlives_the_unknown_outcome_of_its_sync() -> None:
    world = World(project(*CHAIN))
    world.run(15)
    assert world.docs["b"]["state"] == "syncing"
    head = world.head
    world.crash(lambda execution_id: "interrupted")
    world.run(5)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    world.run(60)
    assert world.counts("b", head) == (1, 1)


def test_a_manual_sync_of_unknown_outcome_ends_its_command_as_failed() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False)))
    world.run(5)
    command_id = world.command("sync", {"select": ["a"]})
    world.run(2)
    world.crash(lambda execution_id: "lost")
    world.run(2)
    (end,) = world.ends(command_id)
    assert end.type == "command.failed"
    assert end.data["result"]["assets"] == {"a": "outcome_unknown"}


def test_a_lost_evaluation_is_tried_again_at_once_and_then_with_back_off() -> None:
    world = World(project(asset("a")), all_ready=True)
    world.run(0.5)
    world.crash(lambda execution_id: "lost")
    world.run(0.2)
    (failed,) = world.events("evaluation.failed", "a")
    assert (failed.data["reason"], failed.data["n"]) == ("lost", 1)
    assert world.docs["a"]["state"] == "evaluating"
    world.crash(lambda execution_id: "lost")
    world.run(20)
    assert world.docs["a"]["state"] == "unknown"
    world.run(60)
    assert world.docs["a"]["state"] == "ready"
    assert len(world.events("evaluation.failed", "a")) == 2


def test_an_evaluate_outlives_an_evaluation_that_is_lost_once() -> None:
    world = World(project(asset("a")), all_ready=True)
    world.run(10)
    command_id = world.command("evaluate", {"select": ["a"]})
    world.crash(lambda execution_id: "lost")
    world.run(10)
    assert world.types("a").count("evaluation.failed") == 1
    assert [end.type for end in world.ends(command_id)] == ["command.succeeded"]


def test_a_verification_that_was_interrupted_is_made_up_for_and_the_sync_is_not_repeated() -> None:
    world = World(project(*CHAIN))
    world.run(11.5)
    assert world.docs["a"]["pending"]["verify"] is True
    world.crash(lambda execution_id: "interrupted")
    world.run(60)
    assert world.counts("a") == (2, 1)
    assert world.events("sync.outcome_unknown") == []
    assert world.counts("b") == (1, 1)


def test_a_verification_that_was_lost_is_repeated_in_full_even_below_a_blocked_upstream() -> None:
    upstream = asset("a", auto_sync_on_drift=False)
    world = World(project(upstream, asset("b", "a", pairs=[pair("c0", "c1")])), all_ready=True)
    world.run(20)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(5)
    world.evaluate_s["b"] = 10.0
    world.command("sync", {"select": ["b"]})
    world.run(17)
    head = world.head
    world.crash(lambda execution_id: "interrupted")
    world.run(30)
    assert world.known() == {"a": "drifted", "b": "ready"}
    (again,) = world.events("evaluation.started", "b", head)
    assert (again.data["why"], again.data["conditions"]) == ("verification", ["c0", "c1"])
    assert [event.data["verified"] for event in world.events("sync.succeeded", "b", head)] == [True]


def test_a_tool_of_unknown_outcome_fails_and_is_not_repeated() -> None:
    world = World()
    command_id = world.command("tool", {"name": "exec", "args": {"argv": ["date"]}})
    world.run(0.5)
    world.crash(lambda execution_id: "interrupted")
    world.run(5)
    assert [end.type for end in world.ends(command_id)] == ["command.failed"]
    assert world.types().count("tool.started") == world.types().count("tool.finished") == 1


def test_a_run_that_was_to_be_cancelled_is_cancelled_by_the_next_owner() -> None:
    world = syncing()
    (run,) = world.state.executions.values()
    decision = decide(world.state, RunFound(run.id, "running"), world.now)
    assert CancelRun(run.id) not in decision.effects
    for one in world.runs.values():
        one.deaf = True
    world.command("cancel", {"asset": "a"})
    decision = decide(world.state, RunFound(run.id, "running"), world.now)
    assert decision.effects == (AttachRun(run.id, -1), CancelRun(run.id))
    world.crash(lambda execution_id: "never_seen")
    world.run(5)
    assert world.types("a").count("sync.cancelled") == 1


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_a_run_that_ends_without_its_steps_is_of_unknown_outcome(outcome: Outcome) -> None:
    world = syncing()
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    world.feed(RunEnded(run.id, outcome))
    assert world.types("a")[-2:] == ["run.interrupted", "sync.outcome_unknown"]


def test_a_refused_sync_is_skipped_and_tried_again_later() -> None:
    world = syncing()
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    world.feed(RunRefused(run.id, "invalid", "no such workspace"))
    (skipped,) = world.events("sync.skipped", "a")
    assert skipped.data["reason"] == "refused"
    world.run(60)
    assert world.counts("a") == (3, 2)


def test_a_refused_evaluation_is_unknown_and_a_refused_tool_fails() -> None:
    world = World(project(asset("a")))
    (run,) = world.state.executions.values() if len(world.state.executions) else (None,)
    assert run is None
    world.run(0.5)
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    world.feed(RunRefused(run.id, "invalid", "x"))
    assert world.events("evaluation.failed", "a")[0].data["reason"] == "unknown"
    command_id = world.command("tool", {"name": "echo", "args": {"text": "x"}})
    tool = next(run for run in world.state.executions.values() if run.kind == "tool")
    world.runs[tool.id].over = True
    world.feed(RunRefused(tool.id, "missing-object", "x"))
    assert [end.type for end in world.ends(command_id)] == ["command.failed"]


def test_reports_that_come_twice_late_or_of_unknown_runs_change_nothing() -> None:
    world = World(project(*CHAIN))
    world.run(100)
    head = world.head
    for run in list(world.runs.values()):
        for result in run.results:
            world.feed(StepEnded(run.start.execution_id, result))
        world.feed(RunEnded(run.start.execution_id, "completed"))
        world.feed(RunFound(run.start.execution_id, "running"))
        world.feed(RunRefused(run.start.execution_id, "invalid", ""))
    world.feed(StepEnded("nobody", StepResult(0, "stage", "run", 0, 0, exit_code=0)))
    world.feed(Tick())
    assert world.head == head


def test_a_step_that_is_reported_twice_in_the_middle_of_its_run_changes_nothing() -> None:
    world = World(project(asset("a", pairs=[pair(stages="pre run post"), pair("c1", sync="other")])))
    for _ in range(60):
        world.run(0.25)
        reported = [(run.start.execution_id, r) for run in world.runs.values() if not run.over for r in run.results]
        head = world.head
        for execution_id, result in reported:
            world.feed(StepEnded(execution_id, result))
        assert world.head == head
    assert {event.data["name"] for event in world.events("sync.step_finished", "a")} == {"pre", "run", "post"}


def test_the_workspace_is_asked_for_again_by_a_new_owner() -> None:
    world = World()
    world.materialize_s = 3600.0
    world.apply(project(*CHAIN))
    assert decide(world.state, Owned("x"), world.now).effects == (Materialize(1, "f" * 64),)
    assert decide(world.state, Tick(), world.now).effects == ()


def test_a_closed_session_is_given_up_again() -> None:
    world = World()
    world.command("close")
    decision = decide(world.state, Owned("x"), world.now)
    assert (decision.events, decision.effects) == ((), (Release("close"),))


def test_a_lost_workspace_makes_what_was_learnt_in_it_stale() -> None:
    world = World(project(*CHAIN, asset("n", "b", auto_sync_on_drift=False)), all_ready=True)
    world.run(20)
    head = world.head
    world.place = ("sandbox-2", "ledger-2", 1)
    world.drift("a")
    world.apply(world.compiled)
    world.run(0.5)
    (lost,) = world.events("workspace.lost")
    assert lost.data["as_of_seq"] == 0
    assert world.docs["b"]["stale"] is True
    assert world.docs["b"]["state"] == "blocked"
    world.run(100)
    assert world.counts("a", head) == (2, 1)
    assert world.counts("b", head) == (1, 1)
    assert set(world.known().values()) == {"ready"}


def test_nothing_is_stale_of_an_asset_that_was_never_evaluated() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a")))
    world.run(20)
    world.place = ("sandbox-2", "ledger-2", 1)
    world.apply(world.compiled)
    world.run(0.5)
    assert len(world.events("workspace.lost")) == 1
    assert (world.docs["a"]["stale"], world.docs["b"]["stale"]) == (True, False)


def test_a_late_answer_from_a_workspace_that_was_left_changes_nothing() -> None:
    world = World(project(*CHAIN), all_ready=True)
    world.run(5)
    world.feed(Materialized(1, "sandbox-2", "ledger-2", 2))
    head = world.head
    world.feed(Materialized(1, "sandbox", "ledger", 1))
    assert world.types(after=head) == []
    assert world.state.workspace == Workspace(1, "sandbox-2", "ledger-2", 2)


def test_a_busy_lock_that_nothing_waits_for_any_more_changes_nothing() -> None:
    assert decide(World().state, LockBusy("x", "key", "holder"), 1).events == ()
