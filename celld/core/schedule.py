"""When an asset may act: the gate, the four agendas, and the one function that writes an asset into the state.

Every instant here follows from the asset alone, so an agenda entry can be found again when the asset changes. Called
by the folds and by ``settle``; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from celld.core.state import Asset, Look, State
from celld.core.table import Agenda, Table
from setpoint.contracts.resource.model import Condition, Pair


def passes_through(asset: Asset) -> bool:
    """Tell whether the asset has no conditions: always Ready, never evaluated, hands triggers on."""
    return not asset.spec.pairs


def is_clear(asset: Asset) -> bool:
    """Tell whether every transitive upstream is known Ready and not stale (reconcile.md section 3, Clear)."""
    return asset.unclear == 0


def is_solid(asset: Asset) -> bool:
    """Tell whether downstreams may rely on the asset: it is clear itself, known Ready and not stale."""
    return asset.unclear == 0 and (passes_through(asset) or (asset.known == "ready" and not asset.stale))


def direct_pair(asset: Asset) -> tuple[int, Pair] | None:
    """Return the pair whose sync a direct trigger and a manual sync run, with its index; None when there is none."""
    wanted = asset.spec.on_upstream
    for index, pair in enumerate(asset.spec.pairs):
        if pair.sync is not None and (pair.sync.name == wanted if wanted else index == 0):
            return index, pair
    return None


def may_sync(asset: Asset) -> bool:
    """Tell whether a direct trigger may sync the asset: it has such a sync and ``autoSync`` is on."""
    return asset.spec.auto_sync_on_drift and direct_pair(asset) is not None


def in_flight(asset: Asset) -> bool:
    """Tell whether a sync is requested or running, or its verification is in flight."""
    sync = asset.sync
    return sync is not None and (sync.phase != "owed" or asset.evaluation is not None)


def owes_verification(asset: Asset) -> bool:
    """Tell whether a sync of the asset has run and is still to be verified by an evaluation of its own."""
    return asset.sync is not None and asset.sync.phase == "owed"


def part_due(asset: Asset, now: int) -> tuple[Condition, ...]:
    """Return what a timer or a retry runs: what is due, and what was last missing, Drifted or Unknown."""

    def runs(condition: Condition) -> bool:
        last = asset.results.get(condition.name)
        settled = last is not None and last.seq >= asset.valid_from and last.state == "ready"
        return not settled or asset.due.get(condition.name, now + 1) <= now

    return tuple(condition for condition in asset.spec.conditions() if runs(condition))


def look_at(asset: Asset) -> int | None:
    """Return from when an evaluation of the asset (or the note that it is blocked) may start; None: not at all.

    After an evaluation that came to nothing only what is newer than it starts before its retry.
    """
    if asset.evaluation is not None or (asset.sync is not None and asset.sync.phase != "owed") or not asset.spec.pairs:
        return None
    times: list[int] = []
    clear, retry = asset.unclear == 0, asset.retry
    floor = retry.at if retry else 0
    if asset.look is not None and (clear or not asset.look.gated):
        newer = retry is None or asset.look.seq > retry.seq
        times.append(asset.look.at if newer else max(asset.look.at, floor))
    if owes_verification(asset) or (retry is not None and clear):
        times.append(floor)
    if asset.drift is not None and clear and obstacle_ends(asset):
        times.append(max(asset.drift.at, asset.cooldown_until, floor))
    if asset.due and (clear or asset.look is None):
        times.append(min(asset.due.values()))
    return min(times, default=None)


def obstacle_ends(asset: Asset) -> bool:
    """Tell whether what kept a drift from being synced passes by itself, so that the asset is then evaluated."""
    drift = asset.drift
    return (
        drift is not None
        and drift.obstacle in ("cooldown", "blocked")
        and asset.suspended is None
        and asset.spec.auto_sync_on_drift
    )


def direct_at(asset: Asset) -> int | None:
    """Return from when the asset's pending direct trigger may sync it; None: not at all."""
    direct = asset.direct
    if direct is None or asset.suspended is not None or in_flight(asset) or not may_sync(asset):
        return None
    if direct.retry and asset.unclear:
        return None
    return max(direct.at, asset.cooldown_until)


