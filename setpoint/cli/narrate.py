"""Events as sentences: the one place that turns a log row into a line for a person. Pure.

``apply --wait``, ``events`` and ``demo`` print these lines; scripts read the JSON instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from setpoint.cli.plain import plain

Event = Mapping[str, Any]

_GOOD, _BAD, _BUSY, _QUIET = "green", "red", "yellow", "bright_black"


def _applied(data: Mapping[str, Any]) -> str:
    return (
        f"generation {data.get('generation')} applied: {data.get('added', 0)} new, "
        f"{data.get('changed', 0)} changed, {data.get('removed', 0)} gone"
    )


def _verdict(data: Mapping[str, Any]) -> str:
    return f"evaluated: {str(data.get('verdict')).capitalize()}{_reasons(data)}"


def _no_verdict(data: Mapping[str, Any]) -> str:
    return f"evaluation failed: {data.get('reason')}{_reasons(data)}"


def _reasons(data: Mapping[str, Any]) -> str:
    reasons = [
        f"{result.get('conditionName')}: {result['status']['reason']}"
        for result in data.get("results") or []
        if result.get("status", {}).get("reason")
    ]
    return f" ({'; '.join(reasons)})" if reasons else ""


def _step(data: Mapping[str, Any]) -> str:
    result = data.get("result", data)
    if (data.get("status") or {}).get("state") == "unknown":
        return f"{result.get('name')}: no answer ({data['status'].get('reason', '')})"
    how = result.get("error") or (
        f"exit {result['exit_code']}" if result.get("exit_code") is not None else f"signal {result.get('signal')}"
    )
    return f"{result.get('name')}: {how}"


def _failed(data: Mapping[str, Any]) -> str:
    until = f", next attempt at {data['cooldown_until']}" if data.get("cooldown_until") else ""
    return f"sync failed: {data.get('reason')} (failure {data.get('k')}{until})"


def _ready(data: Mapping[str, Any]) -> str:
    triggers = ", ".join(data.get("triggers", []))
    return "Ready" + (f" -> triggers {triggers}" if triggers else "")


_LINES: Final[Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]]] = {
    "session.created": (_QUIET, lambda data: "session created"),
    "session.closed": (_QUIET, lambda data: "session closed"),
    "session.hibernated": (_QUIET, lambda data: "session asleep: nothing is due"),
    "session.recovered": (_GOOD, lambda data: f"session recovered: {data.get('reason')}"),
    "session.failed": (_BAD, lambda data: f"session failed: {data.get('reason')}"),
    "lease.acquired": (_QUIET, lambda data: f"owned by {data.get('host')}"),
    "resources.applied": (_BUSY, _applied),
    "workspace.materialized": (_QUIET, lambda data: f"workspace ready on {data.get('sandbox_host')}"),
    "workspace.lost": (_BAD, lambda data: "workspace lost: everything in it is evaluated again"),
    "evaluation.started": (_QUIET, lambda data: f"evaluating ({data.get('why', 'now')})"),
    "evaluation.step_finished": (_QUIET, _step),
    "evaluation.completed": (_BUSY, _verdict),
    "evaluation.failed": (_BAD, _no_verdict),
    "asset.ready": (_GOOD, _ready),
    "asset.drifted": (_BAD, lambda data: "Drifted"),
    "asset.blocked": (_QUIET, lambda data: f"blocked by {', '.join(data.get('by', []))}"),
    "asset.unblocked": (_QUIET, lambda data: "no longer blocked"),
    "asset.suspended": (_BAD, lambda data: f"suspended: {data.get('reason')}"),
    "asset.resumed": (_GOOD, lambda data: "resumed"),
    "asset.retired": (_QUIET, lambda data: "retired"),
    "sync.requested": (_QUIET, lambda data: f"sync wanted ({data.get('kind')})"),
    "sync.started": (_BUSY, lambda data: "syncing"),
    "sync.step_finished": (_QUIET, _step),
    "sync.succeeded": (_GOOD, lambda data: "sync succeeded"),
    "sync.failed": (_BAD, _failed),
    "sync.waiting": (_BUSY, lambda data: f"waits for the lock {data.get('key')}, held by {data.get('holder')}"),
    "sync.cancelled": (_BAD, lambda data: "sync cancelled"),
    "sync.skipped": (_BAD, lambda data: f"sync skipped: {data.get('reason')}"),
    "sync.outcome_unknown": (_BAD, lambda data: "nobody can tell how the sync ended; it is looked at again"),
    "tool.started": (_QUIET, lambda data: f"tool {data.get('name', '')} runs"),
    "tool.finished": (_QUIET, lambda data: f"tool {data.get('name', '')} finished"),
    "run.adopted": (_QUIET, lambda data: "the new owner goes on with the running sync"),
    "run.interrupted": (_BAD, lambda data: "the run was interrupted"),
    "lock.broken": (_BAD, lambda data: f"lock {data.get('key')} broken by {data.get('by')}: {data.get('reason')}"),
    "halt.started": (_BAD, lambda data: f"halted: {data.get('reason') or 'no reason given'}"),
    "halt.ended": (_GOOD, lambda data: "halt lifted"),
}

_HEADLINES: Final = frozenset(
    {
        "lease.acquired",
        "resources.applied",
        "workspace.materialized",
        "workspace.lost",
        "evaluation.failed",
        "sync.started",
        "sync.step_finished",
        "sync.failed",
        "sync.cancelled",
        "sync.outcome_unknown",
        "tool.finished",
        "session.failed",
    }
)
_COMMAND_COLOURS: Final = {"succeeded": _GOOD, "accepted": _QUIET}


def sentence(event: Event) -> tuple[str, str]:
    """Return (colour, text) for an event; a type without a sentence of its own is shown by its name."""
    kind, data = str(event["type"]), event.get("data", {})
    family, _, name = kind.partition(".")
    if family == "command":
        detail = f": {data['message']}" if data.get("message") else ""
        return _COMMAND_COLOURS.get(name, _BAD), f"command {data.get('type', '')} {name}".replace("  ", " ") + detail
    colour, text = _LINES.get(kind, (_QUIET, lambda data: kind.replace(".", " ").replace("_", " ")))
    return colour, text(data)


def is_headline(event: Event) -> bool:
    """Tell whether an event carries the story: what was found, what was done about it, what came of it."""
    kind = str(event["type"])
    if kind == "evaluation.completed":
        return str(event.get("data", {}).get("verdict")).lower() != "ready"  # asset.ready says it better
    return kind in _HEADLINES or kind.startswith("asset.")


def line(event: Event) -> tuple[str, str]:
    """Return (colour, line) with seq, time of day and asset in fixed columns."""
    colour, text = sentence(event)
    clock = str(event["at"])[11:23]
    return colour, plain(f"{event['seq']:>5}  {clock}  {event.get('asset') or '':<20} {text}")
