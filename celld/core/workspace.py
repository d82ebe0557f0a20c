"""The session's files: which generation they should be at, when work may run in them, and what their loss means."""

from __future__ import annotations

from celld.core.state import State
from celld.core.turn import Turn
from setpoint.contracts.cell import Materialize, Materialized, MaterializeFailed


def target(state: State) -> int | None:
    """Return the generation that the workspace should be at: the applied one, or 0 when only tools need a place."""
    if state.generation is not None:
        return state.generation.n
    return 0 if any(command.type == "tool" for command in state.commands.values()) else None


def is_ready(state: State) -> bool:
    """Tell whether runs may start: the workspace stands at its target and the session is not closing."""
    stands = state.workspace is not None and state.workspace.generation == target(state)
    return stands and state.closing is None and not state.closed


def wanted(state: State) -> Materialize | None:
    """Return the effect that is under way or due: the workspace is behind, and nothing runs in it."""
    goal = target(state)
    at_goal = state.workspace is not None and state.workspace.generation == goal
    if goal is None or at_goal or state.materialize_failed == goal or state.closing is not None or state.closed:
        return None
    if len(state.executions):
        return None
    return Materialize(goal, state.generation.files if state.generation is not None else "")


def materialized(turn: Turn, report: Materialized) -> None:
    """Take note of where the workspace stands; another place than before means that the former one is lost.

    Places are counted upwards, so that one that was left before is never taken for a new one.
    """
    known = turn.state.workspace
    place = (report.sandbox_host, report.ledger_id, report.workspace_no)
    if known is not None and report.workspace_no < known.workspace_no:
        return  # a late answer, from a place that was left
    if known is not None and (known.sandbox_host, known.ledger_id, known.workspace_no) != place:
        turn.emit("workspace.lost", as_of_seq=0, sandbox_host=known.sandbox_host, workspace_no=known.workspace_no)
    elif known is not None and report.generation <= known.generation:
        return
    turn.emit(
        "workspace.materialized",
        generation=report.generation,
        sandbox_host=report.sandbox_host,
        ledger_id=report.ledger_id,
        workspace_no=report.workspace_no,
    )
    for command in list(turn.state.commands.values()):
        if command.type == "apply" and command.generation <= report.generation:
            turn.emit(
                "command.succeeded", command_id=command.id, lane=command.lane, result={"generation": command.generation}
            )


def failed(turn: Turn, report: MaterializeFailed) -> None:
    """End what waits for a workspace that cannot be had; the next apply, or a new owner, tries again."""
    if report.generation != target(turn.state):
        return
    for command in list(turn.state.commands.values()):
        waits = command.type in ("apply", "tool", "evaluate", "sync") and not command.execution_id
        if waits:
            turn.emit(
                "command.failed",
                command_id=command.id,
                lane=command.lane,
                result={"message": f"the workspace cannot be prepared: {report.reason}"[:1000]},
                materialize_failed=report.generation,
            )
