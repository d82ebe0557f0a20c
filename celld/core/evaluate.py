"""Evaluations: which conditions run and why, what a step says about a condition, and what a verdict leads to."""

from __future__ import annotations

from typing import Any, Final

from celld.core import effect, fit, fruitless, guardrail, propagate, schedule, sync, timer
from celld.core.fold_evaluation import merged
from celld.core.state import Asset, Result, State, Verdict
from celld.core.turn import Turn
from setpoint.contracts import probe
from setpoint.contracts.clock import rfc3339
from setpoint.contracts.resource.model import Condition
from setpoint.contracts.run import StepResult

_REASON_CHARS_MAX: Final = 200
_BLOCKERS_MAX: Final = 5
_REUSED_BYTES_MAX: Final = 2048


def start(turn: Turn, name: str) -> None:
    """Start the evaluation that is due for an asset; for a timer while it is blocked only note that a look is owed."""
    asset = turn.asset(name)
    why, conditions = reason(asset, turn.now)
    if not conditions:
        turn.emit("asset.blocked", name, look=True, by=blockers_of(turn.state, name))
        return
    names = [condition.name for condition in conditions]
    every = not fit.fits(names)  # too many names for an event: then all conditions run
    if asset.blocked and schedule.is_clear(asset):
        turn.emit("asset.unblocked", name)
    execution_id = turn.next_execution_id()
    turn.emit(
        "evaluation.started",
        name,
        execution_id=execution_id,
        why=why,
        conditions=None if every else names,
        generation=turn.state.workspace.generation if turn.state.workspace else 0,
    )
    run = turn.state.executions[execution_id]
    turn.effects.append(effect.start_run(turn.state, run, seq_offset=len(turn.events) - 1))


def reason(asset: Asset, now: int) -> tuple[str, tuple[Condition, ...]]:
    """Return why an asset is evaluated now and which conditions run; none when only a blocked timer is due."""
    every = asset.spec.conditions()
    part = schedule.part_due(asset, now) or every
    clear, retry, look = asset.unclear == 0, asset.retry, asset.look
    waits = retry is not None and retry.at > now
    open_look = look is not None and look.at <= now and (clear or not look.gated)
    if look is not None and open_look and (retry is None or not waits or look.seq > retry.seq):
        return look.why, every
    if schedule.owes_verification(asset) and not waits:
        return "verification", every if retry is None or retry.lost else part
    if retry is not None and clear and not waits:
        return "retry", part
    drift = asset.drift
    passed = drift is not None and clear and not waits and schedule.obstacle_ends(asset)
    if drift is not None and passed and max(drift.at, asset.cooldown_until) <= now:
        return "unblocked" if drift.obstacle == "blocked" else "cooldown", every
    by_clock = any(tick <= now for tick in asset.ticks.values())
    return "cron" if by_clock else "interval", part if clear else ()


def blockers_of(state: State, name: str) -> list[str]:
    """Name the nearest upstreams that hold an asset back, up to five: those not known Ready, or stale."""
    found: list[str] = []
    seen = {name}
    waiting = list(state.assets[name].spec.upstreams[::-1])
    while waiting and len(found) < _BLOCKERS_MAX:
        upstream = waiting.pop()
        if upstream in seen:
            continue
        seen.add(upstream)
        above = state.assets[upstream]
        if above.spec.pairs and (above.known != "ready" or above.stale):
            found.append(upstream)
        elif above.unclear:
            waiting += above.spec.upstreams[::-1]
    return found


def status_of(condition: Condition, result: StepResult) -> dict[str, str]:
    """Return what a step says about its condition: ready, drifted or unknown, with the reason for people."""
    asked = condition.probe is not None
    if result.exit_code is None and (asked or result.signal is None):
        said = f"{result.error}: {result.detail}" if result.detail else str(result.error or "the probe was killed")
        return _status("unknown", said)
    if asked:
        return _answer(result)
    if result.exit_code == 0:
        return _status("ready")
    ended = f"was ended by signal {result.signal}" if result.signal else f"exited with code {result.exit_code}"
    return _status("drifted", f"{(condition.argv or (condition.name,))[0]!r} {ended}")


