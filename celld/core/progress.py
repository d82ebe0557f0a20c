"""Open commands brought on: tools started, manual syncs requested in dependency order, ends recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celld.core import answer, schedule, sync, tool, workspace
from celld.core.state import Command
from celld.core.turn import Turn

_NAMES_SHOWN: Final = 100
GOOD: Final = "succeeded"


def advance(turn: Turn) -> None:
    """Bring every open command as far as it can go now."""
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
                _sync(turn, command)
            case "close":
                _close(turn, command)
            case _:
                pass  # an apply ends with its workspace, every other command in the decision that accepts it


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
    outcomes: dict[str, str] = {}
    for name in command.names:
        asset = turn.state.assets.get(name)
        outcome = command.outcomes.get(name)
        if outcome is None and asset is not None and asset.spec.pairs:
            return
        outcomes[name] = outcome or ("retired" if asset is None else "ready")
    answer.end(turn, command.id, "failed" if "unknown" in outcomes.values() else GOOD, **_result(outcomes))


def _sync(turn: Turn, command: Command) -> None:
    """Request each name whose selected upstreams are through; those below one that failed are left out."""
    if command.cancelling:
        if not any(_runs(turn, command, name) for name in command.begun):
            answer.end(turn, command.id, "cancelled", **_summary({**command.outcomes}))
        return
    if not command.active:
        return
    outcomes = _outcomes(turn, command)
    for name in command.names:
        if outcomes[name] != "free" or schedule.in_flight(turn.asset(name)):
            continue
        pair = schedule.direct_pair(turn.asset(name))
        assert pair is not None, "an asset without a sync is free to be synced"
        sync.request(turn, name, "manual", pair[0], stages=command.stages, command_id=command.id)
    if all(outcome not in ("free", "waits", "runs") for outcome in outcomes.values()):
        good = all(outcome in (GOOD, "retired") for outcome in outcomes.values())
        answer.end(turn, command.id, GOOD if good else "failed", **_result(outcomes))


def _outcomes(turn: Turn, command: Command) -> dict[str, str]:
    """Return for each name: what came of it, or runs, waits (for an upstream), free (may be requested), left_out."""
    outcomes: dict[str, str] = {}
    meaning: dict[str, str] = {}
    for name in command.names:
        asset = turn.state.assets.get(name)
        if name in command.begun:
            outcomes[name] = "runs" if _runs(turn, command, name) else command.outcomes.get(name, "retired")
        elif asset is None or schedule.direct_pair(asset) is None:
            outcomes[name] = "retired"
        else:
            outcomes[name] = _above(turn, command, name, meaning) or "free"
    return outcomes


def _above(turn: Turn, command: Command, name: str, meaning: dict[str, str]) -> str:
    """Tell what the selected assets above ``name`` mean for it: nothing, waits or left_out.

    ``meaning`` remembers what each asset means for those below it. Iterative: chains may be long.
    """
    stack = list(turn.asset(name).spec.upstreams)
    while stack:
        current = stack[-1]
        upstreams = turn.asset(current).spec.upstreams
        unseen = [upstream for upstream in upstreams if upstream not in meaning]
        if unseen:
            stack += unseen
            continue
        stack.pop()
        meaning[current] = _worst(meaning, upstreams) or _own(turn, command, current)
    return _worst(meaning, turn.asset(name).spec.upstreams)


def _worst(meaning: Mapping[str, str], upstreams: tuple[str, ...]) -> str:
    found = {meaning[upstream] for upstream in upstreams}
    return "left_out" if "left_out" in found else "waits" if "waits" in found else ""


def _own(turn: Turn, command: Command, name: str) -> str:
    """Tell what an asset means for those below it by itself: nothing, to wait for it, or to be left out."""
    if name not in command.names or name not in turn.state.assets:
        return ""
    if name not in command.begun or _runs(turn, command, name):
        return "waits"
    return "" if command.outcomes.get(name, GOOD) == GOOD else "left_out"


def _runs(turn: Turn, command: Command, name: str) -> bool:
    asset = turn.state.assets.get(name)
    if asset is None:
        return any(run.command_id == command.id and run.asset == name for run in turn.state.executions.values())
    if asset.sync is None or asset.sync.command_id != command.id:
        return False
    return schedule.in_flight(asset) or name not in command.outcomes


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
