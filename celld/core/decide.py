"""The decision: one input on one state gives the events to commit and the effects to perform afterwards.

Called by the cell for each input. It is pure: the state it is given stays as it was, and the state after folding the
events (with their seqs and ``at`` = ``now``) is exactly the one it went on deciding by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from msgspec.structs import replace

from celld.core import command, lock, project, runs, settle, workspace
from celld.core.effect import orphan_timeout_s
from celld.core.state import State
from celld.core.turn import Turn
from setpoint.contracts.cell import (
    Decision,
    Delivered,
    Effect,
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
    StartRun,
    StepEnded,
    Tick,
)

_JOINED_EVENTS_MAX: Final = 100
"""A decision that has so many events is joined by no further input."""


def decide(state: State, observed: Input, now: int) -> Decision:
    """Decide on one input at ``now`` (microseconds since the epoch)."""
    return concluded(state, work_out(state, observed, now))


def decide_several(state: State, observed: Sequence[Input], now: int) -> tuple[Turn, int]:
    """Decide on inputs that wait together, one after the other: return what they come to, and how many they were.

    The turn is what ``decide`` would have come to on each in turn, at one instant; pass it to ``concluded``. Those that
    are left are delivered again. What takes or gives back a lock stands alone: its commit may be refused for that, and
    is then to be tried without it.
    """
    turn, taken = work_out(state, observed[0], now), 1
    alone = any(lock.changes(state, turn.state))
    while taken < len(observed) and not alone and _may_be_joined(turn):
        after = work_out(turn.state, observed[taken], now)
        if any(lock.changes(turn.state, after.state)):
            break
        after.effects = turn.effects + [_further_on(effect, len(turn.events)) for effect in after.effects]
        after.events = turn.events + after.events
        turn, taken = after, taken + 1
    return turn, taken


def _further_on(effect: Effect, events: int) -> Effect:
    """Return an effect of a turn as it is with so many events before those of the turn."""
    if isinstance(effect, StartRun) and not effect.seq:
        return replace(effect, seq_offset=effect.seq_offset + events)
    return effect


def _may_be_joined(turn: Turn) -> bool:
    ends = any(isinstance(effect, Release) for effect in turn.effects)
    return not turn.again and not ends and len(turn.events) < _JOINED_EVENTS_MAX


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
