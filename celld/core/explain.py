"""Why an asset is not Ready, or is idle: its own reasons, read off the fold (reconcile.md section 9).

``project`` writes them with each decision that changes the asset; setpoint/contracts/explain.py puts those of several
assets together when somebody asks. It decides nothing, and nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from celld.core import schedule, workspace
from celld.core.fruitless import backoff_s
from celld.core.state import Asset, State
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.explain import Reason, turn_of

_SAID_CHARS_MAX: Final = 200


def own(asset: Asset) -> list[Reason]:
    """Return an asset's own reasons, the strongest first; what is above it and the session have theirs.

    Those that end by themselves carry ``next_check`` and stay until the asset changes, as does from when it waits for
    its turn: the reader leaves out what has passed or is still to come.
    """
    if not asset.spec.pairs:
        return []
    found = [*_under_way(asset), *_stopped(asset), *_waits(asset), *_not_synced(asset)]
    if asset.timer is not None and asset.evaluation is None and asset.sync is None:
        found += _timer(asset, asset.timer)
    return found


def of_session(state: State) -> list[Reason]:
    """Return what concerns every asset of the session."""
    if state.closed or state.closing is not None:
        said = "the session is closed" if state.closed else "the session is closing: it starts nothing more"
        return [Reason("SessionClosed", said, "", "never: create another session")]
    found = []
    goal = workspace.target(state)
    if goal is not None and state.materialize_failed == goal:
        said = f"the files of generation {goal} could not be prepared"
        found.append(
            Reason("WorkspaceFailed", said, "", "the next apply, or a new owner", command="setpoint apply DIR")
        )
    elif goal and not workspace.is_ready(state):
        said = f"the files of generation {goal} are being prepared"
        if len(state.executions):
            said = f"the files of generation {goal} are prepared when everything that runs has ended"
        found.append(Reason("WorkspaceExclusive", said, "", "the workspace stands at the generation"))
    if state.halted is not None:
        said = "automatic syncs of the session are halted" + _because(state.halted.reason)
        since = rfc3339(state.halted.since)
        found.append(Reason("Halted", said, "", "setpoint unhalt", since, command="setpoint unhalt"))
    return found


def _timer(asset: Asset, at: int) -> Iterator[Reason]:
    name, due = asset.name, rfc3339(at)
    if asset.due and min(asset.due.values()) < at:
        said = f"what is known of {name} is fresh enough to be taken again until {due} (evaluateCacheTtl)"
        yield Reason("CacheFresh", said, name, due, next_check=due, command=f"setpoint evaluate {name}")
    yield Reason("WaitingForInterval", f"{name} is looked at next at {due}", name, due, next_check=due)


def _under_way(asset: Asset) -> Iterator[Reason]:
    sync, name = asset.sync, asset.name
    follow = f"setpoint logs {name} -f"
    if sync is not None and sync.phase == "requested" and sync.lock_tries:
        said = f"the sync of {name} needs the lock {sync.lock_key!r}, which {sync.lock_holder} holds"
        since, again = rfc3339(sync.requested_at), rfc3339(sync.lock_at)
        said = f"{said} (tried {sync.lock_tries} times)"
        yield Reason("LockHeld", said, name, "the holder's sync ends", since, again, "setpoint lock ls")
    elif sync is not None and sync.phase in ("stages", "verifying"):
        doing = "runs" if sync.phase == "stages" else "is being verified"
        since = rfc3339(sync.started_at)
        yield Reason("SyncRunning", f"the {sync.kind} sync of {name} {doing}", name, "its end", since, command=follow)
    elif asset.evaluation is not None:
        said = f"{name} is being evaluated ({asset.evaluation.why})"
        yield Reason("EvaluationRunning", said, name, "its end", command=follow)


def _stopped(asset: Asset) -> Iterator[Reason]:
    suspended, name = asset.suspended, asset.name
    if suspended is not None:
        by_guardrail = suspended.by == "guardrail"
        said = f"automatic syncs of {name} are suspended by the {suspended.by}" + _because(suspended.reason)
        resume = f"setpoint resume {name}"
        clears = f"{resume}, or {name} becomes Ready by other means" if by_guardrail else resume
        yield Reason("AssetSuspended", said, name, clears, rfc3339(suspended.since), command=resume)


def _waits(asset: Asset) -> Iterator[Reason]:
    name, retry, idle = asset.name, asset.retry, _is_idle(asset)
    if asset.stale and idle:
        said = f"what is known of {name} comes from an older project or from a workspace that is lost"
        yield Reason("WorkspaceStale", said, name, "its next evaluation", command=f"setpoint evaluate {name}")
    if retry is not None and idle:
        at_once = retry.lost and retry.n == 1
        last = retry.at - (0 if at_once else round(backoff_s(retry.n) * 1_000_000))
        said = (
            f"the last {retry.n} evaluations of {name} came" if retry.n > 1 else f"the last evaluation of {name} came"
        )
        yield Reason(
            "EvaluationFailing",
            f"{said} to no clear verdict{_because(_unknown_of(asset))}",
            name,
            "an evaluation in which every condition has an answer",
            rfc3339(last),
            rfc3339(retry.at),
            f"setpoint evaluate {name}",
        )
    turn, look = schedule.turn_at(asset), asset.look
    if turn is not None:
        yield turn_of(name, rfc3339(turn))
    if idle and asset.restless and asset.direct is not None and schedule.may_sync(asset) and schedule.is_held_up(asset):
        said = f"the sync that {name} owes waits until nothing above it is being synced (upstreamPolicy: all)"
        begun, look_up = rfc3339(asset.direct.at), f"setpoint graph +{name}"
        yield Reason("UpstreamBusy", said, name, "the syncs above it have ended", begun, command=look_up)
    until = max(asset.cooldown_until, look.at if look is not None and look.why == "cooldown" else 0)
    if until and idle:
        count = f" after {asset.failures} failed syncs in a row" if asset.failures > 1 else " after the last sync"
        since = rfc3339(asset.last_sync.ended_at) if asset.last_sync is not None else None
        at, command = rfc3339(until), f"setpoint sync {name}"
        yield Reason("CooldownUntil", f"{name} rests until {at}{count}", name, at, since, at, command)


def _not_synced(asset: Asset) -> Iterator[Reason]:
    """Say why an asset that is Drifted, or triggered, is nobody's to sync."""
    name, drift, direct = asset.name, asset.drift, asset.direct
    since = drift.at if drift is not None else direct.at if direct is not None else None
    if since is None:
        return
    watched = drift is not None and asset.spec.pairs[drift.pair].sync is None
    if not asset.spec.auto_sync_on_drift:
        said = f"{name} is never synced by itself (autoSync: false)"
        yield Reason("AutoSyncOff", said, name, "a sync by hand", rfc3339(since), command=f"setpoint sync {name}")
    elif watched or (direct is not None and schedule.direct_pair(asset) is None):
        said = f"{name} has no sync for this: it is only watched"
        clears = "its conditions hold again, or an apply adds a sync"
        yield Reason("NoSyncDefined", said, name, clears, rfc3339(since))


def _is_idle(asset: Asset) -> bool:
    return asset.evaluation is None and (asset.sync is None or asset.sync.phase == "owed")


def _unknown_of(asset: Asset) -> str:
    found = [f"{name}: {result.reason}" for name, result in asset.results.items() if result.state == "unknown"]
    return found[0] if found else ""


def _because(reason: str) -> str:
    return f": {reason[:_SAID_CHARS_MAX]}" if reason else ""
