"""The history of an asset, folded from its log: verified at once or later, still running, of other code versions."""

from __future__ import annotations

from typing import Any

from gateway.history import fold, results_of
from setpoint.contracts.event import Event

Log = list[Event]


def event(seq: int, kind: str, execution: str, /, **data: Any) -> Event:
    return Event(seq, kind, seq, "s", (1, 1), data, asset="a", execution_id=execution)


def verdict(seq: int, execution: str, why: str, /, **states: str) -> Event:
    results = [
        {"conditionName": name, "conditionType": "Command", "status": {"state": state}}
        for name, state in states.items()
    ]
    good = all(state == "ready" for state in states.values())
    return event(
        seq, "evaluation.completed", execution, why=why, verdict="ready" if good else "drifted", results=results
    )


def test_nothing_happened() -> None:
    assert fold([], {}) == []


def test_what_runs_has_no_end_and_keeps_what_was_known() -> None:
    before = results_of(verdict(1, "e", "interval", c="drifted"))
    (entry,) = fold([event(2, "sync.started", "s", kind="direct")], before)
    assert (entry.status, entry.ended_at, entry.verdict) == ("running", None, None)
    assert [(one.name, one.before, one.after) for one in entry.conditions] == [("c", "drifted", None)]


def test_a_verification_of_its_own_counts_for_its_sync_as_well() -> None:
    log = [
        event(1, "sync.started", "s", kind="drift"),
        event(2, "sync.failed", "s", reason="stage"),
        event(3, "evaluation.started", "v", why="verification"),
        verdict(4, "v", "verification", c="ready"),
    ]
    looked, synced = fold(log, {})
    assert (synced.kind, synced.status, synced.reason, synced.verdict) == ("sync", "failed", "stage", "ready")
    assert (looked.kind, looked.why, looked.status) == ("evaluation", "verification", "completed")


def test_a_later_evaluation_is_not_taken_for_a_verification() -> None:
    log = [
        event(1, "sync.started", "s", kind="manual"),
        event(2, "sync.outcome_unknown", "s"),
        event(3, "evaluation.started", "e", why="interval"),
        verdict(4, "e", "interval", c="ready"),
    ]
    assert fold(log, {})[1].verdict is None


def test_an_evaluation_that_comes_to_nothing_says_why() -> None:
    log = [event(1, "evaluation.started", "e", why="initial"), event(2, "evaluation.failed", "e", reason="superseded")]
    (entry,) = fold(log, {})
    assert (entry.status, entry.reason, entry.conditions) == ("failed", "superseded", [])


def results(**statuses: dict[str, str]) -> list[dict[str, Any]]:
    return [{"conditionName": name, "conditionType": "SQL", "status": status} for name, status in statuses.items()]


def test_an_evaluation_without_a_verdict_has_the_conditions_that_had_no_answer() -> None:
    found = results(rows={"state": "unknown", "reason": "no such table: t"}, there={"state": "ready"})
    log = [
        event(1, "evaluation.started", "e", why="interval"),
        event(2, "evaluation.failed", "e", reason="unknown", results=found),
    ]
    (entry,) = fold(log, {})
    assert (entry.status, entry.reason) == ("failed", "unknown")
    assert [(one.name, one.after, one.reason) for one in entry.conditions] == [
        ("rows", "unknown", "no such table: t"),
        ("there", "ready", ""),
    ]


def test_the_reason_is_why_it_does_not_hold_else_why_it_did_not() -> None:
    before = {"healed": results(healed={"state": "drifted", "reason": "was wrong"})[0]}
    now = results(healed={"state": "ready"}, broken={"state": "drifted", "reason": "is wrong"})
    log = [
        event(2, "sync.started", "s"),
        event(3, "evaluation.completed", "s", why="verification", verdict="drifted", results=now),
        event(4, "sync.failed", "s", reason="not_converged"),
    ]
    (entry,) = fold(log, before)
    assert {one.name: one.reason for one in entry.conditions} == {"healed": "was wrong", "broken": "is wrong"}


def test_a_condition_that_is_new_or_gone_is_shown_with_one_side() -> None:
    before = results_of(verdict(1, "e", "interval", old="ready"))
    log = [event(2, "sync.started", "s"), verdict(3, "s", "verification", new="ready"), event(4, "sync.succeeded", "s")]
    (entry,) = fold(log, before)
    assert {(one.name, one.before, one.after) for one in entry.conditions} == {
        ("new", None, "ready"),
        ("old", "ready", None),
    }


def test_payloads_of_another_code_version_are_read_as_far_as_they_go() -> None:
    odd: Log = [
        event(1, "sync.started", "s"),
        event(2, "evaluation.completed", "s", results="none"),
        event(3, "sync.step_finished", "s"),
        event(4, "sync.succeeded", "other"),
    ]
    (entry,) = fold(odd, {})
    assert entry.stages == [{"stage": "", "exit_code": None}]
