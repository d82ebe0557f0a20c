"""What was done about an asset, as its log tells it: evaluations, and syncs with what held before and after. Pure.

The gateway derives this instead of keeping a table, so it is right after any take-over. It reads event payloads
leniently, because the log may hold events of an older or newer code version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.shapes import ConditionChange, HistoryEntry
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.event import Event

_ENDS: Final = {
    "sync": frozenset(f"sync.{end}" for end in ("succeeded", "failed", "cancelled", "skipped", "outcome_unknown")),
    "evaluation": frozenset({"evaluation.failed"}),
}
Results = Mapping[str, Mapping[str, Any]]
"""The last known result of each condition by its name, as an evaluation wrote it."""


@dataclass(slots=True)
class _Entry:
    """An entry in the making."""

    start: Event
    kind: str
    why: str
    before: Results
    after: Results | None = None
    status: str = "running"
    reason: str = ""
    verdict: str | None = None
    ended_at: int | None = None
    stages: list[dict[str, Any]] = field(default_factory=list)


def fold(events: Sequence[Event], before: Results) -> list[HistoryEntry]:
    """Return the entries that these events of one asset, oldest first, tell of, newest first.

    ``before``: what was known of its conditions when they begin. An evaluation that verifies a sync is part of it.
    """
    entries: dict[str, _Entry] = {}
    known: Results = before
    unverified: _Entry | None = None
    for event in events:
        execution_id = event.execution_id or ""
        entry = entries.get(execution_id)
        if event.type == "sync.started":
            entries[execution_id] = unverified = _Entry(event, "sync", str(event.data.get("kind", "")), known)
        elif event.type == "evaluation.started" and entry is None:
            entries[execution_id] = _Entry(event, "evaluation", str(event.data.get("why", "")), known)
        elif event.type == "evaluation.completed":
            known = results_of(event)
            _conclude(entry, unverified, event, known)
            unverified = None
        elif entry is not None and event.type in _ENDS[entry.kind]:
            _end(entry, event)
            entry.after = entry.after or results_of(event) or None  # an evaluation without a verdict has some, too
        elif event.type == "sync.step_finished" and entry is not None:
            entry.stages.append({"stage": event.data.get("name", ""), "exit_code": event.data.get("exit_code")})
    return [_view(execution_id, entry) for execution_id, entry in reversed(entries.items())]


def results_of(event: Event) -> Results:
    """Return the results that the end of an evaluation holds, by condition; none for any other event."""
    listed = event.data.get("results")
    return {
        str(result["conditionName"]): result
        for result in (listed if isinstance(listed, list) else [])
        if isinstance(result, dict) and "conditionName" in result
    }


def _conclude(entry: _Entry | None, unverified: _Entry | None, event: Event, known: Results) -> None:
    verdict = str(event.data.get("verdict", ""))
    if entry is not None and entry.kind == "evaluation":
        entry.after, entry.verdict = known, verdict
        _end(entry, event)
    verified = entry if entry is not None and entry.kind == "sync" else None
    if verified is None and unverified is not None and event.data.get("why") == "verification":
        verified = unverified
    if verified is not None:
        verified.after, verified.verdict = known, verdict


def _end(entry: _Entry, event: Event) -> None:
    entry.status, entry.ended_at = event.type.partition(".")[2], event.at
    entry.reason = str(event.data.get("reason", ""))


def _view(execution_id: str, entry: _Entry) -> HistoryEntry:
    return HistoryEntry(
        execution_id,
        "sync" if entry.kind == "sync" else "evaluation",
        entry.why,
        entry.status,
        entry.start.seq,
        rfc3339(entry.start.at),
        None if entry.ended_at is None else rfc3339(entry.ended_at),
        entry.verdict,
        entry.reason,
        entry.stages,
        _changes(entry),
    )


def _changes(entry: _Entry) -> list[ConditionChange]:
    after = entry.after if entry.after is not None else {}
    changes = []
    for name in dict.fromkeys([*after, *entry.before]):
        found = after.get(name) or entry.before.get(name) or {}
        was, now = _state(entry.before.get(name)), _state(after.get(name))
        reason = _reason(after.get(name)) or _reason(entry.before.get(name))
        changes.append(ConditionChange(name, str(found.get("conditionType", "")), was, now, reason))
    return changes


def _reason(result: Mapping[str, Any] | None) -> str:
    status = result.get("status") if result is not None else None
    return str(status.get("reason", "")) if isinstance(status, dict) else ""


def _state(result: Mapping[str, Any] | None) -> str | None:
    status = result.get("status") if result is not None else None
    return str(status.get("state")) if isinstance(status, dict) else None
