"""Folds of syncs: requested, started, a stage run, and the one event that ends each."""

from __future__ import annotations

from msgspec.structs import replace

from celld.core import fold_command, fold_lock, schedule, timer
from celld.core.state import Asset, Execution, LastSync, Look, State, Sync
from setpoint.contracts.clock import parse_rfc3339
from setpoint.contracts.event import Event


def _requested(state: State, event: Event) -> State:
    asset, data = state.assets[event.asset or ""], event.data
    sync = Sync(
        data["kind"],
        data["pair"],
        asset.spec.pairs[data["pair"]],
        tuple(data["stages"]),
        whole=data["whole"],
        takes_direct=data["takes_direct"],
        requested_at=event.at,
        command_id=event.command_id,
        before=asset.last_evaluation.ran if data["kind"] == "drift" and asset.last_evaluation is not None else {},
        lock_at=event.at,
    )
    state = schedule.put(state, replace(asset, sync=sync))
    return fold_command.begun(state, event.command_id, asset.name, more=data.get("more", False))


def _waiting(state: State, event: Event) -> State:
    """Try the lock again later: somebody holds it."""
    asset, data = state.assets[event.asset or ""], event.data
    assert asset.sync is not None, "a sync waits that was not requested"
    waiting = replace(
        asset.sync,
        lock_at=parse_rfc3339(data["retry_at"]),
        lock_tries=data["attempt"],
        lock_holder=data["holder"],
    )
    return schedule.put(state, replace(asset, sync=waiting))


def _started(state: State, event: Event) -> State:
    asset, execution_id = state.assets[event.asset or ""], event.execution_id or ""
    sync = asset.sync
    assert sync is not None, "a sync starts that was not requested"
    run = Execution(
        execution_id,
        "sync",
        event.seq,
        event.at,
        event.data["generation"],
        asset=asset.name,
        command_id=event.command_id,
        stages=sync.stages,
        sync=sync.pair_spec.sync,
        conditions=asset.spec.conditions(),
        settings=state.settings,
    )
    state = replace(state, executions=state.executions.with_(execution_id, run), execution_no=state.execution_no + 1)
    state = fold_lock.taken(state, run)
    started = replace(sync, phase="stages", execution_id=execution_id, started_at=event.at)
    asset = replace(asset, sync=started, look=None, retry=None, blocked=False, valid_from=event.seq)
    return schedule.put(state, timer.wound(asset))


def _step_finished(state: State, event: Event) -> State:
    """Record a stage. After the last one, or the first that failed, what the sync did to the trigger is known."""
    data = event.data
    execution = state.executions[event.execution_id or ""]
    state = replace(state, executions=state.executions.with_(execution.id, replace(execution, last_step=data["index"])))
    asset = state.assets.get(event.asset or "")
    if asset is None or asset.sync is None or asset.sync.execution_id != execution.id:
        return state
    sync, ok = asset.sync, data.get("exit_code") == 0
    sync = replace(sync, exits=(*sync.exits, (data["name"], data.get("exit_code"))), stages_ok=sync.stages_ok and ok)
    if sync.phase != "stages" or (ok and data["name"] != sync.stages[-1]) or (execution.dying and not ok):
        return schedule.put(state, replace(asset, sync=sync))
    direct = asset.direct
    if direct is not None and ok and sync.whole and (sync.takes_direct or direct.merged):
        direct = None
    elif direct is not None:
        direct = replace(direct, merged=False, retry=not direct.merged and (sync.takes_direct or direct.retry))
    return schedule.put(state, replace(asset, sync=replace(sync, phase="verifying"), direct=direct))


def _succeeded(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    return _ended(state, event, replace(asset, turns=event.data.get("turns", asset.turns)))


def _failed(state: State, event: Event) -> State:
    asset, data = state.assets[event.asset or ""], event.data
    asset = replace(asset, failures=data["k"], turns=0, cooldown_until=parse_rfc3339(data["cooldown_until"]))
    if data["reason"] != "stage":
        return _ended(state, event, asset)
    sync = asset.sync
    assert sync is not None, "a sync fails that is not in flight"
    state = fold_command.synced(state, sync.command_id, asset.name, "failed")
    return schedule.put(state, replace(asset, sync=replace(sync, ended=True), last_sync=_last(sync, event)))


def _cancelled(state: State, event: Event) -> State:
    """A cancelled sync spends the trigger it took; one that came while it ran stays."""
    asset = state.assets.get(event.asset or "")
    if asset is None or asset.sync is None or asset.sync.execution_id != (event.execution_id or ""):
        return fold_lock.over(state, event.execution_id or "", event.at)  # of an asset that was removed meanwhile
    direct = asset.direct
    if direct is not None:
        direct = None if asset.sync.takes_direct and not direct.merged else replace(direct, merged=False)
    return _ended(state, event, _asked_for(state, _later(replace(asset, direct=direct), event), event))


def _given_back(state: State, event: Event) -> State:
    """A sync that was skipped, or whose outcome nobody knows, gives its trigger back and is looked at later."""
    asset = state.assets.get(event.asset or "")
    if asset is None or asset.sync is None or asset.sync.execution_id != (event.execution_id or ""):
        return fold_lock.over(state, event.execution_id or "", event.at)  # of an asset that was removed meanwhile
    direct, sync = asset.direct, asset.sync
    if direct is not None:
        retry = direct.retry or (sync.takes_direct and not direct.merged and sync.phase != "requested")
        direct = replace(direct, merged=False, retry=retry)
    asset = replace(asset, direct=direct)
    if sync.phase == "requested" and asset.drift is not None:
        asset = replace(asset, drift=replace(asset.drift, obstacle=event.data["reason"]))
    return _ended(state, event, _asked_for(state, _later(asset, event), event))


def _asked_for(state: State, asset: Asset, event: Event) -> Asset:
    """Owe the look again that an open command waits for: no verification of this sync answers it any more."""
    if any(command.type == "evaluate" and asset.name in command.left for command in state.commands.values()):
        return schedule.owe(asset, Look(event.at, event.seq, gated=False, why="command"))
    return asset


def _later(asset: Asset, event: Event) -> Asset:
    """Hold the asset back until the cooldown that the event names; then it is evaluated."""
    if not event.data.get("cooldown_until"):
        return asset
    until = max(asset.cooldown_until, parse_rfc3339(event.data["cooldown_until"]))
    look = asset.look or Look(until, event.seq, gated=True, why="cooldown")
    return replace(asset, cooldown_until=until, look=look)


def _ended(state: State, event: Event, asset: Asset) -> State:
    sync = asset.sync
    assert sync is not None, "a sync ends that is not in flight"
    outcome = event.type.removeprefix("sync.")
    last = _last(sync, event) if sync.execution_id else asset.last_sync
    state = fold_command.synced(state, sync.command_id, asset.name, outcome)
    state = fold_lock.over(state, sync.execution_id, event.at)
    return schedule.put(state, replace(asset, sync=None, evaluation=None, last_sync=last))


def _last(sync: Sync, event: Event) -> LastSync:
    outcome, reason = event.type.removeprefix("sync."), event.data.get("reason", "")
    return LastSync(sync.execution_id, sync.kind, outcome, reason, sync.started_at, event.at, sync.exits)


FOLDS = {
    "sync.requested": _requested,
    "sync.waiting": _waiting,
    "sync.started": _started,
    "sync.step_finished": _step_finished,
    "sync.succeeded": _succeeded,
    "sync.failed": _failed,
    "sync.cancelled": _cancelled,
    "sync.skipped": _given_back,
    "sync.outcome_unknown": _given_back,
}
