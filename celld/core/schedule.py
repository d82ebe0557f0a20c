"""When an asset may act: the gate, the four agendas, and the one function that writes an asset into the state.

Every instant here follows from the asset alone, so an agenda entry can be found again when the asset changes. Called
by the folds and by ``settle``; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from celld.core import timer
from celld.core.lineage import Lineage, trace
from celld.core.state import Asset, Look, State
from celld.core.table import Agenda, Entry, Table
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


def is_busy(asset: Asset) -> bool:
    """Tell whether something is under way that changes the asset: a sync up to its verification, or its trigger."""
    return asset.sync is not None or (asset.direct is not None and asset.suspended is None and may_sync(asset))


def is_patient(asset: Asset) -> bool:
    """Tell whether the asset's triggers wait until it is clear and nothing above it moves (``upstreamPolicy: all``)."""
    return asset.spec.upstream_policy == "all" or (asset.direct is not None and asset.direct.patient)


def patient(asset: Asset) -> Asset:
    """Return the asset with its direct trigger waiting for quiet."""
    return asset if asset.direct is None else replace(asset, direct=replace(asset.direct, patient=True))


def is_held_up(asset: Asset) -> bool:
    """Tell whether a direct trigger that the asset itself may use has to wait for what is above it."""
    direct = asset.direct
    if direct is None:
        return False
    if is_patient(asset):
        return asset.unclear > 0 or bool(asset.restless)
    return direct.retry and asset.unclear > 0


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
        return not timer.is_settled(asset, condition) or timer.is_due(asset, condition, now)

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
    if asset.timer is not None and (clear or asset.look is None):
        times.append(asset.timer)
    return min(times, default=None)


def turn_at(asset: Asset) -> int | None:
    """Return from when the asset waits for nothing but its turn, to be evaluated or for its sync to start.

    None: it waits for something else. That a timer found it blocked is only noted and no work of its own.
    """
    if asset.unclear and asset.timer is not None:
        asset = replace(asset, timer=None)
    at = look_at(asset)
    return at if at is not None else _requested_at(asset)


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
    if is_held_up(asset):
        return None
    return max(direct.at, asset.cooldown_until)


def owe(asset: Asset, look: Look) -> Asset:
    """Return the asset with a look owed as well: a newer one takes the place of an older, but never gates it."""
    gated = look.gated and (asset.look is None or asset.look.gated)
    generation = max(look.generation, asset.look.generation if asset.look is not None else 0)
    return replace(asset, look=replace(look, gated=gated, generation=generation))


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
    lineage = trace(order, {name: asset.spec.upstreams for name, asset in by_name.items()})
    busy = sum(lineage.bit(asset.name) for asset in by_name.values() if is_busy(asset))
    solid: set[str] = set()
    for name in lineage.order:
        asset = by_name[name]
        unclear = sum(upstream not in solid for upstream in asset.spec.upstreams)
        restless = _still_restless(lineage, asset, busy) if _waits_for_quiet(asset) else None
        if (unclear, restless) != (asset.unclear, asset.restless):
            asset = by_name[name] = replace(asset, unclear=unclear, restless=restless)
        if is_solid(asset):
            solid.add(name)
    all_of = list(by_name.values())
    return replace(
        state,
        assets=Table(by_name.items()),
        downstreams=dict(downstreams),
        lineage=lineage,
        busy=busy,
        quiet_waits=_quiet_waits(all_of),
        looks=Agenda((at, a.name) for a in all_of if (at := look_at(a)) is not None),
        directs=Agenda((at, a.name) for a in all_of if (at := direct_at(a)) is not None),
        requested=Agenda((at, a.name) for a in all_of if (at := _requested_at(a)) is not None),
        halted_drifts=Agenda((at, a.name) for a in all_of if (at := _halted_at(a)) is not None),
        lock_queues=_lock_queues(all_of),
        evaluating=sum(map(_evaluates, all_of)),
        syncing=sum(map(_syncs, all_of)),
    )


def _waits_for_quiet(asset: Asset) -> bool:
    return asset.direct is not None and is_patient(asset)


def _still_restless(lineage: Lineage, asset: Asset, busy: int) -> str:
    """Return which busy asset above keeps the trigger waiting: the one that is noted, for as long as it does."""
    noted = asset.restless
    if noted and noted in lineage.places and lineage.above[asset.name] & lineage.bit(noted) & busy:
        return noted
    return lineage.first(asset.name, busy)


def _quiet_waits(assets: Iterable[Asset]) -> Table[Agenda]:
    waits: dict[str, list[tuple[int, str]]] = {}
    for asset in assets:
        if asset.restless is not None:
            waits.setdefault(asset.restless, []).append((0, asset.name))
    return Table((above, Agenda(entries)) for above, entries in waits.items())


def _requested_at(asset: Asset) -> int | None:
    """Return from when the requested sync may start: at once, or when the lock it needs is tried (again)."""
    sync = asset.sync
    return max(sync.requested_at, sync.lock_at) if sync is not None and sync.phase == "requested" else None


