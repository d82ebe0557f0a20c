"""Folds of what concerns the session as a whole: its project, its workspace, its halt, its end."""

from __future__ import annotations

from msgspec.structs import replace

from celld.core import fold_command, schedule, timer
from celld.core.state import Asset, Generation, Halted, Look, State, Workspace
from setpoint.contracts.event import Event
from setpoint.contracts.resource.graph import downstreams, topological_order, upstreams_of
from setpoint.contracts.resource.model import CompiledAsset, decode


def _applied(state: State, event: Event) -> State:
    """Make a compiled set the session's project: same digest, same asset; what changed is looked at anew."""
    if event.attachment is None:
        raise ValueError("resources.applied came without its compiled set")
    compiled = decode(event.attachment)
    generation = Generation(event.data["generation"], event.data["resources"], event.data["files"])
    graph = upstreams_of(compiled)
    executions = state.executions
    for execution in list(executions.values()):
        if execution.asset and execution.asset not in compiled.assets:
            executions = executions.with_(execution.id, replace(execution, dying=True))
    assets = [_next_asset(state, spec, event, generation.n) for spec in compiled.assets.values()]
    applied = replace(
        state, generation=generation, settings=compiled.settings, executions=executions, materialize_failed=None
    )
    return fold_command.recounted(schedule.rebuild(applied, assets, downstreams(graph), topological_order(graph)))


def _next_asset(state: State, spec: CompiledAsset, event: Event, generation: int) -> Asset:
    initial = Look(event.at, event.seq, gated=True, why="initial") if spec.pairs else None
    old = state.assets.get(spec.name)
    if old is None:
        asset = Asset(spec.name, spec, generation, look=initial)
    elif old.spec.digest == spec.digest:
        asset = old
    else:
        asset = _changed(old, spec, generation, initial)
    if spec.pairs and spec.auto_sync_on_change and asset is old and _files_changed(state, event):
        asset = schedule.owe(asset, Look(event.at, event.seq, gated=True, why="change", generation=generation))
    if event.data.get("evaluate") and spec.pairs:
        asset = schedule.owe(asset, Look(event.at, event.seq, gated=False, why="command", generation=generation))
    return asset


def _files_changed(state: State, event: Event) -> bool:
    return state.generation is not None and state.generation.files != event.data["files"]


def _changed(old: Asset, spec: CompiledAsset, generation: int, initial: Look | None) -> Asset:
    """Carry an asset over to its new spec: verdict kept but stale, counters reset, changed conditions forgotten."""
    kept = {condition.name for condition in spec.conditions()} - {
        condition.name for condition in set(spec.conditions()) - set(old.spec.conditions())
    }
    guardrail = old.suspended is not None and old.suspended.by == "guardrail"
    sync = old.sync
    if sync is not None and sync.phase in ("stages", "verifying"):
        sync = replace(sync, outdated=True)
    elif sync is not None and sync.phase == "owed" and not spec.pairs:
        sync = None  # there is nothing left that could verify it
    after = replace(
        old,
        spec=spec,
        generation=generation,
        stale=old.known != "not_evaluated",
        results={name: result for name, result in old.results.items() if name in kept},
        due={name: at for name, at in old.due.items() if name in kept},
        ticks={name: at for name, at in old.ticks.items() if name in kept},
        look=None if initial is None else schedule.owe(old, initial).look,
        direct=old.direct if spec.pairs else None,
        drift=None,
        retry=None,
        sync=sync,
        blocked=False,
        failures=0,
        turns=0,
        cooldown_until=0,
        suspended=None if guardrail else old.suspended,
    )
    return timer.wound(after)


def _materialized(state: State, event: Event) -> State:
    data = event.data
    stands = Workspace(data["generation"], data["sandbox_host"], data["ledger_id"], data["workspace_no"])
    return replace(state, workspace=stands, materialize_failed=None)


def _workspace_lost(state: State, event: Event) -> State:
    """Mark what was learnt in the lost workspace as stale: evaluated anew, and not relied on until then."""
    for asset in list(state.assets.values()):
        if asset.known == "not_evaluated" or not asset.spec.pairs:
            continue
        owing = schedule.owe(state.assets[asset.name], Look(event.at, event.seq, gated=True, why="stale"))
        state = schedule.put(state, timer.wound(replace(owing, stale=True, retry=None, valid_from=event.seq)))
    return replace(state, workspace=None)


def _halt_started(state: State, event: Event) -> State:
    return replace(state, halted=Halted(event.at, event.data.get("reason", ""), event.data.get("by", "")))


def _halt_ended(state: State, event: Event) -> State:
    """Lift the halt: what it alone kept from syncing is evaluated first; triggers that it held up become patient."""
    for _, name in list(state.halted_drifts):
        asset = state.assets[name]
        look = asset.look or Look(event.at, event.seq, gated=True, why="unhalt")
        state = schedule.put(state, replace(asset, drift=None, look=look))
    for asset in list(state.assets.values()):
        if asset.direct is not None and asset.suspended is None:
            state = schedule.put(state, schedule.patient(state.assets[asset.name]))
    return replace(state, halted=None)


def _closed(state: State, event: Event) -> State:
    return replace(state, closed=True)


FOLDS = {
    "resources.applied": _applied,
    "workspace.materialized": _materialized,
    "workspace.lost": _workspace_lost,
    "halt.started": _halt_started,
    "halt.ended": _halt_ended,
    "session.closed": _closed,
}
