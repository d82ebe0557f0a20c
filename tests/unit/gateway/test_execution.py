"""Executions folded from the log: running, ended, and logs of other code versions."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.execution import fold
from setpoint.contracts.event import TYPES, Event

ID = "00000000-0000-8000-8000-000000000001"


def event(seq: int, kind: str, /, **data: Any) -> Event:
    assert kind in TYPES
    return Event(seq, kind, seq, "s", (1, 1), data, asset="a", execution_id=ID)


def test_no_start_is_no_execution() -> None:
    assert fold([]) is None
    assert fold([event(1, "run.adopted"), event(2, "sync.failed")]) is None


@pytest.mark.parametrize(
    ("started", "ended", "kind", "status"),
    [
        ("sync.started", "sync.succeeded", "sync", "succeeded"),
        ("sync.started", "sync.outcome_unknown", "sync", "outcome_unknown"),
        ("sync.started", "evaluation.completed", "sync", "running"),
        ("evaluation.started", "evaluation.completed", "evaluation", "completed"),
        ("evaluation.started", "evaluation.failed", "evaluation", "failed"),
        ("tool.started", "tool.finished", "tool", "finished"),
        ("tool.started", "run.adopted", "tool", "running"),
    ],
)
def test_the_end_of_its_own_kind_ends_it(started: str, ended: str, kind: str, status: str) -> None:
    found = fold([event(3, started), event(9, ended)])
    assert found is not None
    assert (found.kind, found.status, found.started_seq) == (kind, status, 3)
    assert found.ended_seq == (None if status == "running" else 9)


def test_steps_are_pending_until_they_end() -> None:
    outline = [{"index": 0, "kind": "stage", "name": "pre"}, {"index": 1, "kind": "stage", "name": "run"}]
    events = [
        event(1, "sync.started", steps=outline),
        event(2, "sync.step_finished", index=0, kind="stage", name="pre", exit_code=3, stdout={"bytes": 1}),
        event(3, "sync.step_finished", index=1, kind="stage", name="run", error="skipped"),
    ]
    found = fold(events[:1])
    assert found is not None
    assert [step.status for step in found.steps] == ["pending", "pending"]
    found = fold(events)
    assert found is not None
    assert [(step.name, step.status, step.exit_code) for step in found.steps] == [
        ("pre", "failed", 3),
        ("run", "skipped", None),
    ]
    assert found.steps[0].stdout == {"bytes": 1}


def test_a_tool_without_a_result_has_ended_all_the_same() -> None:
    found = fold([event(1, "tool.started", name="exec"), event(2, "tool.finished", name="exec", error="cancelled")])
    assert found is not None
    (step,) = found.steps
    assert (step.index, step.status, step.error) == (0, "failed", "cancelled")


def test_an_evaluation_names_its_conditions() -> None:
    found = fold([event(1, "evaluation.started", conditions=["x", "y"])])
    assert found is not None
    assert [(step.index, step.kind, step.name) for step in found.steps] == [
        (0, "condition", "x"),
        (1, "condition", "y"),
    ]


@pytest.mark.parametrize("steps", [None, 5, "x", [5], [None], {}])
def test_strange_payloads_do_not_break_a_read(steps: Any) -> None:
    found = fold([event(1, "sync.started", steps=steps), event(2, "sync.step_finished", steps=steps)])
    assert found is not None
    assert found.steps == []
