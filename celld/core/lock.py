"""Locks: a sync with a ``lockKey`` runs while no other sync of the tenant holds that key (reconcile.md section 4).

The lock is taken by the very append that starts the sync and given back by the one that ends its execution, so it
follows the execution and no timer. Which execution of this session holds a key is in the state; who else does is
learnt when the append is refused. An operator may take a lock away; the execution then goes on without it. Called by
``settle`` and ``decide``; fold_lock.py keeps who holds what.
"""

from __future__ import annotations

from typing import Final

from celld.core import guardrail
from celld.core.state import Asset, Execution, State
from celld.core.turn import Turn
from setpoint.contracts.cell import LockBusy, LockChange
from setpoint.contracts.command import LockBroken

_REASON_CHARS_MAX: Final = 500


def busy(turn: Turn, observed: LockBusy) -> None:
    """Take note that the start of a sync was not written because its lock is held; in vain if it waits no more."""
    for at, name in turn.state.requested:
        if at > turn.now:
            return
        waiting = turn.asset(name).sync
        if waiting is not None and waiting.lock_key == observed.key:
            tried_in_vain(turn, name, observed.holder)
            return


def tried_in_vain(turn: Turn, name: str, holder: str) -> None:
    """Let a requested sync try its lock again later, or give it up after the last time."""
    asset, settings = turn.asset(name), turn.state.settings
    sync = asset.sync
    assert sync is not None, "a lock is tried for a sync that was not requested"
    tries = sync.lock_tries + 1
    if tries < settings.lock_retry_max_attempts:
        turn.emit(
            "sync.waiting",
            name,
            command_id=sync.command_id,
            reason="lock",
            key=sync.lock_key,
            holder=holder,
            attempt=tries,
            retry_at=turn.stamp(settings.lock_retry_interval_s),
        )
        return
    turn.emit(
        "sync.skipped",
        name,
        command_id=sync.command_id,
        reason="lock",
        key=sync.lock_key,
        holder=holder,
        attempt=tries,
        cooldown_until=turn.stamp(guardrail.cooldown_s(settings, 1)),
    )


def broken(turn: Turn, notice: LockBroken) -> None:
    """Record that an operator took a lock away; the database has freed it. What ran under it goes on without it."""
    run = turn.state.executions.get(notice.execution_id)
    turn.emit(
        "lock.broken",
        run.asset if run is not None else None,
        execution_id=notice.execution_id,
        key=notice.key,
        by=notice.by,
        reason=notice.reason[:_REASON_CHARS_MAX],
    )


def is_missing(state: State, run: Execution) -> bool:
    """Tell whether an execution needs a lock that it does not hold any more: it must not begin, if it has not."""
    key = run.sync.lock_key if run.sync is not None else None
    return key is not None and state.locks.get(key) != run.id


def holder_of(state: State, asset: Asset) -> str | None:
    """Return who of this session holds the lock that the asset's requested sync needs: ``session/execution``."""
    key = asset.sync.lock_key if asset.sync is not None else None
    held = state.locks.get(key) if key is not None else None
    return f"{state.session_id}/{held}" if held is not None else None


def changes(before: State, after: State) -> tuple[tuple[LockChange, ...], tuple[LockChange, ...]]:
    """Return the locks that a decision takes and those that it gives back."""
    keys = after.locks.changed_since(before.locks)
    takes = [
        LockChange(key, held, after.executions[held].settings.lock_ttl_s)
        for key in keys
        if (held := after.locks.get(key)) is not None
    ]
    gives = [LockChange(key, held) for key in keys if (held := before.locks.get(key)) is not None]
    return tuple(takes), tuple(gives)
