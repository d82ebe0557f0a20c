"""Executions as the log tells them: a fold of the events that carry one execution's id. Pure.

The gateway derives this instead of keeping a table: reads stay right after any take-over, and wake nobody. It reads
event payloads leniently, because the log may hold events of an older or newer code version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from gateway.shapes import Execution, StepView
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.event import Event

Kind = Literal["sync", "evaluation", "tool"]

_KINDS: Final[Mapping[str, Kind]] = {
    "sync.started": "sync",
    "tool.started": "tool",
    "evaluation.started": "evaluation",
}
_ENDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "sync": ("sync.succeeded", "sync.failed", "sync.cancelled", "sync.skipped", "sync.outcome_unknown"),
    "evaluation": ("evaluation.completed", "evaluation.failed"),
    "tool": ("tool.finished",),
}
_STEP_ENDS: Final = frozenset({"sync.step_finished", "evaluation.step_finished", "tool.finished"})


def fold(events: Sequence[Event]) -> Execution | None:
    """Return the execution that these events, oldest first, tell of; None when none of them starts one.

    A sync's own verification has its execution id: it is part of the sync, not an evaluation beside it.
    """
    started = next((event for event in events if event.type in _KINDS), None)
    if started is None or started.execution_id is None:
        return None
    kind = _KINDS[started.type]
    end = next((event for event in events if event.type in _ENDS[kind]), None)
    return Execution(
        id=started.execution_id,
        kind=kind,
        status="running" if end is None else end.type.partition(".")[2],
        steps=_steps(events, started),
        started_seq=started.seq,
        started_at=rfc3339(started.at),
        asset=started.asset,
        command_id=started.command_id,
        ended_seq=None if end is None else end.seq,
        ended_at=None if end is None else rfc3339(end.at),
    )


def _steps(events: Sequence[Event], started: Event) -> list[StepView]:
    steps = {index: StepView(index, "pending", kind, name) for index, kind, name in _outline(started)}
    for event in events:
        result = _result(event) if event.type in _STEP_ENDS else None
        if result is not None:
            step = _step(result)
            steps[step.index] = step
    return [steps[index] for index in sorted(steps)]


def _outline(started: Event) -> list[tuple[int, str, str]]:
    listed = started.data.get("steps")
    if isinstance(listed, list):
        return [
            (int(step.get("index", n)), str(step.get("kind", "")), str(step.get("name", "")))
            for n, step in enumerate(listed)
            if isinstance(step, dict)
        ]
    conditions = started.data.get("conditions")
    if isinstance(conditions, list):
        return [(n, "condition", str(name)) for n, name in enumerate(conditions)]
    return [(0, "tool", str(started.data.get("name", "")))] if started.type == "tool.started" else []


def _result(event: Event) -> dict[str, Any] | None:
    if isinstance(event.data.get("index"), int):
        return event.data
    # A tool of which there is no result ended all the same, and has but one step.
    return {**event.data, "index": 0, "kind": "tool"} if event.type == "tool.finished" else None


def _step(result: Mapping[str, Any]) -> StepView:
    exit_code, signal, error = result.get("exit_code"), result.get("signal"), result.get("error")
    status: Literal["succeeded", "failed", "skipped"] = "failed"
    if exit_code == 0:
        status = "succeeded"
    elif error == "skipped":
        status = "skipped"
    return StepView(
        index=result["index"],
        kind=str(result.get("kind", "")),
        name=str(result.get("name", "")),
        status=status,
        exit_code=exit_code,
        signal=signal,
        error=error,
        detail=str(result.get("detail", "")),
        stdout=dict(result.get("stdout") or {}),
        stderr=dict(result.get("stderr") or {}),
    )
