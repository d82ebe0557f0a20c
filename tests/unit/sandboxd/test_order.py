"""The order of steps: stages stop at the first failure, conditions always follow, endings from outside."""

from __future__ import annotations

from typing import Literal

import pytest

from sandboxd.core import order
from setpoint.contracts.run import Step, StepResult


def steps(*kinds: Literal["stage", "condition", "tool"]) -> tuple[Step, ...]:
    return tuple(Step(n, kind, f"s{n}", ("true",), 1.0) for n, kind in enumerate(kinds))


def walk(plan: tuple[Step, ...], codes: dict[int, int], ending: order.Ending | None = None, at: int = 99) -> list[str]:
    """Carry a run out on paper: exit codes by index (0 unless named), ended from outside before step ``at``."""
    results: dict[int, StepResult] = {}
    said: list[str] = []
    while todo := order.following(plan, results, ending if len(results) >= at else None):
        index = todo.step.index
        if isinstance(todo, order.Settle):
            said.append(todo.error)
            results[index] = StepResult(index, todo.step.kind, "", 0, 0, error=todo.error)
        else:
            said.append("ran")
            results[index] = StepResult(index, todo.step.kind, "", 0, 0, exit_code=codes.get(index, 0))
    said.append(order.outcome(plan, results, ending if len(results) >= at or at < 99 else None))
    return said


def test_all_steps_run_when_all_is_well() -> None:
    assert walk(steps("stage", "stage", "condition"), {}) == ["ran", "ran", "ran", "completed"]


def test_stages_after_a_failed_one_are_skipped_and_conditions_still_run() -> None:
    plan = steps("stage", "stage", "stage", "condition", "condition")
    assert walk(plan, {0: 3, 3: 1}) == ["ran", "skipped", "skipped", "ran", "ran", "completed"]


def test_a_failed_condition_stops_nothing() -> None:
    assert walk(steps("condition", "condition"), {0: 1}) == ["ran", "ran", "completed"]


def test_tools_run_one_by_one_whatever_they_come_to() -> None:
    assert walk(steps("tool", "tool"), {0: 9}) == ["ran", "ran", "completed"]


@pytest.mark.parametrize("error", ["timeout", "spawn"])
def test_a_stage_that_did_not_exit_has_failed(error: Literal["timeout", "spawn"]) -> None:
    plan = steps("stage", "stage")
    results = {0: StepResult(0, "stage", "", 0, 0, error=error)}
    assert order.following(plan, results, None) == order.Settle(plan[1], "skipped")


def test_a_cancelled_run_gives_every_step_a_result() -> None:
    plan = steps("stage", "stage", "condition")
    assert walk(plan, {}, "cancelled", at=1) == ["ran", "cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize("ending", ["orphaned", "interrupted"])
def test_a_run_taken_away_gives_no_results_for_what_it_did_not_do(ending: order.Ending) -> None:
    assert walk(steps("stage", "condition"), {}, ending, at=1) == ["ran", ending]


def test_a_run_that_was_through_before_it_could_be_ended_is_completed() -> None:
    plan = steps("tool")
    results = {0: StepResult(0, "tool", "", 0, 0, exit_code=0)}
    assert order.following(plan, results, "cancelled") is None
    assert order.outcome(plan, results, "cancelled") == "completed"


def test_a_run_whose_last_step_was_cancelled_is_not() -> None:
    results = {0: StepResult(0, "tool", "", 0, 0, error="cancelled")}
    assert order.outcome(steps("tool"), results, "cancelled") == "cancelled"
