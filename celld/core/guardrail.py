"""The guardrails: when a sync counts as failed, how long to wait, when to stop (reconcile.md section 5).

Called when a stage failed and when a verification has a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from celld.core.state import Asset, Result, Sync, Verdict
from celld.core.turn import Turn
from setpoint.contracts.resource.model import Settings


def wait_s(initial_s: float, longest_s: float, n: int) -> float:
    """Return the wait after the ``n``-th failure in a row: doubled each time, up to the longest."""
    return min(initial_s * 2.0 ** min(n - 1, 62), longest_s)


def cooldown_s(settings: Settings, failures: int) -> float:
    """Return the cooldown after ``failures`` failed syncs in a row."""
    return wait_s(settings.cooldown_initial_s, settings.cooldown_max_s, failures)


def resets(asset: Asset, verified: Sync | None) -> bool:
    """Tell whether a Ready verdict resets the counters; ``asset`` as it was before the verdict.

    A Ready that merely does not see what a failed sync left undone must not disarm the guardrail.
    """
    if asset.known == "drifted" or (verified is not None and verified.stages_ok):
        return True
    return asset.direct is None and verified is None


def fail(turn: Turn, name: str, sync: Sync, reason: str) -> None:
    """Record a failed sync; after the last one allowed the asset is suspended."""
    asset = turn.asset(name)
    k = asset.failures + 1
    until = turn.stamp(cooldown_s(turn.state.settings, k))
    turn.emit(
        "sync.failed",
        name,
        execution_id=sync.execution_id,
        command_id=sync.command_id,
        reason=reason,
        k=k,
        cooldown_until=until,
    )
    if k >= turn.state.settings.max_consecutive_sync_failures:
        suspend(turn, name, f"{k} consecutive sync failures", sync.execution_id)


def suspend(turn: Turn, name: str, reason: str, execution_id: str) -> None:
    """Stop the asset's automatic syncs, unless they are stopped already."""
    if turn.asset(name).suspended is None:
        turn.emit("asset.suspended", name, execution_id=execution_id, reason=reason, by="guardrail")


def judge(turn: Turn, name: str, sync: Sync, verdict: Verdict) -> None:
    """End a sync by what its verification found. ``verdict`` is Ready or Drifted; the results are in the state."""
    asset = turn.asset(name)
    if not sync.ended:
        _end(turn, asset, sync, verdict)
    if degraded(sync.before, asset.results):
        suspend(turn, name, "degraded: fewer conditions hold than before the sync", sync.execution_id)


def degraded(before: Mapping[str, Verdict], after: Mapping[str, Result]) -> bool:
    """Tell whether fewer conditions hold than before, comparing only those with an answer on both sides."""
    known = [name for name, state in before.items() if state != "unknown" and name in after]
    known = [name for name in known if after[name].state != "unknown"]
    return sum(after[name].state == "ready" for name in known) < sum(before[name] == "ready" for name in known)


def _end(turn: Turn, asset: Asset, sync: Sync, verdict: Verdict) -> None:
    pair = next((pair for pair in asset.spec.pairs if pair == sync.pair_spec), None)
    missed = pair is not None and any(
        (result := asset.results.get(condition.name)) is not None and result.state == "drifted"
        for condition in pair.conditions
    )
    if sync.whole and missed:
        fail(turn, asset.name, sync, "not_converged")
        return
    turns = asset.turns + 1 if verdict == "drifted" and sync.whole else asset.turns
    if turns >= 2 * len(asset.spec.pairs) and verdict == "drifted":
        fail(turn, asset.name, sync, "oscillating")
        return
    turn.emit(
        "sync.succeeded",
        asset.name,
        execution_id=sync.execution_id,
        command_id=sync.command_id,
        verified=True,
        turns=0 if verdict == "ready" else turns,
    )
