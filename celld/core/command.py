"""Commands: each is accepted, does what its type says, and ends exactly once.

``accept`` takes one from the inbox, called by ``decide``; progress.py brings the open ones on afterwards.
"""

from __future__ import annotations

from typing import Final

from celld.core import answer, apply, cancel, dry_run, fit, lock, select, sync
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
    LockBroken,
    Recover,
    Resume,
    Suspend,
    Sync,
    Tool,
    Unhalt,
    parse_row,
)
from setpoint.contracts.limits import COMMAND_PAYLOAD_BYTES_MAX
from setpoint.contracts.problem import Problem

SELECTORS_MAX: Final = 500
SUSPENDED_MAX: Final = 500


def accept(turn: Turn, row: Delivered) -> None:
    """Accept a command and carry it out as far as is possible now. A row that was taken before changes nothing."""
    if row.command_id in turn.state.commands or row.command_id in turn.state.ended:
        return
    try:
        body = parse_row(row.type, row.payload)
        _check(turn, row, body)
    except Problem as problem:
        answer.take(turn, row)
        answer.end(turn, row.command_id, "rejected", code=problem.code, message=problem.detail)
        return
    match body:
        case Apply():
            apply.accept(turn, row, body)
        case Evaluate() | Sync():
            _take_naming(turn, row, body)
        case Tool():
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
        case Recover():
            raise AssertionError("a session that has a cell has not failed: _check refuses it")
        case LockBroken():
            answer.take(turn, row)
            lock.broken(turn, body)
            answer.end(turn, row.command_id, "succeeded")


def _check(turn: Turn, row: Delivered, body: Body) -> None:
    """Raise a Problem when a well-formed command cannot be taken in this state."""
    if isinstance(body, Recover):
        raise Problem("invalid-transition", "the session has not failed: there is nothing to recover")
    if (turn.state.closing is not None or turn.state.closed) and not isinstance(body, LockBroken):
        raise Problem("invalid-transition", "the session is closing")
    if len(canonical_json(row.payload)) > COMMAND_PAYLOAD_BYTES_MAX:
        raise Problem("payload-too-large", f"a payload has at most {COMMAND_PAYLOAD_BYTES_MAX} bytes")
    if isinstance(body, Evaluate | Sync | Suspend | Resume):
        _check_selection(turn, body)
    if isinstance(body, Evaluate | Sync | Tool) and turn.state.materialize_failed is not None:
        raise Problem("invalid-transition", "the workspace could not be prepared; apply the project again")


def _check_selection(turn: Turn, body: select.Naming) -> None:
    if turn.state.generation is None:
        raise Problem("invalid-transition", "no project has been applied")
    if len(body.select) + len(body.exclude) > SELECTORS_MAX:
        raise Problem("payload-too-large", f"a command has at most {SELECTORS_MAX} selectors")
    names = select.meant(turn.state, body)
    if isinstance(body, Sync):
        _check_syncs(turn, body, names)
    if isinstance(body, Suspend | Resume) and len(names) > SUSPENDED_MAX:
        raise Problem("payload-too-large", f"these are {len(names)} assets and {SUSPENDED_MAX} at a time may be")


def _check_syncs(turn: Turn, body: Sync, names: tuple[str, ...]) -> None:
    for name in names:
        if select.syncs(turn.asset(name), body.stages):
            continue
        if not select.syncs(turn.asset(name), ()):
            raise Problem("validation-failed", f"asset {name!r} has no sync")
        raise Problem("validation-failed", f"the sync of {name!r} has none of the stages {sorted(body.stages)}")
    if not names and select.chosen(turn.state, body.select, body.exclude):
        raise Problem("validation-failed", "nothing that is selected has a sync with these stages")


def _take_naming(turn: Turn, row: Delivered, body: Evaluate | Sync) -> None:
    """Accept a command that names assets, with the names unless they are all there are or too many to write down."""
    if body.dry_run:
        answer.take(turn, row, payload=row.payload, names=[])
        found = dry_run.foretell(turn.state, body, select.meant(turn.state, body))
        answer.end(turn, row.command_id, "succeeded", **found)
        return
    every = isinstance(body, Evaluate) and not body.select and not body.exclude
    names = None if every else list(select.meant(turn.state, body))
    if not fit.fits([row.payload, names]):
        names = None
    answer.take(turn, row, payload=row.payload, names=names, all=True if every else None)


def _suspend(turn: Turn, body: Suspend) -> None:
    for name in select.meant(turn.state, body):
        sync.withdraw(turn, name, "suspended")
        turn.emit("asset.suspended", name, reason=body.reason, by="user")


def _resume(turn: Turn, body: Resume) -> None:
    for name in select.meant(turn.state, body):
        asset = turn.asset(name)
        if asset.suspended is not None or asset.failures or asset.turns:
            turn.emit("asset.resumed", name, by="user")


def _halt(turn: Turn, body: Halt) -> None:
    if turn.state.halted is None:
        turn.emit("halt.started", reason=body.reason, by="user")
