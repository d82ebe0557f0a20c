"""What an execution makes a sandbox do: its steps in order, and the effect that starts them.

Built from the execution as the fold holds it, so that a run that was never seen is started again word for word.
"""

from __future__ import annotations

from typing import Any, Final

from celld.core import fit
from celld.core.state import Execution, State
from setpoint.contracts.cell import StartRun
from setpoint.contracts.command import Tool
from setpoint.contracts.run import Step

_TOOL_TIMEOUT_S: Final = 60.0
_UPPERCASE: Final = ("sh", "-c", "printf %s \"$1\" | LANG=C.UTF-8 LC_ALL=C.UTF-8 sed -z 's/.*/\\U&/'", "uppercase")
_LIST: Final = ("sh", "-c", 'find "./$1" -mindepth 1 -not -type d -printf "%P\\n" | LC_ALL=C sort', "list_files")


def steps_of(state: State, execution: Execution) -> tuple[Step, ...]:
    """Return the steps of an execution: the stages of its sync, then its conditions; or its one tool."""
    if execution.tool is not None:
        argv, timeout_s = tool_argv(execution.tool)
        return (Step(0, "tool", execution.tool.name, argv, timeout_s, _injected(state, execution, "tool")),)
    default_s = execution.settings.default_timeout_s
    steps: list[Step] = []
    for name, stage in execution.sync.stages() if execution.sync is not None else ():
        if name not in execution.stages or execution.sync is None:
            continue
        timeout_s = stage.timeout_s or execution.sync.timeout_s or default_s
        env = (*stage.env, *_injected(state, execution, name))
        steps.append(Step(len(steps), "stage", name, stage.argv, timeout_s, env))
    for condition in execution.conditions:
        env = (*condition.env, *_injected(state, execution, "evaluate"))
        timeout_s = condition.timeout_s or default_s
        steps.append(Step(len(steps), "condition", condition.name, condition.argv, timeout_s, env, condition.probe))
    return tuple(steps)


def start_run(state: State, execution: Execution, *, seq_offset: int = 0, seq: int = 0) -> StartRun:
    """Return the effect that starts an execution: with its offset in this decision, or with its seq when re-sent."""
    return StartRun(
        execution.id,
        steps_of(state, execution),
        execution.generation,
        execution.asset,
        seq_offset,
        seq,
        orphan_timeout_s(execution),
    )


def orphan_timeout_s(execution: Execution) -> float:
    """Return how long an execution goes on without its owner: what its host was told, and what an owner waits for."""
    return (execution.sync.orphan_timeout_s if execution.sync else None) or execution.settings.orphan_timeout_s


def outline(state: State, execution: Execution) -> list[dict[str, Any]]:
    """Return the steps as a started event names them, as many as fit: the rest of each follows from the project."""
    steps = steps_of(state, execution)
    return fit.first_of([{"index": step.index, "kind": step.kind, "name": step.name} for step in steps])


def tool_argv(tool: Tool) -> tuple[tuple[str, ...], float]:
    """Return the command of a tool and its time limit in seconds. ``tool`` has passed parse_command."""
    args = tool.args
    match tool.name:
        case "echo":
            return ("printf", "%s", args["text"]), _TOOL_TIMEOUT_S
        case "uppercase":
            return (*_UPPERCASE, args["text"]), _TOOL_TIMEOUT_S
        case "list_files":
            return (*_LIST, args.get("path", ".")), _TOOL_TIMEOUT_S
        case "exec":
            return tuple(args["argv"]), float(args.get("timeout_s", _TOOL_TIMEOUT_S))


def _injected(state: State, execution: Execution, stage: str) -> tuple[tuple[str, str], ...]:
    return (
        ("SETPOINT_EXECUTION_ID", execution.id),
        ("NAGI_EXECUTION_ID", execution.id),
        ("SETPOINT_SESSION", state.session_id),
        ("SETPOINT_ASSET", execution.asset),
        ("SETPOINT_STAGE", stage),
    )
