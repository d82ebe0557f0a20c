"""Syncs: asked for, started, and what the end of a stage leads to. Their verification is evaluate.py's.

A sync is requested as soon as it may run and started as soon as there is a slot and a workspace; from the request on
new triggers merge into it.
"""

from __future__ import annotations

from celld.core import effect, fit, fruitless, guardrail, schedule
from celld.core.state import Asset, Execution, State, Sync, SyncKind
from celld.core.turn import Turn


def request(
    turn: Turn,
    name: str,
    kind: SyncKind,
    index: int,
    *,
    stages: tuple[str, ...] = (),
    command_id: str | None = None,
    more: bool = False,
) -> None:
    """Ask for the sync of an asset's pair ``index``; ``stages`` names a subset, empty means all.

    ``more``: its command is to ask for others that this decision has no room for.
    The asset must have no sync in flight. A running evaluation is superseded, an older sync that is still to be
    verified ends unverified: the new verification replaces it.
    """
    asset = turn.asset(name)
    assert not schedule.in_flight(asset), "a sync is requested while another is in flight"
    compiled = asset.spec.pairs[index].sync
    assert compiled is not None, "a sync is requested for a pair that has none"
    end_unverified(turn, name)
    if asset.evaluation is not None:
        fruitless.supersede(turn, name)
    every = tuple(stage for stage, _ in compiled.stages())
    chosen = tuple(stage for stage in every if not stages or stage in stages)
    direct = schedule.direct_pair(asset)
    takes = asset.direct is not None and direct is not None and direct[0] == index and chosen == every
    turn.emit(
        "sync.requested",
        name,
        command_id=command_id,
        kind=kind,
        pair=index,
        sync=compiled.name,
        takes_direct=takes,
        stages=list(chosen),
        whole=chosen == every,
        more=more or None,
    )


def start(turn: Turn, name: str) -> None:
    """Start the requested sync of an asset as a new execution."""
    asset = turn.asset(name)
    assert asset.sync is not None, "a sync starts that was not requested"
    assert turn.state.workspace is not None, "a sync starts without a workspace"
    execution_id = turn.next_execution_id()
    generation = turn.state.workspace.generation
    run = Execution(
        execution_id,
        "sync",
        0,
        turn.now,
        generation,
        asset=name,
        stages=asset.sync.stages,
        sync=asset.sync.pair_spec.sync,
        conditions=asset.spec.conditions(),
    )
    turn.emit(
        "sync.started",
        name,
        execution_id=execution_id,
        command_id=asset.sync.command_id,
        kind=asset.sync.kind,
        pair=asset.sync.pair,
        generation=generation,
        steps=effect.outline(turn.state, run),
    )
    started = turn.state.executions[execution_id]
    turn.effects.append(effect.start_run(turn.state, started, seq_offset=len(turn.events) - 1))


def stages_over(turn: Turn, name: str, execution: Execution) -> None:
    """Go on after the last stage that runs: a failure counts at once, then the conditions verify, good or bad."""
    sync = turn.asset(name).sync
    assert sync is not None, "a stage ends of a sync that is not in flight"
    if not sync.stages_ok:
        guardrail.fail(turn, name, sync, "stage")
    names = [condition.name for condition in execution.conditions]
    turn.emit(
        "evaluation.started",
        name,
        execution_id=execution.id,
        why="verification",
        conditions=names if fit.fits(names) else None,
        generation=execution.generation,
    )


def on_drift(turn: Turn, name: str) -> None:
    """Act on a Drifted verdict: sync the first Drifted pair, or note what is in the way."""
    asset = turn.asset(name)
    index, obstacle = _choice(turn, asset)
    known = asset.drift
    if known is None or (known.pair, known.obstacle) != (index, obstacle):
        turn.emit("asset.drifted", name, pair=index, obstacle=obstacle or None)
    if not obstacle:
        request(turn, name, "drift", index)


def end_unverified(turn: Turn, name: str) -> None:
    """End a sync that is still to be verified and will not be."""
    sync = turn.asset(name).sync
    if sync is not None and sync.phase == "owed" and not sync.ended:
        turn.emit("sync.succeeded", name, execution_id=sync.execution_id, command_id=sync.command_id, verified=False)


def withdraw(turn: Turn, name: str, reason: str) -> None:
    """Take back an automatic sync that was requested and has not started; its trigger stays owed."""
    if is_waiting(turn.asset(name)):
        turn.emit("sync.skipped", name, reason=reason)


def forsake(turn: Turn, name: str) -> None:
    """Take back a manual sync that was requested and has not started; its command is over."""
    held = turn.asset(name).sync
    assert held is not None, "a sync is forsaken that was not requested"
    turn.emit("sync.skipped", name, command_id=held.command_id, reason="forsaken")


def give_up(turn: Turn, name: str) -> None:
    """End a sync of which nothing runs, and nothing will: requested and not started, or still to be verified."""
    asset = turn.asset(name)
    if asset.sync is not None and is_waiting(asset, ("direct", "drift", "manual")):
        turn.emit("sync.skipped", name, command_id=asset.sync.command_id, reason="closing")
    end_unverified(turn, name)


def is_forsaken(state: State, asset: Asset) -> bool:
    """Tell whether the command that asked for a sync has ended before it was started: then it must not run."""
    sync = asset.sync
    return sync is not None and sync.kind == "manual" and (sync.command_id or "") not in state.commands


def is_gated(asset: Asset) -> bool:
    """Tell whether the gate has closed on a sync while it waited to be started."""
    kind = asset.sync.kind if asset.sync is not None else "manual"
    if kind == "direct":
        return schedule.is_held_up(asset)
    return kind == "drift" and not schedule.is_clear(asset)


def needs_lock(asset: Asset) -> bool:
    """Tell whether the asset's sync runs under a tenant-wide lock."""
    return asset.sync is not None and asset.sync.lock_key is not None


def is_waiting(asset: Asset, kinds: tuple[SyncKind, ...] = ("direct", "drift")) -> bool:
    """Tell whether a sync of one of these kinds is requested and has not started."""
    sync: Sync | None = asset.sync
    return sync is not None and sync.phase == "requested" and sync.kind in kinds


def _choice(turn: Turn, asset: Asset) -> tuple[int, str]:
    """Return the first Drifted pair and what keeps its sync from starting; empty when nothing does."""
    found = [
        {asset.results[c.name].state if c.name in asset.results else "unknown" for c in pair.conditions}
        for pair in asset.spec.pairs
    ]
    index = next(place for place, states in enumerate(found) if "drifted" in states)
    unknown_above = any("unknown" in states for states in found[:index])
    at = schedule.direct_at(asset)
    if at is not None and at <= turn.now and turn.state.halted is None:
        return index, "direct"
    patient = schedule.is_patient(asset) and schedule.may_sync(asset) and bool(asset.restless)
    for obstacle, stands in (
        ("closing", turn.state.closing is not None),
        ("auto_sync_off", not asset.spec.auto_sync_on_drift),
        ("no_sync", asset.spec.pairs[index].sync is None),
        ("unknown_above", unknown_above),
        ("suspended", asset.suspended is not None),
        ("halted", turn.state.halted is not None),
        ("cooldown", asset.cooldown_until > turn.now),
        ("blocked", not schedule.is_clear(asset)),
        ("direct", patient and asset.direct is not None),  # its trigger's sync will do when nothing above moves
    ):
        if stands:
            return index, obstacle
    return index, ""
