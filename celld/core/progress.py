"""Open commands brought on: tools started, manual syncs requested in dependency order, ends recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from celld.core import answer, cancel, schedule, sync, tool, workspace
from celld.core.fold_command import GOOD, own_outcome, runs
from celld.core.state import Command, State
from celld.core.turn import Turn
from setpoint.contracts.event import NewEvent

_NAMES_SHOWN: Final = 100
_AT_ONCE_MAX: Final = 250
"""Syncs that a command asks for, or takes back, at once: with what goes with each a decision still has room."""

_MOVES: Final = frozenset(
    {
        "evaluation.completed",
        "evaluation.failed",
        "sync.succeeded",
        "sync.failed",
        "sync.cancelled",
        "sync.skipped",
        "sync.outcome_unknown",
    }
)
"""What ends a sync or its verification: nothing else frees an asset, or those below it, for a manual sync."""


def advance(turn: Turn) -> None:
    """Bring every open command as far as it can go now."""
    news, fresh = turn.events[turn.looked :], not turn.events
    turn.looked = len(turn.events)
    for command_id in list(turn.state.commands):
        command = turn.state.commands.get(command_id)
        if command is None:
            continue
        match command.type:
            case "tool":
                _tool(turn, command)
            case "evaluate":
                _evaluate(turn, command)
            case "sync":
                unfinished = command.more or command.cancelling
                if fresh or unfinished or any(_concerns(event, command) for event in news):
                    _sync(turn, command, news)
            case "close":
                _close(turn, command)
            case _:
                pass  # an apply ends with its workspace, every other command in the decision that accepts it


def _concerns(event: NewEvent, command: Command) -> bool:
    """Tell whether an event may let a manual sync go on: looking through all of its names is not done for less."""
    if event.type in _MOVES:
        return event.asset in command.named
    return event.type == "resources.applied" or event.type.startswith("command.")


def _tool(turn: Turn, command: Command) -> None:
    if command.cancelling and not command.execution_id:
        answer.end(turn, command.id, "cancelled", message="cancelled before it started")
    elif not command.execution_id and workspace.is_ready(turn.state):
        tool.start(turn, command)


def _evaluate(turn: Turn, command: Command) -> None:
    if command.cancelling:
        answer.end(turn, command.id, "cancelled", message="cancelled")
        return
    if not command.active:
        return
    assets = turn.state.assets
    for name in command.left.unsorted():
        asset = assets.get(name)
        if asset is not None and asset.spec.pairs:
            return
    outcomes = {
        name: command.outcomes.get(name) or ("retired" if name not in assets else "ready") for name in command.names
    }
    answer.end(turn, command.id, "failed" if "unknown" in outcomes.values() else GOOD, **_result(outcomes))


def _sync(turn: Turn, command: Command, news: list[NewEvent]) -> None:
    """Request each name whose selected upstreams are through; those below one that failed are left out.

    So many at a time that the decision stays within its bound: ``Command.more`` says that there are others.
    """
    at_once = 1 if turn.full else _AT_ONCE_MAX
    if command.cancelling:
        for name in cancel.waiting(turn.state, command)[:at_once]:
            cancel.drop(turn, name)
        if not any(runs(turn.state, command, name) for name in command.begun.unsorted()):
            known = {name: outcome for name in command.names if (outcome := command.outcomes.get(name)) is not None}
            answer.end(turn, command.id, "cancelled", **_summary(known))
        return
    if not command.active:
        return
    names = _next(turn.state, command, [] if command.more else news)
    for place, name in enumerate(names[:at_once], start=1):
        pair = schedule.direct_pair(turn.asset(name))
        assert pair is not None, "an asset without a sync is free to be synced"
        more = place == at_once < len(names)
        sync.request(turn, name, "manual", pair[0], stages=command.stages, command_id=command.id, more=more)
    if turn.state.commands[command.id].running:
        return
    outcomes = _outcomes(turn.state, command)
    if all(outcome not in ("free", "waits", "runs") for outcome in outcomes.values()):
        good = all(outcome in (GOOD, "retired") for outcome in outcomes.values())
        answer.end(turn, command.id, GOOD if good else "failed", **_result(outcomes))


def _next(state: State, command: Command, news: list[NewEvent]) -> list[str]:
    """Return the names that may be requested now, upstreams first, of those that the news may have freed."""
    lineage, blocked = state.lineage, command.unbegun | command.running | command.bad
    if news and all(event.type in _MOVES for event in news if _concerns(event, command)):
        ended = {event.asset for event in news if _concerns(event, command) and event.asset is not None}
        names = sorted(_freed(state, command, ended), key=lineage.places.__getitem__)
    else:
        names = [name for name in command.names if name in state.assets]
    return [
        name
        for name in names
        if command.unbegun & lineage.bit(name)
        and not lineage.above[name] & blocked
        and not schedule.in_flight(state.assets[name])
    ]


def _freed(state: State, command: Command, ended: Iterable[str]) -> set[str]:
    """Return the assets that have ended something and the nearest names below them that were not begun."""
    found: set[str] = set()
    if not command.unbegun:
        return found
    seen: set[str] = set()
    waiting = [name for name in ended if name in state.assets]
    for name in waiting:
        if command.unbegun & state.lineage.bit(name):
            found.add(name)
    while waiting:
        for below in state.downstreams.get(waiting.pop(), ()):
            if below in seen:
                continue
            seen.add(below)
            if command.unbegun & state.lineage.bit(below):
                found.add(below)
            else:
                waiting.append(below)
    return found


def _outcomes(state: State, command: Command) -> dict[str, str]:
    """Return for each name: what came of it, or runs, waits (for an upstream), free (may be requested), left_out."""
    outcomes = {name: own_outcome(state, command, name) for name in command.names}
    for name, outcome in outcomes.items():
        if outcome == "free":
            above = state.lineage.above[name]
            waits = above & (command.unbegun | command.running)
            outcomes[name] = "left_out" if above & command.bad else "waits" if waits else "free"
    return outcomes


def _close(turn: Turn, command: Command) -> None:
    if len(turn.state.executions):
        return
    for asset in list(turn.state.assets.values()):
        if turn.full:
            return
        sync.give_up(turn, asset.name)
    answer.end(turn, command.id, GOOD)


def _result(outcomes: Mapping[str, str]) -> dict[str, Any]:
    """Return what a command came to that was carried out; a selection may be empty."""
    return _summary(outcomes) | ({} if outcomes else {"message": "nothing is selected"})


def _summary(outcomes: Mapping[str, str]) -> dict[str, Any]:
    """Return what a command came to: how many of each, and by name as far as a result may show."""
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome] = counts.get(outcome, 0) + 1
    bad = {name: outcome for name, outcome in outcomes.items() if outcome not in (GOOD, "ready")}
    shown = dict(list({**bad, **outcomes}.items())[:_NAMES_SHOWN])
    answer: dict[str, Any] = {"counts": counts, "assets": shown}
    if bad:
        answer["message"] = ", ".join(f"{name}: {outcome}" for name, outcome in list(bad.items())[:5])
    return answer
