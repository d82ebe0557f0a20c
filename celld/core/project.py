"""The projection: each asset as ``session_assets`` shows it, built from the state for what a decision touched."""

from __future__ import annotations

from typing import Any

import msgspec

from celld.core import explain, fit, schedule
from celld.core.evaluate import blockers_of
from celld.core.state import Asset, LastEvaluation, LastSync, State
from setpoint.contracts.cell import AssetDoc
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.explain import SESSION_ROW


def documents(before: State, after: State) -> tuple[AssetDoc, ...]:
    """Return the rows that differ between two states; a row of an asset that is gone has no document.

    What concerns the session as a whole is a row of its own, under a name that no asset can have.
    """
    changed = after.assets.changed_since(before.assets)
    rows = [
        AssetDoc(name, document(after, asset) if (asset := after.assets.get(name)) is not None else None)
        for name in changed
    ]
    reasons = explain.of_session(after)
    if reasons != explain.of_session(before):
        rows.append(AssetDoc(SESSION_ROW, {"reasons": msgspec.to_builtins(reasons)}))
    return tuple(rows)


def document(state: State, asset: Asset) -> dict[str, Any]:
    """Return one asset as the API shows it (docs/internals/reconcile.md lists the fields)."""
    spec = asset.spec
    suspended = asset.suspended
    return {
        "name": asset.name,
        "known": "ready" if schedule.passes_through(asset) else asset.known,
        "stale": asset.stale and not schedule.passes_through(asset),
        "state": status(asset),
        "blocked_by": blockers_of(state, asset.name) if asset.unclear else [],
        "pending": {
            "look": asset.look is not None and not schedule.passes_through(asset),
            "sync": "direct" if asset.direct else "drift" if asset.drift else "none",
            "verify": asset.sync is not None and asset.sync.phase in ("verifying", "owed"),
        },
        "lock": _lock(asset),
        "last_evaluation": _evaluation(asset, asset.last_evaluation),
        "last_sync": _sync(asset.last_sync),
        "failures": asset.failures,
        "cooldown_until": rfc3339(asset.cooldown_until) if asset.cooldown_until else None,
        "suspended": None
        if suspended is None
        else {"reason": suspended.reason, "since": rfc3339(suspended.since), "by": suspended.by},
        "retry_at": rfc3339(asset.retry.at) if asset.retry else None,
        "next_due": rfc3339(asset.timer) if asset.timer is not None else None,
        "upstreams": list(spec.upstreams),
        "labels": spec.labels,
        "auto_sync": spec.auto_sync_on_drift,
        "generation": asset.generation,
        "digest": spec.digest,
        "reasons": msgspec.to_builtins(explain.own(asset)),
    }


def status(asset: Asset) -> str:
    """Return the one word for an asset: what it is doing, else what stops it, else what is known of it."""
    if asset.sync is not None and asset.sync.phase != "owed":
        return "syncing"
    if asset.evaluation is not None:
        return "evaluating"
    if asset.suspended is not None:
        return "suspended"
    wants = asset.look is not None or asset.drift is not None or asset.direct is not None
    if asset.unclear and asset.spec.pairs and (wants or asset.known == "not_evaluated"):
        return "blocked"
    if asset.retry is not None:
        return "unknown"
    return "ready" if schedule.passes_through(asset) else asset.known


def _evaluation(asset: Asset, last: LastEvaluation | None) -> dict[str, Any] | None:
    if last is None:
        return None
    kinds = {condition.name: condition.kind for condition in asset.spec.conditions()}
    return {
        "assetName": asset.name,
        "ready": last.verdict == "ready",
        "conditions": fit.first_of(
            [
                {
                    "conditionName": name,
                    "conditionType": kinds.get(name, "Command"),
                    "status": {"state": result.state} | ({"reason": result.reason} if result.reason else {}),
                }
                for name, result in last.results.items()
            ]
        ),
        "evaluationId": last.execution_id,
        "at": rfc3339(last.at),
    }


def _lock(asset: Asset) -> dict[str, Any] | None:
    """Return what a requested sync waits for when its lock is held."""
    sync = asset.sync
    if sync is None or sync.phase != "requested" or not sync.lock_tries:
        return None
    return {
        "key": sync.lock_key,
        "holder": sync.lock_holder,
        "attempt": sync.lock_tries,
        "retry_at": rfc3339(sync.lock_at),
    }


def _sync(last: LastSync | None) -> dict[str, Any] | None:
    if last is None:
        return None
    return {
        "execution_id": last.execution_id,
        "kind": last.kind,
        "outcome": last.outcome,
        "reason": last.reason,
        "stages": [{"stage": stage, "exitCode": code} for stage, code in last.exits],
        "success": last.outcome == "succeeded",
        "started_at": rfc3339(last.started_at),
        "finished_at": rfc3339(last.ended_at),
    }