def _lock_wanted(asset: Asset) -> tuple[str, int] | None:
    """Return the lock that the asset's requested sync needs, and since when."""
    sync = asset.sync
    if sync is None or sync.phase != "requested" or sync.lock_key is None:
        return None
    return sync.lock_key, sync.requested_at


def _lock_queues(assets: Iterable[Asset]) -> Table[Agenda]:
    queues: dict[str, list[tuple[int, str]]] = {}
    for asset in assets:
        if (wanted := _lock_wanted(asset)) is not None:
            queues.setdefault(wanted[0], []).append((wanted[1], asset.name))
    return Table((key, Agenda(entries)) for key, entries in queues.items())


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
        self.lock_queues, self.quiet_waits = state.lock_queues, state.quiet_waits
        self.evaluating, self.syncing, self.busy = state.evaluating, state.syncing, state.busy

    def put(self, asset: Asset) -> None:
        """Write one asset; where its solidity changes, count it for those below, without recursion."""
        waiting = self._write(asset)
        while waiting:
            name, unclear = waiting.pop()
            below = self.assets.get(name)
            if below is not None:
                waiting += self._write(replace(below, unclear=below.unclear + unclear))

    def state(self) -> State:
        """Return the state with all that was written."""
        return replace(
            self.before,
            assets=self.assets,
            looks=self.looks,
            directs=self.directs,
            requested=self.requested,
            halted_drifts=self.halted_drifts,
            lock_queues=self.lock_queues,
            quiet_waits=self.quiet_waits,
            evaluating=self.evaluating,
            syncing=self.syncing,
            busy=self.busy,
        )

    def _write(self, new: Asset) -> list[tuple[str, int]]:
        """Write an asset with its indexes; return those below whose count of unclear upstreams changes, and how."""
        old = self.assets[new.name]
        restless = self._restless(old, new)
        if restless != new.restless:
            new = replace(new, restless=restless)
        self._index(old, new)
        if is_busy(old) != is_busy(new):
            self._tell_of_quiet(new)
        unclear = is_solid(old) - is_solid(new)
        if not unclear:
            return []
        return [(below, unclear) for below in self.before.downstreams.get(new.name, ())]

    def _index(self, old: Asset, new: Asset) -> None:
        name = new.name
        self.assets = self.assets.with_(name, new)
        self.looks = _moved(self.looks, name, look_at(old), look_at(new))
        self.directs = _moved(self.directs, name, direct_at(old), direct_at(new))
        if old.drift is not new.drift:
            self.halted_drifts = _moved(self.halted_drifts, name, _halted_at(old), _halted_at(new))
        if old.sync is not new.sync or old.evaluation is not new.evaluation:
            self._index_work(old, new)
        if old.restless != new.restless:
            waits = _left(self.quiet_waits, old.restless, (0, name))
            self.quiet_waits = _joined(waits, new.restless, (0, name))

    def _index_work(self, old: Asset, new: Asset) -> None:
        """Keep in step what follows from the sync and the evaluation alone: most changes leave both as they are."""
        name = new.name
        self.requested = _moved(self.requested, name, _requested_at(old), _requested_at(new))
        self.evaluating += _evaluates(new) - _evaluates(old)
        self.syncing += _syncs(new) - _syncs(old)
        before, after = _lock_wanted(old), _lock_wanted(new)
        if before != after:
            queues = self.lock_queues if before is None else _left(self.lock_queues, before[0], (before[1], name))
            self.lock_queues = queues if after is None else _joined(queues, after[0], (after[1], name))

    def _restless(self, old: Asset, new: Asset) -> str | None:
        """Return which busy asset above keeps the trigger waiting: as it is noted, or looked for when it is new."""
        if not _waits_for_quiet(new):
            return None
        return old.restless if old.restless is not None else self._first_busy(new.name)

    def _first_busy(self, name: str) -> str:
        return self.before.lineage.first(name, self.busy)

    def _tell_of_quiet(self, asset: Asset) -> None:
        """Note that an asset has become busy, or is no more, for those that wait for quiet below it."""
        lineage, name = self.before.lineage, asset.name
        self.busy ^= lineage.bit(name)
        concerned = self.quiet_waits.get("" if is_busy(asset) else name)
        for _, waits in concerned or ():
            below = self.assets[waits]
            restless = self._first_busy(waits)
            if restless != below.restless:
                self._index(below, replace(below, restless=restless))


def _left(queues: Table[Agenda], key: str | None, entry: Entry) -> Table[Agenda]:
    queue = queues.get(key) if key is not None else None
    if key is None or queue is None:
        return queues
    queue = queue.remove(entry)
    return queues.without(key) if queue.first() is None else queues.with_(key, queue)


def _joined(queues: Table[Agenda], key: str | None, entry: Entry) -> Table[Agenda]:
    return queues if key is None else queues.with_(key, (queues.get(key) or Agenda()).add(entry))


def _moved(agenda: Agenda, name: str, old: int | None, new: int | None) -> Agenda:
    if old == new:
        return agenda
    if old is not None:
        agenda = agenda.remove((old, name))
    return agenda if new is None else agenda.add((new, name))
