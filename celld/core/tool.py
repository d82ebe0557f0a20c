"""Tool calls: one step in the session's sandbox, recorded, never repeated blindly."""

from __future__ import annotations

from typing import Any

from celld.core import effect, fit
from celld.core.state import Command, Execution
from celld.core.turn import Turn
from setpoint.contracts.run import StepResult


def start(turn: Turn, command: Command) -> None:
    """Start the tool of an accepted command as a new execution."""
    assert command.tool is not None and turn.state.workspace is not None
    execution_id = turn.next_execution_id()
    turn.emit(
        "tool.started",
        execution_id=execution_id,
        command_id=command.id,
        name=command.tool.name,
        generation=turn.state.workspace.generation,
    )
    run = turn.state.executions[execution_id]
    turn.effects.append(effect.start_run(turn.state, run, seq_offset=len(turn.events) - 1))


def finish(turn: Turn, run: Execution, result: StepResult, enforced: dict[str, str]) -> None:
    """Record how the tool ended and end its command: succeeded when it exited with 0."""
    result = fit.shortened(result)
    turn.emit(
        "tool.finished",
        execution_id=run.id,
        command_id=run.command_id,
        **fit.document(result),
        enforced=enforced or None,
    )
    answer: dict[str, Any] = {
        "name": result.name,
        "exit_code": result.exit_code,
        "output": result.stdout.tail,
        "truncated": result.stdout.truncated or result.stdout.bytes > len(result.stdout.tail.encode()),
        "error_output": result.stderr.tail,
        "execution_id": run.id,
        "enforced": enforced,
    }
    if not result.ok:
        how = result.error or (f"signal {result.signal}" if result.signal else f"exit code {result.exit_code}")
        answer["message"] = f"tool {result.name}: {how}" + (f": {result.detail}" if result.detail else "")
    cancelled = run.dying and result.error == "cancelled"
    _end(turn, run, "cancelled" if cancelled else "succeeded" if result.ok else "failed", answer)


def fail(turn: Turn, run: Execution, how: str, message: str) -> None:
    """End a tool of which there is no result."""
    name = run.tool.name if run.tool is not None else ""
    turn.emit("tool.finished", execution_id=run.id, command_id=run.command_id, name=name, error=how, detail=message)
    answer = {"name": name, "exit_code": None, "output": "", "message": message, "execution_id": run.id}
    _end(turn, run, "cancelled" if how == "cancelled" else "failed", answer)


def _end(turn: Turn, run: Execution, how: str, answer: dict[str, Any]) -> None:
    command = turn.state.commands.get(run.command_id or "")
    if command is not None:
        turn.emit(f"command.{how}", command_id=command.id, lane=command.lane, result=answer)
