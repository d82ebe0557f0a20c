"""Commands: each is accepted, does what its type says, and ends exactly once.

``accept`` takes one from the inbox, called by ``decide``; progress.py brings the open ones on afterwards.
"""

from __future__ import annotations

from typing import Final

from celld.core import answer, apply, cancel, schedule, sync
from celld.core.turn import Turn
from setpoint.contracts.cell import Delivered
from setpoint.contracts.codec import canonical_json
from setpoint.contracts.command import (
    Apply,
    Body,
    Cancel,
    Close,
    Evaluate,
    Halt,
    Resume,
    Suspend,
    Sync,
    Tool,
    Unhalt,
    parse_command,
)
from setpoint.contracts.limits import COMMAND_PAYLOAD_BYTES_MAX
from setpoint.contracts.problem import Problem
from setpoint.contracts.resource.nearest import nearest_hint

NAMES_MAX: Final = 500


def accept(turn: Turn, row: Delivered) -> None:
    """Accept a command and carry it out as far as is possible now. A row that was taken before changes nothing."""
    if row.command_id in turn.state.commands or row.command_id in turn.state.ended:
        return
    try:
        body = parse_command(row.type, row.payload)
        _check(turn, row, body)
    except Problem as problem:
        answer.take(turn, row)
        answer.end(turn, row.command_id, "rejected", code=problem.code, message=problem.detail)
        return
    match body:
        case Apply():
            apply.accept(turn, row, body)
        case Evaluate():
            answer.take(turn, row, payload=row.payload, all=True if not body.select else None)
        case Sync() | Tool():
            answer.take(turn, row, payload=row.payload)
        case Cancel():
            cancel.accept(turn, row, body)
        case Close():
            cancel.close(turn, row)
        case Suspend():
            answer.take(turn, row)
            _suspend(turn, body)
            answer.end(turn, row.command_id, "succeeded")
        case Resume():
            answer.take(turn, row)
            _resume(turn, body)
            answer.end(turn, row.command_id, "succeeded")
        case Halt():
            answer.take(turn, row)
            _halt(turn, body)
            answer.end(turn, row.command_id, "succeeded")
        case Unhalt():
            answer.take(turn, row)
            if turn.state.halted is not None:
                turn.emit("halt.ended", by="user")
            answer.end(turn, row.command_id, "succeeded")


def _check(turn: Turn, row: Delivered, body: Body) -> None:
    """Raise a Problem when a well-formed command cannot be taken in this state."""
    if turn.state.closing is not None or turn.state.closed:
        raise Problem("invalid-transition", "the session is closing")
    if len(canonical_json(row.payload)) > COMMAND_PAYLOAD_BYTES_MAX:
        raise Problem("payload-too-large", f"a payload has at most {COMMAND_PAYLOAD_BYTES_MAX} bytes")
    if isinstance(body, Evaluate | Sync | Suspend | Resume):
        if turn.state.generation is None:
            raise Problem("invalid-transition", "no project has been applied")
        if len(body.select) > NAMES_MAX:
            raise Problem("payload-too-large", f"a command names at most {NAMES_MAX} assets")
        for name in body.select:
            if name not in turn.state.assets:
                hint = nearest_hint(name, tuple(turn.state.assets))
                raise Problem("unknown-reference", f"there is no asset {name!r}" + (f"; {hint}" if hint else ""))
    if isinstance(body, Evaluate | Sync | Tool) and turn.state.materialize_failed is not None:
        raise Problem("invalid-transition", "the workspace could not be prepared; apply the project again")
    if isinstance(body, Sync):
        _check_syncs(turn, body)


def _check_syncs(turn: Turn, body: Sync) -> None:
    for name in body.select:
        pair = schedule.direct_pair(turn.asset(name))
        if pair is None or pair[1].sync is None:
            raise Problem("validation-failed", f"asset {name!r} has no sync")
        if body.stages and not {stage for stage, _ in pair[1].sync.stages()} & set(body.stages):
            raise Problem("validation-failed", f"the sync of {name!r} has none of the stages {sorted(body.stages)}")


def _suspend(turn: Turn, body: Suspend) -> None:
    for name in dict.fromkeys(body.select):
        sync.withdraw(turn, name, "suspended")
        turn.emit("asset.suspended", name, reason=body.reason, by="user")


def _resume(turn: Turn, body: Resume) -> None:
    for name in dict.fromkeys(body.select):
        asset = turn.asset(name)
        if asset.suspended is not None or asset.failures or asset.turns:
            turn.emit("asset.resumed", name, by="user")


def _halt(turn: Turn, body: Halt) -> None:
    if turn.state.halted is None:
        turn.emit("halt.started", reason=body.reason, by="user")
