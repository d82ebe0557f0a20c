"""Why nothing is happening: each reason, in the state that gives it, root cause first."""

from __future__ import annotations

import msgspec

from setpoint.contracts.cell import MaterializeFailed
from tests.sim.explained import check_explained, codes, explained
from tests.sim.world import World, asset, pair, project


def ready(*assets: object, **settings: object) -> World:
    """Return a world in which all was found Ready."""
    world = World(project(*assets, **settings), all_ready=True)  # type: ignore[arg-type]  # tests pass what they mean
    world.run(20)
    return world


def test_a_ready_asset_with_nothing_due_needs_no_reason() -> None:
    assert codes(ready(asset("a")), "a") == []


def test_a_ready_asset_waits_for_its_interval() -> None:
    world = ready(asset("a", interval=60))
    (reason,) = explained(world, "a")
    assert (reason.code, reason.object) == ("WaitingForInterval", "a")
    assert reason.next_check == world.docs["a"]["next_due"]


def test_what_runs_is_said_to_run() -> None:
    world = World(project(asset("a")))
    assert codes(world, "a") == ["WorkspaceExclusive"]
    world.run(0.5)
    assert codes(world, "a") == ["EvaluationRunning"]
    world.run(5)
    (reason,) = explained(world, "a")
    assert (reason.code, reason.command) == ("SyncRunning", "setpoint logs a -f")


def test_a_suspended_root_is_named_before_the_way_down_from_it() -> None:
    world = ready(asset("a", interval=10), asset("b", "a"), asset("c", "b", interval=10))
    world.command("suspend", {"select": ["a"], "reason": "because"})
    world.drift("a")
    world.drift("c")
    world.run(60)
    first, second, *rest = explained(world, "c")
    assert (first.code, first.object, first.command) == ("AssetSuspended", "a", "setpoint resume a")
    assert first.message == "automatic syncs of a are suspended by the user: because"
    assert (second.code, second.object) == ("UpstreamDrifted", "a")
    assert "a -> b -> c" in second.message
    assert [reason.object for reason in rest] == ["c"] * len(rest)
    check_explained(world)


def test_an_upstream_without_a_verdict_is_told_from_one_that_is_drifted() -> None:
    world = World(project(asset("a"), asset("b", "a")))
    world.truth["a", "c"] = "timeout"
    world.run(5)
    assert codes(world, "b") == ["EvaluationFailing", "UpstreamNotEvaluated"]
    failing = explained(world, "a")[0]
    assert failing.message == "the last evaluation of a came to no clear verdict: c: timeout"
    assert failing.next_check == world.docs["a"]["retry_at"]


def test_a_halt_explains_what_would_be_synced() -> None:
    world = ready(asset("a", interval=10), asset("b"))
    world.command("halt", {"reason": "month end"})
    world.drift("a")
    world.run(15)
    assert codes(world, "a") == ["Halted", "WaitingForInterval"]
    assert explained(world, "a")[0].message == "automatic syncs of the session are halted: month end"
    assert codes(world, "b") == []
    world.command("unhalt")
    assert "Halted" not in codes(world, "a")


def test_a_cooldown_says_until_when_and_is_left_out_once_it_is_over() -> None:
    world = World(project(asset("a")))
    world.scripts["a"] = lambda world, label: False
    world.run(20)
    (reason,) = explained(world, "a")
    assert (reason.code, reason.next_check) == ("CooldownUntil", world.docs["a"]["cooldown_until"])
    world.now += 3600 * 1_000_000  # as a reader long after, with nothing written since
    assert codes(world, "a") == ["ConcurrencyLimit"]


def test_auto_sync_off_and_no_sync_are_told_apart() -> None:
    world = World(project(asset("off", auto_sync_on_drift=False), asset("watched", pairs=[pair("c", sync=None)])))
    world.run(5)
    assert codes(world, "off") == ["AutoSyncOff"]
    assert explained(world, "off")[0].command == "setpoint sync off"
    assert codes(world, "watched") == ["NoSyncDefined"]


