"""What the fold does with locks: an execution takes its key along, and its end makes room for the next (lock.py)."""

from __future__ import annotations

from msgspec.structs import replace

from celld.core import schedule
from celld.core.state import Execution, State
from setpoint.contracts.event import Event


def taken(state: State, run: Execution) -> State:
    """Return the state in which a sync's execution holds its lock, if it needs one."""
    key = _key_of(run)
    return state if key is None else replace(state, locks=state.locks.with_(key, run.id))


def over(state: State, execution_id: str, at: int) -> State:
    """Return the state without an execution; its lock is free, and the oldest sync that waits for it tries at once."""
    run = state.executions.get(execution_id)
    state = replace(state, executions=state.executions.without(execution_id))
    return _freed(state, _key_of(run), execution_id, at)


def _broken(state: State, event: Event) -> State:
    """Take the lock from the execution that had it: what waits for it in this session tries at once."""
    return _freed(state, event.data["key"], event.execution_id or "", event.at)


def _freed(state: State, key: str | None, execution_id: str, at: int) -> State:
    if key is None or state.locks.get(key) != execution_id:
        return state
    state = replace(state, locks=state.locks.without(key))
    queue = state.lock_queues.get(key)
    first = queue.first() if queue is not None else None
    if first is None:
        return state
    asset = state.assets[first[1]]
    assert asset.sync is not None, "an asset queues for a lock without a sync"
    return schedule.put(state, replace(asset, sync=replace(asset.sync, lock_at=min(asset.sync.lock_at, at))))


def _key_of(run: Execution | None) -> str | None:
    return run.sync.lock_key if run is not None and run.kind == "sync" and run.sync is not None else None


FOLDS = {"lock.broken": _broken}
