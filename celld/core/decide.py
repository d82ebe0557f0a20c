"""The decision: one input on one state gives the events to commit and the effects to perform afterwards.

Called by the cell for each input. It is pure: the state it is given stays as it was, and the state after folding the
events (with their seqs and ``at`` = ``now``) is exactly the one it went on deciding by.
"""

from __future__ import annotations

from typing import assert_never

from celld.core import command, lock, project, runs, settle, workspace
from celld.core.effect import orphan_timeout_s
from celld.core.state import State
from celld.core.turn import Turn
from setpoint.contracts.cell import (
    Decision,
    Delivered,
    Input,
    LockBusy,
    Materialized,
    MaterializeFailed,
    Owned,
    RecoverRun,
    Release,
    RunEnded,
    RunFound,
    RunRefused,
    StepEnded,
    Tick,
)


def decide(state: State, observed: Input, now: int) -> Decision:
    """Decide on one input at ``now`` (microseconds since the epoch)."""
    return concluded(state, work_out(state, observed, now))


def concluded(state: State, turn: Turn) -> Decision:
    """Return the decision that a turn amounts to; ``state`` is the one that it began with."""
    takes, gives = lock.changes(state, turn.state)
    return Decision(
        tuple(turn.events),
        tuple(turn.effects),
        settle.wake_at(turn),
        project.documents(state, turn.state),
        takes,
        gives,
    )


def work_out(state: State, observed: Input, now: int) -> Turn:
    """Do what ``decide`` does, and return the turn itself: its state is what the fold of its events must give."""
    turn = Turn(state, now)
    _take_in(turn, observed)
    settle.settle(turn)
    _workspace_effect(turn, state, observed)
    if turn.state.closed and (not state.closed or isinstance(observed, Owned | Delivered)):
        turn.effects.append(Release("close"))
    return turn


def _take_in(turn: Turn, observed: Input) -> None:
    match observed:
        case Owned():
            _owned(turn, observed)
        case Delivered():
            command.accept(turn, observed)
        case Tick():
            pass
        case Materialized():
            workspace.materialized(turn, observed)
        case MaterializeFailed():
            workspace.failed(turn, observed)
        case StepEnded():
            runs.step_ended(turn, observed)
        case RunEnded():
            runs.run_ended(turn, observed)
        case RunFound():
            runs.found(turn, observed)
        case RunRefused():
            runs.refused(turn, observed)
        case LockBusy():
            lock.busy(turn, observed)
        case _:
            assert_never(observed)


def _owned(turn: Turn, observed: Owned) -> None:
    """Begin or go on under a new owner: every run that is open in the log must be found again."""
    if turn.state.closed:
        return
    turn.emit("session.started", host=observed.host, restarted=observed.restarted)
    for run in turn.state.executions.values():
        turn.effects.append(RecoverRun(run.id, run.at, orphan_timeout_s(run)))


def _workspace_effect(turn: Turn, before: State, observed: Input) -> None:
    """Ask for the workspace when that has become due; a new owner asks again."""
    due = workspace.wanted(turn.state)
    if due is not None and (isinstance(observed, Owned) or due != workspace.wanted(before)):
        turn.effects.append(due)