def owe(asset: Asset, look: Look) -> Asset:
    """Return the asset with a look owed as well: a newer one takes the place of an older, but never gates it."""
    gated = look.gated and (asset.look is None or asset.look.gated)
    return replace(asset, look=replace(look, gated=gated))


def put(state: State, asset: Asset) -> State:
    """Write an asset into the state and bring every index in step, also the gate of those below it."""
    work = _Work(state)
    work.put(asset)
    return work.state()


def rebuild(
    state: State, assets: Iterable[Asset], downstreams: Mapping[str, tuple[str, ...]], order: Iterable[str]
) -> State:
    """Replace all assets, for a new generation. ``order`` has upstreams first; costs a walk over all of them."""
    by_name = {asset.name: asset for asset in assets}
    solid: set[str] = set()
    for name in order:
        asset = by_name[name]
        unclear = sum(upstream not in solid for upstream in asset.spec.upstreams)
        asset = by_name[name] = replace(asset, unclear=unclear) if unclear != asset.unclear else asset
        if is_solid(asset):
            solid.add(name)
    all_of = list(by_name.values())
    return replace(
        state,
        assets=Table(by_name.items()),
        downstreams=dict(downstreams),
        looks=Agenda((at, a.name) for a in all_of if (at := look_at(a)) is not None),
        directs=Agenda((at, a.name) for a in all_of if (at := direct_at(a)) is not None),
        requested=Agenda((at, a.name) for a in all_of if (at := _requested_at(a)) is not None),
        halted_drifts=Agenda((at, a.name) for a in all_of if (at := _halted_at(a)) is not None),
        evaluating=sum(map(_evaluates, all_of)),
        syncing=sum(map(_syncs, all_of)),
    )


def _requested_at(asset: Asset) -> int | None:
    return asset.sync.requested_at if asset.sync is not None and asset.sync.phase == "requested" else None


def _halted_at(asset: Asset) -> int | None:
    return asset.drift.at if asset.drift is not None and asset.drift.obstacle == "halted" else None


def _evaluates(asset: Asset) -> bool:
    """Tell whether an evaluation has a run of its own now (a verification within a sync's run has none)."""
    return asset.evaluation is not None and (asset.sync is None or asset.sync.phase == "owed")


def _syncs(asset: Asset) -> bool:
    return asset.sync is not None and asset.sync.phase in ("stages", "verifying")


class _Work:
    """The parts of a state that writing an asset touches, while they are being written."""

    def __init__(self, state: State) -> None:
        self.before = state
        self.assets = state.assets
        self.looks, self.directs = state.looks, state.directs
        self.requested, self.halted_drifts = state.requested, state.halted_drifts
        self.evaluating, self.syncing = state.evaluating, state.syncing

    def put(self, asset: Asset) -> None:
        """Write one asset; where its solidity changes, count it for those below, without recursion."""
        waiting = self._write(asset)
        while waiting:
            name, step = waiting.pop()
            below = self.assets.get(name)
            if below is not None:
                waiting += self._write(replace(below, unclear=below.unclear + step))

    def state(self) -> State:
        """Return the state with all that was written."""
        return replace(
            self.before,
            assets=self.assets,
            looks=self.looks,
            directs=self.directs,
            requested=self.requested,
            halted_drifts=self.halted_drifts,
            evaluating=self.evaluating,
            syncing=self.syncing,
        )

    def _write(self, new: Asset) -> list[tuple[str, int]]:
        old = self.assets[new.name]
        self.assets = self.assets.with_(new.name, new)
        self.looks = _moved(self.looks, new.name, look_at(old), look_at(new))
        self.directs = _moved(self.directs, new.name, direct_at(old), direct_at(new))
        self.requested = _moved(self.requested, new.name, _requested_at(old), _requested_at(new))
        self.halted_drifts = _moved(self.halted_drifts, new.name, _halted_at(old), _halted_at(new))
        self.evaluating += _evaluates(new) - _evaluates(old)
        self.syncing += _syncs(new) - _syncs(old)
        if is_solid(old) == is_solid(new):
            return []
        step = -1 if is_solid(new) else 1
        return [(below, step) for below in self.before.downstreams.get(new.name, ())]


def _moved(agenda: Agenda, name: str, old: int | None, new: int | None) -> Agenda:
    if old == new:
        return agenda
    if old is not None:
        agenda = agenda.remove((old, name))
    return agenda if new is None else agenda.add((new, name))
