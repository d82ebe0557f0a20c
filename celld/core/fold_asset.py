"""Folds of what happens to an asset beside its evaluations and syncs: triggers, drift, blocks, suspensions."""

from __future__ import annotations

from msgspec.structs import replace

from celld.core import schedule
from celld.core.state import Asset, Direct, Drift, Look, State, Suspension
from setpoint.contracts.event import Event


def _ready(state: State, event: Event) -> State:
    """Hand direct triggers to the assets named; what the asset itself forwarded is spent, or kept while suspended."""
    asset = state.assets[event.asset or ""]
    if event.data.get("forwards") and asset.direct is not None:
        kept = replace(asset.direct, forwarded=True) if schedule.may_sync(asset) else None
        state = schedule.put(state, replace(asset, direct=kept))
    for name in event.data["triggers"]:
        below = state.assets.get(name)
        if below is not None:
            state = schedule.put(state, _triggered(below, event))
    return state


def _triggered(asset: Asset, event: Event) -> Asset:
    """Set the direct trigger: merged into the sync that it would have run, or owed, or (no sync) to be looked at.

    One that is not merged takes the place of the one that the sync in flight took: that sync spends it no more.
    """
    direct = Direct(event.at, event.seq, merged=_merges(asset))
    if asset.sync is not None and asset.sync.takes_direct and not direct.merged:
        asset = replace(asset, sync=replace(asset.sync, takes_direct=False))
    if schedule.may_sync(asset) and asset.suspended is None:
        return replace(asset, direct=direct)
    return schedule.owe(replace(asset, direct=direct), Look(event.at, event.seq, gated=False, why="trigger"))


def _merges(asset: Asset) -> bool:
    sync, wanted = asset.sync, schedule.direct_pair(asset)
    return (
        sync is not None
        and wanted is not None
        and sync.phase in ("requested", "stages")
        and sync.whole
        and sync.stages_ok
        and not sync.outdated
        and sync.pair == wanted[0]
    )


def _drifted(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    drift = Drift(event.at, event.data["pair"], event.data.get("obstacle") or "")
    return schedule.put(state, replace(asset, drift=drift))


def _blocked(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    look = asset.look or Look(event.at, event.seq, gated=True, why="interval")
    return schedule.put(state, replace(asset, blocked=True, look=look))


def _unblocked(state: State, event: Event) -> State:
    return schedule.put(state, replace(state.assets[event.asset or ""], blocked=False))


def _suspended(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    suspended = Suspension(event.data["reason"], event.at, event.data["by"])
    return schedule.put(state, replace(asset, suspended=suspended))


def _resumed(state: State, event: Event) -> State:
    """Lift a suspension. Lifted by a person, the asset is looked at, unless a trigger waits: then its sync runs."""
    asset = replace(state.assets[event.asset or ""], suspended=None, failures=0, turns=0, cooldown_until=0)
    if event.data["by"] != "user" or not asset.spec.pairs:
        return schedule.put(state, asset)
    if asset.direct is None or not schedule.may_sync(asset):
        asset = schedule.owe(replace(asset, retry=None), Look(event.at, event.seq, gated=False, why="resume"))
        return schedule.put(state, asset)
    return schedule.put(state, schedule.patient(asset))


FOLDS = {
    "asset.ready": _ready,
    "asset.drifted": _drifted,
    "asset.blocked": _blocked,
    "asset.unblocked": _unblocked,
    "asset.suspended": _suspended,
    "asset.resumed": _resumed,
}
