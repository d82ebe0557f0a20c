"""Cancel and close: runs are asked to die, and what waits for them ends when they have."""

from __future__ import annotations

from celld.core import answer, guardrail
from celld.core.state import Command, Execution, State
from celld.core.turn import Turn
from setpoint.contracts.cell import Delivered
from setpoint.contracts.command import Cancel
from setpoint.contracts.problem import Problem


def accept(turn: Turn, row: Delivered, body: Cancel) -> None:
    """Cancel a command and what it started, or the sync of an asset.

    The cancel itself ends at once; the cancelled command ends when the last of its runs has died.
    """
    target = turn.state.commands.get(body.command_id or "")
    refusal = _refuse_command(body, target) if body.command_id else _refuse_asset(turn, body.asset or "")
    if refusal is not None:
        answer.take(turn, row)
        answer.end(turn, row.command_id, "rejected", code=refusal.code, message=refusal.detail)
        return
    runs, waiting_names = _reach(turn, body, target)
    answer.take(
        turn,
        row,
        cancels=[run.id for run in runs] or None,
        cancels_command=target.id if target is not None else None,
    )
    for name in waiting_names:
        if not turn.full:  # what is left of a command's is taken back when it is brought on
            drop(turn, name)
    for run in runs:
        turn.cancel_run(run)
    answer.end(turn, row.command_id, "succeeded", cancelling=[run.id for run in runs])


def waiting(state: State, command: Command) -> list[str]:
    """Return the assets whose sync a command asked for and has not got, in the order it named them."""
    held = {name: state.assets[name].sync for name in command.names if name in command.begun and name in state.assets}
    return [name for name, sync in held.items() if sync and (sync.command_id, sync.phase) == (command.id, "requested")]


def drop(turn: Turn, name: str) -> None:
    """Cancel a sync that has not started. One of the loop's own is looked at again after a cooldown, as if it had."""
    held = turn.asset(name).sync
    assert held is not None, "a sync is dropped that was not requested"
    until = None if held.kind == "manual" else turn.stamp(guardrail.cooldown_s(turn.state.settings, 1))
    turn.emit("sync.cancelled", name, command_id=held.command_id, reason="cancelled", cooldown_until=until)


def close(turn: Turn, row: Delivered) -> None:
    """Close the session: everything that runs is asked to die, every other open command is cancelled."""
    answer.take(turn, row, closes=True)
    for run in turn.state.executions.values():
        turn.cancel_run(run)
    for other in list(turn.state.commands.values()):
        if other.id != row.command_id:
            answer.end(turn, other.id, "cancelled", message="the session was closed")


def _refuse_command(body: Cancel, target: Command | None) -> Problem | None:
    if target is None:
        return Problem("invalid-transition", f"command {body.command_id} is not open: it has ended, or never was")
    if target.type == "apply":
        return Problem("invalid-transition", "an apply has taken effect when it is accepted; apply the former project")
    return None


def _refuse_asset(turn: Turn, name: str) -> Problem | None:
    asset = turn.state.assets.get(name)
    if asset is None:
        return Problem("unknown-reference", f"there is no asset {name!r}")
    if asset.sync is None or asset.sync.phase == "owed":
        return Problem("invalid-transition", f"no sync of asset {name!r} is running")
    return None


def _reach(turn: Turn, body: Cancel, target: Command | None) -> tuple[list[Execution], list[str]]:
    """Return the runs to end and the assets whose requested sync is to be dropped."""
    begun = [name for name in target.names if name in target.begun] if target is not None else []
    names = [body.asset] if body.asset else begun
    runs: list[Execution] = []
    waiting: list[str] = []
    for name in names:
        asset = turn.state.assets.get(name)
        if asset is None or asset.sync is None:
            continue
        if target is not None and asset.sync.command_id != target.id:
            continue
        run = turn.state.executions.get(asset.sync.execution_id)
        if asset.sync.phase == "requested":
            waiting.append(name)
        elif run is not None:
            runs.append(run)
    if target is not None and (run := turn.state.executions.get(target.execution_id)) is not None:
        runs.append(run)
    return runs, waiting