def _answer(result: StepResult) -> dict[str, str]:
    """Return what a probe says. An interpreter that cannot start exits with 1, too: a drift has a reason."""
    reason = _last_line(result.stdout.tail)
    match result.exit_code:
        case probe.READY:
            return _status("ready")
        case probe.DRIFTED if reason:
            return _status("drifted", reason)
        case probe.UNKNOWN if reason:
            return _status("unknown", reason)
        case code:
            said = _last_line(result.stderr.tail)
            return _status("unknown", f"the probe ended with code {code}{': ' if said else ''}{said}")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _status(state: Verdict, reason: str = "") -> dict[str, str]:
    return {"state": state} | ({"reason": reason[:_REASON_CHARS_MAX]} if reason else {})


def conclude(turn: Turn, name: str) -> None:
    """Come to the verdict of an asset's evaluation, all of whose conditions have a result, and act on it."""
    asset = turn.asset(name)
    flight = asset.evaluation
    assert flight is not None, "an evaluation concludes that is not in flight"
    if asset.sync is not None and asset.sync.outdated:
        fruitless.supersede(turn, name)
        if schedule.passes_through(asset):
            sync.end_unverified(turn, name)
        return
    results = merged(asset, flight)
    verdict = verdict_of(asset, results)
    if verdict == "unknown":
        ticks = timer.ticks_after(asset, flight, results)
        fruitless.come_to_nothing(turn, name, "unknown", results=_documents(asset, results), ticks=ticks or None)
        return
    verified = asset.sync
    resets = verdict == "ready" and guardrail.resets(asset, verified)
    turn.emit("evaluation.completed", name, execution_id=flight.execution_id, **_outcome(turn, asset, results, resets))
    if verified is not None:
        guardrail.judge(turn, name, verified, verdict)
    if verdict == "ready":
        suspended = turn.asset(name).suspended
        if resets and suspended is not None and suspended.by == "guardrail":
            turn.emit("asset.resumed", name, by="ready", reason="the asset is Ready again")
        propagate.on_ready(turn, asset, verified)
    else:
        sync.on_drift(turn, name)


def verdict_of(asset: Asset, results: dict[str, Result]) -> Verdict:
    """Return the verdict over all conditions: any Drifted, else any Unknown or missing, else Ready."""
    states = {
        result.state if (result := results.get(condition.name)) is not None else "unknown"
        for condition in asset.spec.conditions()
    }
    if "drifted" in states:
        return "drifted"
    return "unknown" if "unknown" in states else "ready"


def _outcome(turn: Turn, asset: Asset, results: dict[str, Result], resets: bool) -> dict[str, Any]:
    flight = asset.evaluation
    assert flight is not None
    ticks = timer.ticks_after(asset, flight, results)
    next_due = timer.armed(asset, flight, results, turn.now, ticks).timer
    data: dict[str, Any] = {
        "verdict": verdict_of(asset, results),
        "why": flight.why,
        "results": _documents(asset, results),
        "reused": fit.first_of(list(timer.reused(asset, flight)), _REUSED_BYTES_MAX),
        "ticks": ticks or None,
        "next_due": rfc3339(next_due) if next_due is not None else None,
        "resets": resets,
    }
    if any(result.state == "unknown" for result in results.values()):
        n = asset.retry.n + 1 if asset.retry is not None else 1
        data |= {"n": n, "retry_at": turn.stamp(fruitless.backoff_s(n))}
    return data


def _documents(asset: Asset, results: dict[str, Result]) -> list[dict[str, Any]]:
    """Return the results as the seed's AssetEvalResult writes them; what does not hold first when there are many."""
    documents: list[dict[str, Any]] = [
        {
            "conditionName": condition.name,
            "conditionType": condition.kind,
            "status": {"state": result.state} | ({"reason": result.reason} if result.reason else {}),
        }
        for condition in asset.spec.conditions()
        if (result := results.get(condition.name)) is not None
    ]
    if not fit.fits(documents):
        documents.sort(key=lambda document: document["status"]["state"] == "ready")
    return fit.first_of(documents)