def test_what_waits_for_its_turn_says_so() -> None:
    world = World(project(asset("a"), asset("b"), max_evaluate_concurrency=1))
    world.run(0.5)
    assert codes(world, "a") == ["EvaluationRunning"]
    assert codes(world, "b") == ["ConcurrencyLimit"]


def test_a_lost_workspace_makes_what_is_known_stale() -> None:
    world = ready(asset("a"), asset("b", "a"), max_evaluate_concurrency=1)
    world.place = ("sandbox-2", "ledger-2", 2)
    world.crash(lambda execution_id: "lost")
    world.apply(project(asset("a"), asset("b", "a"), max_evaluate_concurrency=1))
    world.run(0.5)
    assert codes(world, "a") == ["EvaluationRunning"]
    assert codes(world, "b")[:2] == ["EvaluationRunning", "UpstreamStale"]


def test_what_is_stale_says_so_while_it_waits() -> None:
    """The upstream, stale like all, is to be looked at first and has no slot."""
    world = ready(asset("a"), asset("b", "a"), asset("c"), max_evaluate_concurrency=1)
    world.evaluate_s["c"] = 600
    world.command("evaluate", {"select": ["c"]})
    world.run(1)
    world.apply(project(*(asset(n, *u, labels={"v": "2"}) for n, u in (("a", ()), ("b", ("a",)))), asset("c")))
    world.run(5)
    assert codes(world, "a") == ["WorkspaceExclusive", "WorkspaceStale"]
    assert codes(world, "b") == ["WorkspaceExclusive", "WorkspaceStale", "UpstreamStale", "WorkspaceStale"]


def test_files_that_cannot_be_prepared_explain_everything() -> None:
    world = World(project(asset("a")))
    world.feed(MaterializeFailed(1, "no space"))
    assert codes(world, "a") == ["WorkspaceFailed"]


def test_a_closed_session_explains_everything() -> None:
    world = World(project(asset("a", interval=10)))
    world.run(0.5)
    world.command("close")
    assert codes(world, "a")[0] == "SessionClosed"


def test_cancelling_a_sync_that_waits_does_not_leave_its_asset_behind() -> None:
    world = World(project(asset("a"), asset("b"), max_sync_concurrency=1))
    world.run(5)
    assert codes(world, "b") == ["ConcurrencyLimit"]
    world.command("cancel", {"asset": "b"})
    assert codes(world, "b") == ["CooldownUntil"]
    world.run(120)
    assert world.known() == {"a": "ready", "b": "ready"}


def test_a_long_way_is_shortened_and_a_wide_fault_named_in_part() -> None:
    chain = [asset("n0", auto_sync_on_drift=False), *(asset(f"n{i}", f"n{i - 1}") for i in range(1, 12))]
    world = World(project(*chain))
    world.run(5)
    reason = explained(world, "n11")[1]
    assert "(n0 -> n1 -> n2 -> ... -> n10 -> n11)" in reason.message
    wide = [asset(f"u{i}", auto_sync_on_drift=False) for i in range(9)]
    world = World(project(*wide, asset("z", *(one.name for one in wide))))
    world.run(5)
    assert codes(world, "z").count("UpstreamDrifted") == 5


def test_the_way_goes_through_assets_without_conditions() -> None:
    world = World(project(asset("a", auto_sync_on_drift=False), asset("p", "a", pairs=()), asset("b", "p")))
    world.run(5)
    assert codes(world, "p") == ["AutoSyncOff", "UpstreamDrifted"]
    assert "a -> p -> b" in explained(world, "b")[1].message


def test_a_row_of_the_projection_is_small_whatever_people_write() -> None:
    world = ready(asset("a"))
    world.command("suspend", {"select": ["a"], "reason": "x" * 5000})
    (reason,) = explained(world, "a")
    assert len(reason.message) < 300
    assert msgspec.to_builtins(reason)["object"] == "a"


def test_a_lock_that_somebody_has_is_named_with_its_holder() -> None:
    world = World(project(asset("a", pairs=[pair("c", lock="warehouse")]), lock_retry_interval_s=60.0))
    world.hold("warehouse")
    world.run(5)
    (reason,) = explained(world, "a")
    assert (reason.code, reason.next_check) == ("LockHeld", world.docs["a"]["lock"]["retry_at"])
    assert "'warehouse', which other/execution holds" in reason.message


