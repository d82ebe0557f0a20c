"""Folds of commands and tools: accepted, waiting their turn, what came of each asset they name, ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from celld.core import schedule, select
from celld.core.state import Asset, Command, Evaluation, Execution, Look, State
from celld.core.table import Table
from setpoint.contracts.command import Evaluate, Sync, Tool, parse_command
from setpoint.contracts.event import Event

_ENDED_KEPT: Final = 128
GOOD: Final = "succeeded"
NAMING: Final = frozenset({"evaluate", "sync"})
"""The commands that name assets and therefore wait for each other where the names overlap."""


def _accepted(state: State, event: Event) -> State:
    data, command_id = event.data, event.command_id or ""
    kind, payload = data["type"], data.get("payload") or {}
    names = _names(state, kind, data) if kind in NAMING else ()
    command = Command(
        command_id,
        kind,
        data["lane"],
        event.seq,
        names=names,
        named=frozenset(names),
        stages=tuple(payload.get("stages", ())),
        active=kind not in NAMING,
        generation=data.get("generation", 0),
        tool=msgspec.convert(payload, Tool) if kind == "tool" and payload else None,
    )
    state = replace(state, commands={**state.commands, command_id: command})
    for execution_id in data.get("cancels", ()):
        execution = state.executions[execution_id]
        state = replace(state, executions=state.executions.with_(execution_id, replace(execution, dying=True)))
    if target := state.commands.get(data.get("cancels_command", "")):
        state = _with(state, replace(target, cancelling=True))
    if data.get("closes"):
        dying = Table((run.id, replace(run, dying=True)) for run in state.executions.values())
        state = replace(state, closing=command_id, executions=dying)
    return _activated(state, event)


def _names(state: State, kind: str, data: dict[str, Any]) -> tuple[str, ...]:
    """Return the assets that a command is about: as written down, or all, or too many to be written down."""
    if "names" in data:
        return tuple(data["names"])
    if data.get("all") or not data.get("payload"):  # without a payload it was rejected and ends at once
        return tuple(state.assets) if data.get("all") else ()
    body = parse_command(kind, data["payload"])
    assert isinstance(body, Evaluate | Sync), "a command that names assets is one of these"
    return select.meant(state, body)


def _activated(state: State, event: Event) -> State:
    """Let each waiting command begin whose names no earlier open one has."""
    naming = [command for command in state.commands.values() if command.type in NAMING]
    if all(command.active for command in naming):
        return state
    naming.sort(key=lambda command: command.seq)
    for place, command in enumerate(naming):
        waits = not command.active and not command.cancelling
        if waits and all(command.named.isdisjoint(earlier.named) for earlier in naming[:place]):
            state = _begin(state, replace(command, active=True), event)
    return state


def _begin(state: State, command: Command, event: Event) -> State:
    if command.type != "evaluate":
        return _with(state, _counted(state, command, command.names))
    outcomes: list[tuple[str, str]] = []
    left: list[str] = []
    for name in command.names:
        asset = state.assets.get(name)
        if asset is None or not asset.spec.pairs:
            outcomes.append((name, "retired" if asset is None else "ready"))
        else:
            left.append(name)
            look = Look(event.at, event.seq, gated=False, why="command")
            state = schedule.put(state, schedule.owe(asset, look))
    return _with(state, replace(command, outcomes=Table(outcomes), left=Table((name, True) for name in left)))


def _ended(state: State, event: Event) -> State:
    command_id = event.command_id or ""
    command = state.commands.get(command_id)
    if command is None:
        return state
    commands = {key: value for key, value in state.commands.items() if key != command_id}
    state = replace(state, commands=commands, ended=(*state.ended, command_id)[-_ENDED_KEPT:])
    if "materialize_failed" in event.data:
        state = replace(state, materialize_failed=event.data["materialize_failed"])
    if state.closing == command_id:
        state = replace(state, closed=True)
    if command.type == "evaluate":
        state = _asked_no_more(state, command.left)
    return _activated(state, event)


def _asked_no_more(state: State, left: Iterable[str]) -> State:
    """Have the looks that a cancelled command leaves behind wait for the assets above, as any other.

    Not withdrawn: what was owed before may have become one with it. What a trigger or a person asks for stays ungated.
    """
    for name in left:
        asset = state.assets.get(name)
        if asset is None or asset.look is None or asset.look.gated or asset.direct is not None:
            continue
        if asset.look.why not in ("trigger", "resume"):
            state = schedule.put(state, replace(asset, look=replace(asset.look, gated=True)))
    return state


def _tool_started(state: State, event: Event) -> State:
    command = state.commands[event.command_id or ""]
    execution_id = event.execution_id or ""
    run = Execution(
        execution_id,
        "tool",
        event.seq,
        event.at,
        event.data["generation"],
        command_id=command.id,
        tool=command.tool,
        settings=state.settings,
    )
    state = replace(state, executions=state.executions.with_(execution_id, run), execution_no=state.execution_no + 1)
    return _with(state, replace(command, execution_id=execution_id))


def _tool_finished(state: State, event: Event) -> State:
    return replace(state, executions=state.executions.without(event.execution_id or ""))


def begun(state: State, command_id: str | None, name: str, *, more: bool) -> State:
    """Note that the sync of ``name`` was requested for a command, if it was for one that is open; others may follow."""
    command = state.commands.get(command_id or "")
    if command is None:
        return state
    command = replace(command, begun=command.begun.with_(name, True), more=more)
    return _with(state, _counted(state, command, (name,)))


def synced(state: State, command_id: str | None, name: str, outcome: str) -> State:
    """Note what came of the sync of ``name`` for a command, if it was for one that is open."""
    command = state.commands.get(command_id or "")
    if command is None:
        return state
    return _with(
        state, replace(command, outcomes=command.outcomes.with_(name, outcome), left=command.left.without(name))
    )


def evaluated(state: State, asset: Asset, flight: Evaluation, verdict: str) -> State:
    """Note the verdict for every open command that asked for it; ``asset`` is as it was while ``flight`` ran.

    A verification answers a command that came during its sync; any other evaluation only what came before it began.
    """
    whole = len(flight.conditions) == len(asset.spec.conditions())
    answers = asset.sync is not None or (whole and asset.look is not None and asset.look.seq < flight.seq)
    for command in list(state.commands.values()) if answers else ():
        if asset.name in command.left:
            state = synced(state, command.id, asset.name, verdict)
    if verdict == "unknown" and asset.sync is not None and not asset.sync.ended:
        state = synced(state, asset.sync.command_id, asset.name, "unverified")
    return state


def own_outcome(state: State, command: Command, name: str) -> str:
    """Return what became of a name of a manual sync by itself: free when it was not begun, whatever is above it."""
    if name in command.begun:
        return "runs" if runs(state, command, name) else command.outcomes.get(name) or "retired"
    asset = state.assets.get(name)
    return "retired" if asset is None or schedule.direct_pair(asset) is None else "free"


def runs(state: State, command: Command, name: str) -> bool:
    """Tell whether the sync of a name that a command has begun is not over."""
    asset = state.assets.get(name)
    if asset is None:
        return any(run.command_id == command.id and run.asset == name for run in state.executions.values())
    if asset.sync is None or asset.sync.command_id != command.id:
        return False
    return schedule.in_flight(asset) or name not in command.outcomes


def moved(state: State, name: str) -> State:
    """Return the state after something happened to an asset: manual syncs that have begun it know what it came to."""
    for command in state.commands.values():
        if command.type == "sync" and name in command.begun:
            state = _with(state, _counted(state, command, (name,)))
    return state


def recounted(state: State) -> State:
    """Return the state after the graph has changed: open commands are about what there is of their names now.

    An evaluation asked for is over for an asset that has left, for good: one that comes back by its name is a new one.
    """
    for command in state.commands.values():
        if command.type == "sync" and command.active:
            cleared = replace(command, unbegun=0, running=0, bad=0)
            state = _with(state, _counted(state, cleared, command.names))
        elif command.type == "evaluate":
            for name in list(command.left.unsorted()):
                if name not in state.assets:
                    state = synced(state, command.id, name, "retired")
    return state


def _counted(state: State, command: Command, names: Iterable[str]) -> Command:
    """Put these names of a manual sync into the set that each belongs to; one that is no asset is in none."""
    unbegun, running, bad = command.unbegun, command.running, command.bad
    for name in names:
        if name not in state.assets:
            continue
        bit, outcome = state.lineage.bit(name), own_outcome(state, command, name)
        unbegun, running, bad = unbegun & ~bit, running & ~bit, bad & ~bit
        if outcome == "free":
            unbegun |= bit
        elif outcome == "runs":
            running |= bit
        elif outcome not in (GOOD, "retired"):
            bad |= bit
    if (unbegun, running, bad) == (command.unbegun, command.running, command.bad):
        return command
    return replace(command, unbegun=unbegun, running=running, bad=bad)


def _with(state: State, command: Command) -> State:
    if state.commands.get(command.id) is command:
        return state
    return replace(state, commands={**state.commands, command.id: command})


FOLDS = {
    "command.accepted": _accepted,
    "command.succeeded": _ended,
    "command.failed": _ended,
    "command.cancelled": _ended,
    "command.rejected": _ended,
    "command.quarantined": _ended,
    "tool.started": _tool_started,
    "tool.finished": _tool_finished,
}
