"""Commands: each does what it says, waits for whom it must, and ends exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from celld.core.decide import decide
from setpoint.contracts.cell import Delivered, MaterializeFailed, Release, RunFound, StepEnded
from setpoint.contracts.limits import EVENTS_PER_DECISION_MAX
from setpoint.contracts.run import StepResult
from tests.sim.world import World, asset, pair, project

CHAIN = (asset("a"), asset("b", "a"), asset("c", "b"))


def ready(*assets: Any, **settings: Any) -> World:
    """Return a world in which all was found Ready."""
    world = World(project(*assets, **settings), all_ready=True)
    world.run(20)
    return world


def outcome(world: World, command_id: str) -> tuple[str, dict[str, Any]]:
    """Return how a command ended and its result; it must have ended exactly once, after it was accepted."""
    (end,) = world.ends(command_id)
    accepted = [event.seq for event in world.events("command.accepted") if event.command_id == command_id]
    assert len(accepted) == 1
    assert accepted[0] < end.seq
    return end.type.removeprefix("command."), end.data["result"]


def test_accepted_names_the_inbox_row() -> None:
    world = ready(*CHAIN)
    command_id = world.command("evaluate")
    (accepted,) = [event for event in world.events("command.accepted") if event.command_id == command_id]
    assert accepted.data == {"lane": 1, "inbox_seq": 2, "type": "evaluate", "payload": {}, "all": True}


def test_a_row_delivered_twice_is_taken_once() -> None:
    world = ready(*CHAIN)
    command_id = world.command("halt")
    head = world.head
    again = Delivered(command_id, 0, 2, "halt", {})
    world.feed(again)
    assert world.head == head


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        ("evaluate", {"select": ["aa"]}, "unknown-reference"),
        ("sync", {"select": ["z"]}, "unknown-reference"),
        ("suspend", {"select": ["z"]}, "unknown-reference"),
        ("cancel", {"asset": "a"}, "invalid-transition"),
        ("cancel", {"command_id": "0198c0de-0000-7000-8000-000000000009"}, "invalid-transition"),
        ("cancel", {}, "validation-failed"),
        ("plan", {}, "validation-failed"),
        ("evaluate", {"selekt": []}, "unknown-field"),
        ("tool", {"name": "echo", "args": {"text": "x" * 30_000}}, "payload-too-large"),
        ("sync", {"select": ["w"]}, "validation-failed"),
        ("sync", {"select": ["a"], "stages": ["post"]}, "validation-failed"),
    ],
)
def test_what_cannot_be_done_is_rejected(kind: str, payload: Any, code: str) -> None:
    world = ready(*CHAIN, asset("w", pairs=[pair("c", sync=None)]))
    how, result = outcome(world, world.command(kind, payload))
    assert (how, result["code"]) == ("rejected", code)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    world = ready(asset("greeting"), asset("farewell", "greeting"))
    _, result = outcome(world, world.command("evaluate", {"select": ["greting"]}))
    assert result["message"] == "there is no asset 'greting'; did you mean 'greeting'?"


def test_without_a_project_nothing_can_be_evaluated() -> None:
    world = World()
    assert outcome(world, world.command("evaluate"))[0] == "rejected"


def test_evaluate_ends_when_each_has_a_verdict() -> None:
    world = ready(*CHAIN, asset("p", "a", pairs=()))
    world.drift("b")
    command_id = world.command("evaluate")
    world.run(1.5)
    how, result = outcome(world, command_id)
    assert how == "succeeded"
    assert result["counts"] == {"ready": 3, "drifted": 1}
    assert result["message"] == "b: drifted"


@pytest.mark.parametrize("ending", ["cancelled", "lost"])
def test_evaluate_before_a_sync_that_ends_unverified_is_answered_even_below_a_blocked_one(ending: str) -> None:
    below = asset("b", "a", "c", upstream_policy="any")
    world = ready(asset("a", auto_sync_on_drift=False), asset("c"), asset("d"), below, max_sync_concurrency=1)
    for name in ("a", "d"):
        world.drift(name)
    world.command("sync", {"select": ["c"]})
    world.command("evaluate", {"select": ["a", "d"]})
    world.run(12)
    assert (world.docs["d"]["state"], world.events("sync.requested", "b")[0].data["kind"]) == ("syncing", "direct")
    world.drift("b")
    command_id = world.command("evaluate", {"select": ["b"]})
    world.run(10)
    assert len(world.events("sync.started", "b")) == 1
    if ending == "cancelled":
        world.command("cancel", {"asset": "b"})
    else:
        world.crash(lambda execution_id: "lost")
    world.run(60)
    assert len(world.events("sync.started", "b")) == 1
    assert outcome(world, command_id)[1]["assets"] == {"b": "drifted"}


def test_evaluate_of_what_cannot_be_evaluated_fails() -> None:
    world = ready(*CHAIN)
    world.truth["b", "c"] = "timeout"
    command_id = world.command("evaluate", {"select": ["b"]})
    world.run(2)
    assert outcome(world, command_id) == (
        "failed",
        {"counts": {"unknown": 1}, "assets": {"b": "unknown"}, "message": "b: unknown"},
    )


def test_evaluate_reaches_a_blocked_asset() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a")))
    world.run(5)
    command_id = world.command("evaluate", {"select": ["b"]})
    world.run(2)
    assert outcome(world, command_id)[1]["assets"] == {"b": "drifted"}
    assert world.docs["b"]["state"] == "blocked"
    assert world.docs["b"]["blocked_by"] == ["a"]


def test_evaluate_during_a_sync_is_answered_by_its_verification() -> None:
    world = World(project(asset("a")))
    world.run(5)
    command_id = world.command("evaluate", {"select": ["a"]})
    world.run(30)
    assert outcome(world, command_id)[1]["assets"] == {"a": "ready"}
    assert world.counts("a") == (2, 1)


def test_an_evaluation_that_began_before_does_not_answer() -> None:
    world = World(project(asset("a")), all_ready=True)
    world.run(0.5)
    command_id = world.command("evaluate", {"select": ["a"]})
    world.run(1)
    assert world.ends(command_id) == []
    world.run(1)
    assert outcome(world, command_id)[0] == "succeeded"
    assert world.counts("a") == (2, 0)


def test_sync_runs_the_selection_in_dependency_order_whatever_its_state() -> None:
    world = ready(*CHAIN)
    head = world.head
    command_id = world.command("sync", {"select": ["c", "a"]})
    world.run(60)
    assert outcome(world, command_id) == (
        "succeeded",
        {"counts": {"succeeded": 2}, "assets": {"c": "succeeded", "a": "succeeded"}},
    )
    started = [(event.asset, event.data["kind"]) for event in world.events("sync.started", after=head)]
    assert started[0] == ("a", "manual")
    a_ended = world.events("sync.succeeded", "a", head)[0]
    c_started = next(event for event in world.events("sync.started", "c", head) if event.data["kind"] == "manual")
    assert a_ended.seq < c_started.seq
    assert c_started.command_id == command_id


def test_a_manual_sync_takes_the_trigger_of_the_one_above() -> None:
    world = ready(*CHAIN)
    head = world.head
    world.command("sync", {"select": ["a", "b"]})
    world.run(60)
    assert world.counts("b", head) == (1, 1)


def test_below_a_failed_one_the_selection_is_left_out() -> None:
    world = ready(*CHAIN, asset("d"))
    world.scripts["a"] = lambda world, label: False
    command_id = world.command("sync", {"select": ["a", "c", "d"]})
    world.run(60)
    how, result = outcome(world, command_id)
    assert how == "failed"
    assert result["assets"] == {"a": "failed", "c": "left_out", "d": "succeeded"}


def test_a_manual_sync_ignores_halt_suspension_cooldown_and_the_gate() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a")))
    world.run(5)
    world.command("halt", {"reason": "night"})
    world.command("suspend", {"select": ["b"]})
    command_id = world.command("sync", {"select": ["b"]})
    world.run(20)
    assert outcome(world, command_id)[0] == "succeeded"
    assert world.docs["b"]["known"] == "ready"


def test_a_manual_sync_waits_for_the_one_that_runs() -> None:
    world = World(project(asset("a")))
    world.run(5)
    command_id = world.command("sync", {"select": ["a"]})
    world.run(30)
    assert outcome(world, command_id)[0] == "succeeded"
    assert world.counts("a") == (3, 2)


def test_work_commands_that_name_the_same_asset_wait_for_each_other_and_others_do_not() -> None:
    world = ready(*CHAIN, asset("d"))
    first = world.command("sync", {"select": ["a"]})
    second = world.command("evaluate", {"select": ["a", "b"]})
    third = world.command("evaluate", {"select": ["b"]})
    other = world.command("evaluate", {"select": ["d"]})
    world.run(2)
    assert outcome(world, other)[0] == "succeeded"
    assert world.ends(first) == world.ends(second) == world.ends(third) == []
    world.run(60)
    order = [world.ends(command_id)[0].seq for command_id in (first, second, third)]
    assert order == sorted(order)


def test_some_stages_only_run_these_and_do_not_propagate() -> None:
    world = ready(asset("a", pairs=[pair(stages="pre run post")]), asset("b", "a"))
    head = world.head
    world.command("sync", {"select": ["a"], "stages": ["pre", "post"]})
    world.run(30)
    steps = [step["name"] for step in world.events("sync.started", "a", head)[0].data["steps"]]
    assert steps == ["pre", "post", "c"]
    assert world.counts("b", head) == (0, 0)


def test_halt_stops_automatic_syncs_until_unhalt_and_then_looks_first() -> None:
    world = ready(asset("a", interval=60))
    world.command("halt", {"reason": "night"})
    head = world.head
    world.drift("a")
    world.run(200)
    assert world.counts("a", head) == (3, 0)
    assert world.events("sync.requested", "a", head) == []
    assert world.docs["a"]["pending"]["sync"] == "drift"
    world.heal("a")
    world.run(60)
    world.drift("a")
    world.run(60)
    head = world.head
    world.command("unhalt")
    world.run(1)
    assert world.events("evaluation.started", "a", head)[0].data["why"] == "unhalt"
    assert world.counts("a", head) == (1, 1)


def test_halt_does_not_stop_what_runs_and_keeps_triggers() -> None:
    world = World(project(*CHAIN))
    world.run(5)
    world.command("halt")
    world.command("halt")
    world.run(60)
    assert world.counts("a") == (2, 1)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    assert len(world.events("halt.started")) == 1
    world.command("unhalt")
    world.command("unhalt")
    world.run(60)
    assert len(world.events("halt.ended")) == 1
    assert world.docs["c"]["state"] == "ready"


def test_halt_takes_back_a_sync_that_waits_for_its_turn() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(3)
    assert world.docs["b"]["state"] == "syncing"
    world.command("halt")
    world.run(60)
    assert [event.data for event in world.events("sync.skipped", "b")] == [{"reason": "halted"}]
    assert world.counts("b")[1] == 0


def test_cancel_of_a_sync_may_end_before_it_and_the_trigger_is_spent() -> None:
    world = ready(*CHAIN)
    world.sync_s["b"] = 600.0
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(20)
    cancel = world.command("cancel", {"asset": "b"})
    assert outcome(world, cancel)[0] == "succeeded"
    assert world.events("sync.cancelled") == []
    world.run(1)
    assert len(world.events("sync.cancelled", "b")) == 1
    assert world.docs["b"]["pending"]["sync"] == "none"
    world.run(60)
    assert world.docs["b"]["state"] == "ready"


def test_cancel_of_a_sync_that_is_verified_ends_the_verification_too() -> None:
    world = ready(*CHAIN)
    world.evaluate_s["a"] = 600.0
    world.command("sync", {"select": ["a"]})
    world.run(15)
    assert world.docs["a"]["pending"]["verify"]
    world.command("cancel", {"asset": "a"})
    world.run(1)
    (started,) = world.events("evaluation.started", "a", world.events("sync.started", "a")[-1].seq)
    (failed,) = world.events("evaluation.failed", "a", started.seq)
    (cancelled,) = world.events("sync.cancelled", "a")
    assert (failed.execution_id, failed.data["reason"]) == (cancelled.execution_id, "superseded")
    assert failed.seq < cancelled.seq
    world.evaluate_s["a"] = 1.0
    world.run(60)
    assert world.docs["a"]["state"] == "ready"


def test_cancel_of_a_sync_command_ends_it_when_its_runs_have_died() -> None:
    world = ready(*CHAIN, asset("d"))
    command_id = world.command("sync", {"select": ["a", "d", "b"]})
    world.run(3)
    cancel = world.command("cancel", {"command_id": command_id})
    assert outcome(world, cancel)[0] == "succeeded"
    assert world.ends(command_id) == []
    world.run(5)
    assert outcome(world, command_id)[0] == "cancelled"
    assert {event.asset for event in world.events("sync.cancelled")} == {"a", "d"}
    assert world.events("sync.started", "b") == []


def test_cancel_of_a_waiting_command_and_of_an_evaluation() -> None:
    world = ready(*CHAIN)
    first = world.command("sync", {"select": ["a"]})
    waiting = world.command("evaluate", {"select": ["a"]})
    world.command("cancel", {"command_id": waiting})
    assert outcome(world, waiting)[0] == "cancelled"
    world.run(30)
    assert outcome(world, first)[0] == "succeeded"


def test_what_a_cancelled_evaluate_leaves_behind_waits_for_the_assets_above() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a"), max_evaluate_concurrency=1))
    world.run(5)
    assert world.docs["b"]["state"] == "blocked"
    world.evaluate_s["a"] = 10.0
    command_id = world.command("evaluate")
    world.run(1)
    world.command("cancel", {"command_id": command_id})
    head = world.head
    world.apply(project(asset("a", auto_sync_on_drift=False), asset("b", "a", pairs=[pair("c2")])))
    world.run(60)
    assert outcome(world, command_id)[0] == "cancelled"
    assert world.events("evaluation.started", "b", head) == []
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(60)
    assert world.docs["b"]["state"] == "ready", "nothing that was owed is lost"


def test_cancel_of_a_sync_that_was_only_requested() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(3)
    world.command("cancel", {"asset": "b"})
    assert len(world.events("sync.cancelled", "b")) == 1
    assert world.counts("b")[1] == 0


def test_cancel_of_a_tool() -> None:
    world = World()
    command_id = world.command("tool", {"name": "exec", "args": {"argv": ["sleep", "30"]}})
    world.run(0.5)
    world.command("cancel", {"command_id": command_id})
    world.run(1)
    assert outcome(world, command_id)[0] == "cancelled"


@pytest.mark.parametrize(
    ("asked", "how", "end"),
    [
        (True, {"exit_code": 0}, "succeeded"),
        (True, {"error": "cancelled"}, "cancelled"),
        (False, {"error": "cancelled"}, "failed"),
    ],
)
def test_a_tool_is_cancelled_when_that_was_asked_for_and_it_died_of_it(asked: bool, how: Any, end: str) -> None:
    world = World()
    command_id = world.command("tool", {"name": "exec", "args": {"argv": ["sleep", "30"]}})
    world.run(0.2)
    (run,) = world.state.executions.values()
    if asked:
        world.command("cancel", {"command_id": command_id})
    enforced = {"memory": "cgroup"}
    world.runs[run.id].over = True
    world.feed(StepEnded(run.id, StepResult(0, "tool", "exec", 0, 0, **how), enforced))
    assert outcome(world, command_id)[0] == end
    assert world.events("tool.finished")[0].data["enforced"] == enforced


def test_a_sync_that_is_cancelled_while_it_is_verified_ends_with_its_verification() -> None:
    world = ready(*CHAIN)
    world.evaluate_s["a"] = 30.0
    command_id = world.command("sync", {"select": ["a"]})
    world.run(15)
    head = world.head
    world.command("cancel", {"asset": "a"})
    world.run(2)
    assert world.types("a", head) == ["evaluation.failed", "sync.cancelled"]
    assert world.events("evaluation.failed", "a")[0].data["reason"] == "superseded"
    assert outcome(world, command_id)[0] == "failed"
    world.run(120)
    assert world.counts("a", head) == (1, 0)
    assert world.counts("b", head) == (0, 0)


def many() -> World:
    """Return a world with more assets than a decision may have events; their files are still being prepared."""
    world = World()
    world.materialize_s = 5.0
    names = (f"n{i:04d}" for i in range(EVENTS_PER_DECISION_MAX + 100))
    world.apply(project(*(asset(name, labels={"all": "yes"}) for name in names), max_sync_concurrency=1))
    return world


def test_a_sync_of_thousands_is_asked_for_in_several_decisions_whatever_comes_between() -> None:
    world = many()
    command_id = world.command("sync", {"select": ["label:all"]})
    assert 0 < len(world.events("sync.requested")) < EVENTS_PER_DECISION_MAX
    world.command("halt")
    world.run(0.1)
    assert len(world.events("sync.requested")) == EVENTS_PER_DECISION_MAX + 100
    assert not world.state.commands[command_id].more


def test_a_sync_of_thousands_that_wait_for_a_slot_is_cancelled_and_none_of_them_starts() -> None:
    world = many()
    command_id = world.command("sync", {"select": ["label:all"]})
    world.run(1)
    world.command("cancel", {"command_id": command_id})
    world.command("halt")
    world.run(1)
    assert outcome(world, command_id)[0] == "cancelled"
    assert len(world.events("sync.cancelled")) == EVENTS_PER_DECISION_MAX + 100
    assert world.state.requested.first() is None


def test_a_sync_whose_command_failed_before_it_could_start_does_not_run_later() -> None:
    world = ready(asset("a"), asset("b"))
    world.materialize_s = 600.0
    world.change_files()
    command_id = world.command("sync", {"select": ["a"]})
    world.feed(MaterializeFailed(2, "the disk is full"))
    assert outcome(world, command_id)[0] == "failed"
    world.materialize_s = 0.0
    head = world.head
    world.change_files()
    world.run(60)
    assert [event.data for event in world.events("sync.skipped", "a", head)] == [{"reason": "forsaken"}]
    assert world.counts("a", head) == (0, 0)
    again = world.command("sync", {"select": ["a"]})
    world.run(60)
    assert outcome(world, again)[0] == "succeeded"


def test_an_apply_cannot_be_cancelled() -> None:
    world = ready(*CHAIN)
    world.materialize_s = 5.0
    applying = world.apply(project(asset("a", labels={"v": "2"})))
    assert outcome(world, world.command("cancel", {"command_id": applying}))[0] == "rejected"
    world.run(10)
    assert outcome(world, applying) == ("succeeded", {"generation": 2})


def test_a_tool_without_a_project_gets_an_empty_workspace_first() -> None:
    world = World()
    command_id = world.command("tool", {"name": "echo", "args": {"text": "hello"}})
    world.run(2)
    how, result = outcome(world, command_id)
    assert how == "succeeded"
    assert (result["output"], result["exit_code"], result["truncated"]) == ("ok", 0, False)
    assert world.state.workspace is not None
    assert world.state.workspace.generation == 0
    again = world.command("tool", {"name": "echo", "args": {"text": "hello"}})
    world.run(2)
    assert outcome(world, again)[0] == "succeeded"
    assert world.types().count("workspace.materialized") == 1


def test_close_cancels_what_runs_and_then_gives_the_session_up() -> None:
    world = World(project(*CHAIN, asset("d", interval=5)))
    world.run(4)
    tool = world.command("tool", {"name": "exec", "args": {"argv": ["sleep", "9"]}})
    sync = world.command("sync", {"select": ["b"]})
    close = world.command("close")
    assert outcome(world, tool)[0] == outcome(world, sync)[0] == "cancelled"
    assert world.ends(close) == []
    late = world.command("evaluate")
    assert outcome(world, late)[0] == "rejected"
    world.run(2)
    assert outcome(world, close)[0] == "succeeded"
    assert world.released == ["close"]
    assert not len(world.state.executions)
    later = Delivered("0198c0de-0000-7000-8000-200000000000", 1, 99, "evaluate", {})
    assert Release("close") in decide(world.state, later, world.now).effects


def test_close_ends_an_evaluation_that_runs() -> None:
    world = World(project(asset("a")))
    world.evaluate_s["a"] = 600.0
    world.run(1)
    close = world.command("close")
    world.run(2)
    assert [event.data["reason"] for event in world.events("evaluation.failed", "a")] == ["superseded"]
    assert outcome(world, close)[0] == "succeeded"
    assert not len(world.state.executions)


def test_close_ends_a_sync_whose_verification_was_lost() -> None:
    world = ready(asset("a"))
    world.evaluate_s["a"] = 600.0
    world.command("sync", {"select": ["a"]})
    world.run(15)
    close = world.command("close")
    (run,) = world.state.executions.values()
    world.runs[run.id].over = True
    world.feed(RunFound(run.id, "interrupted"))
    assert outcome(world, close)[0] == "succeeded"
    started = world.events("sync.started", "a")[-1]
    (ended,) = world.events("sync.succeeded", "a", started.seq)
    assert (ended.execution_id, ended.data["verified"]) == (started.execution_id, False)
    assert world.released == ["close"]


def test_close_ends_syncs_that_were_only_requested() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(3)
    assert world.state.requested.first() is not None
    close = world.command("close")
    world.run(2)
    assert outcome(world, close)[0] == "succeeded"
    assert len(world.events("sync.requested")) == 2
    assert [event.data["reason"] for event in world.events("sync.skipped")] == ["closing"]


def test_close_of_an_idle_session_ends_at_once() -> None:
    world = World()
    assert outcome(world, world.command("close"))[0] == "succeeded"
    assert world.released == ["close"]


def test_a_workspace_that_cannot_be_prepared_fails_what_waits_for_it() -> None:
    world = World()
    world.materialize_s = 3600.0
    applying = world.apply(project(*CHAIN))
    evaluating = world.command("evaluate")
    world.feed(MaterializeFailed(1, "an object is missing"))
    assert outcome(world, applying)[0] == outcome(world, evaluating)[0] == "failed"
    assert outcome(world, world.command("sync", {"select": ["a"]}))[0] == "rejected"
    world.materialize_s = 0.0
    assert world.apply(project(*CHAIN))
    world.run(100)
    assert set(world.known().values()) == {"ready"}


def test_resume_of_an_asset_that_is_not_suspended_changes_nothing() -> None:
    world = ready(*CHAIN)
    assert outcome(world, world.command("resume", {"select": ["a"]}))[0] == "succeeded"
    assert world.events("asset.resumed") == []


def test_suspend_takes_back_a_sync_that_waits_for_its_turn() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(3)
    world.command("suspend", {"select": ["b"], "reason": "not now"})
    world.run(60)
    assert world.counts("b")[1] == 0
    world.command("resume", {"select": ["b"]})
    world.run(60)
    assert world.docs["b"]["state"] == "ready"


LABELLED = (
    asset("a", labels={"team": "x"}),
    asset("p", "a", pairs=()),
    asset("b", "p"),
    asset("c", "b", labels={"team": "x"}),
)


def test_a_selector_is_written_down_as_the_names_it_stood_for() -> None:
    world = ready(*LABELLED)
    command_id = world.command("evaluate", {"select": ["+b", "label:team"], "exclude": ["a"]})
    (accepted,) = [event for event in world.events("command.accepted") if event.command_id == command_id]
    assert accepted.data["names"] == ["p", "b", "c"]
    world.run(2)
    assert outcome(world, command_id)[1]["assets"] == {"p": "ready", "b": "ready", "c": "ready"}


def test_a_selector_that_stands_for_too_many_to_write_down_is_folded_the_same() -> None:
    many = [asset(f"{i:03}-{'n' * 120}") for i in range(200)]
    world = ready(*many)
    command_id = world.command("evaluate", {"select": [f"{many[0].name}", "label:none,a"], "exclude": []})
    assert outcome(world, command_id)[0] == "rejected"
    command_id = world.command("evaluate", {"exclude": [many[0].name]})
    (accepted,) = [event for event in world.events("command.accepted") if event.command_id == command_id]
    assert "names" not in accepted.data
    world.run(2)
    assert outcome(world, command_id)[1]["counts"] == {"ready": 199}


def test_a_sync_leaves_out_what_a_selector_brings_in_without_a_sync() -> None:
    world = ready(*LABELLED)
    command_id = world.command("sync", {"select": ["+c"]})
    world.run(60)
    assert outcome(world, command_id) == (
        "succeeded",
        {"counts": {"succeeded": 3}, "assets": {"a": "succeeded", "b": "succeeded", "c": "succeeded"}},
    )
    assert [e.asset for e in world.events("sync.started")] == ["a", "b", "c"]


def test_a_sync_that_would_reach_nothing_is_rejected() -> None:
    world = ready(*LABELLED, asset("w", pairs=[pair("c", sync=None)]))
    assert outcome(world, world.command("sync", {"select": ["+w"]}))[1]["code"] == "validation-failed"
    assert outcome(world, world.command("sync", {"select": ["p"]}))[1]["message"] == "asset 'p' has no sync"


def test_an_empty_selection_does_nothing_and_says_so() -> None:
    world = ready(*LABELLED)
    for kind in ("evaluate", "sync"):
        head = world.head
        how, result = outcome(world, world.command(kind, {"select": ["a,b"]}))
        assert (how, result["message"]) == ("succeeded", "nothing is selected")
        assert world.head == head + 2


def test_suspend_and_resume_take_selectors() -> None:
    world = ready(*LABELLED)
    world.command("suspend", {"select": ["a+"], "exclude": ["label:team"], "reason": "why"})
    assert [e.asset for e in world.events("asset.suspended")] == ["p", "b"]
    world.command("resume", {"select": ["a+"]})
    assert [e.asset for e in world.events("asset.resumed")] == ["p", "b"]


def test_no_more_is_suspended_at_once_than_a_decision_holds() -> None:
    world = ready(*(asset(f"n{i}") for i in range(501)), asset("z", labels={"k": ""}))
    how, result = outcome(world, world.command("suspend", {"select": ["n1+", "label:k"]}))
    assert how == "succeeded"
    labelled = ready(*(asset(f"n{i}", labels={"k": "v"}) for i in range(501)))
    how, result = outcome(labelled, labelled.command("suspend", {"select": ["label:k"]}))
    assert (how, result["code"]) == ("rejected", "payload-too-large")


def test_a_sync_of_several_ends_when_one_that_waited_its_turn_has_lost_its_sync() -> None:
    world = World(project(asset("a"), asset("b", "a")), all_ready=True)
    world.run(60)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(3)
    assert world.state.assets["a"].sync is not None
    both = world.command("sync", {"select": ["a", "b"]})
    world.apply(project(asset("a", pairs=(pair("c", sync=None),)), asset("b", "a")))
    world.run(120)
    assert [event.type for event in world.ends(both)] == ["command.succeeded"]
    assert world.counts("b")[1] >= 1