def test_a_result_that_may_be_taken_again_is_told_from_a_timer() -> None:
    world = ready(asset("a", pairs=[pair("c", interval=10, cache_ttl_s=100)]))
    assert codes(world, "a") == ["CacheFresh", "WaitingForInterval"]
    world.drift("a")
    world.run(300)
    assert codes(world, "a") == ["CacheFresh", "WaitingForInterval"]


def test_a_patient_asset_says_that_it_waits_for_quiet() -> None:
    world = ready(asset("a", interval=10), asset("b"), asset("x", "a", "b", upstream_policy="all"))
    world.sync_s["b"] = 120
    world.drift("a")
    world.command("sync", {"select": ["b"]})
    world.run(45)
    assert world.docs["x"]["pending"]["sync"] == "direct"
    assert "UpstreamBusy" in codes(world, "x")
    world.run(200)
    assert codes(world, "x") == []


def test_what_loses_its_conditions_owes_no_verification_and_moves_nobody() -> None:
    """A failed sync has ended before its verification: when the asset has no conditions left, nothing is owed."""
    for seconds in (7, 12.5):  # while its stages run; while its verification is owed
        world = World(project(asset("a"), asset("x", "a", upstream_policy="all")))
        world.scripts["a"] = lambda world, label: False
        world.truth["a", "c"] = False
        world.run(seconds)
        world.truth["a", "c"] = "timeout"
        world.run(0.5)
        world.apply(project(asset("a", pairs=()), asset("x", "a", upstream_policy="all")))
        world.run(60)
        assert world.state.assets["a"].sync is None
        assert codes(world, "a") == []
        assert world.known() == {"x": "ready"}


def test_an_overdue_look_waits_for_its_turn_also_while_a_retry_is_still_to_come() -> None:
    """What a cooldown owes is newer than the evaluation with an Unknown condition, and does not wait for its retry."""
    pairs = [pair("c0", sync="fix0", lock="warehouse"), pair("c1", sync="fix1")]
    world = World(project(asset("a", pairs=pairs), asset("b"), max_evaluate_concurrency=1, lock_retry_max_attempts=1))
    world.hold("warehouse")
    world.truth["a", "c1"] = "timeout"
    world.truth["b", "c"] = True
    world.run(50)
    assert world.docs["a"]["retry_at"] > world.docs["a"]["cooldown_until"]
    world.evaluate_s["b"] = 600
    world.command("evaluate", {"select": ["b"]})
    world.run(20)
    assert codes(world, "b") == ["EvaluationRunning"]
    assert codes(world, "a") == ["EvaluationFailing", "ConcurrencyLimit"]
    check_explained(world)


def test_a_timer_that_is_due_and_has_no_slot_waits_for_its_turn() -> None:
    world = ready(asset("a", interval=10), asset("b"), max_evaluate_concurrency=1)
    world.evaluate_s["b"] = 60
    world.command("evaluate", {"select": ["b"]})
    world.run(30)
    assert codes(world, "a") == ["ConcurrencyLimit"]
    check_explained(world)


def test_a_halt_is_among_the_reasons_while_an_upstream_is_looked_at() -> None:
    world = ready(asset("a", interval=10), asset("b", "a"))
    world.evaluate_s["a"] = 5
    world.command("halt", {"reason": "month end"})
    world.drift("a")
    world.drift("b")
    world.command("evaluate", {"select": ["b"]})
    world.run(30)
    while world.docs["a"]["state"] != "evaluating":
        world.run(1)
    assert codes(world, "b") == ["Halted", "EvaluationRunning", "UpstreamDrifted"]
    assert codes(world, "a") == ["Halted", "EvaluationRunning"]


def test_files_that_are_prepared_hold_up_a_timer_as_well() -> None:
    world = ready(asset("a", interval=20), asset("b"))
    world.materialize_s = 60
    world.apply(project(asset("a", interval=20), asset("b"), cooldown_initial_s=31.0))
    world.run(40)
    assert codes(world, "a") == ["WorkspaceExclusive"]
    assert codes(world, "b") == []
    check_explained(world)
