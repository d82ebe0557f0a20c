"""Folds of evaluations: started, a condition checked, completed with a verdict, come to nothing."""

from __future__ import annotations

from msgspec.structs import replace

from celld.core import fold_command, fold_lock, schedule, timer
from celld.core.state import Asset, Evaluation, Execution, LastEvaluation, Look, Result, Retry, State
from setpoint.contracts.clock import parse_rfc3339
from setpoint.contracts.event import Event


def _started(state: State, event: Event) -> State:
    name, execution_id = event.asset or "", event.execution_id or ""
    asset = state.assets[name]
    running = state.executions.get(execution_id)
    every = running.conditions if running is not None else asset.spec.conditions()
    names = tuple(event.data.get("conditions") or (condition.name for condition in every))
    flight = Evaluation(
        execution_id, event.seq, event.data["why"], names, at=event.at, generation=event.data["generation"]
    )
    if running is None:  # else the conditions are the last steps of a sync's own run
        wanted = tuple(condition for condition in asset.spec.conditions() if condition.name in names)
        run = Execution(
            execution_id,
            "evaluation",
            event.seq,
            event.at,
            event.data["generation"],
            asset=name,
            conditions=wanted,
            settings=state.settings,
        )
        state = replace(
            state, executions=state.executions.with_(execution_id, run), execution_no=state.execution_no + 1
        )
    return schedule.put(state, replace(asset, evaluation=flight))


def _step_finished(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    execution = state.executions[event.execution_id or ""]
    flight = asset.evaluation
    state = replace(
        state,
        executions=state.executions.with_(execution.id, replace(execution, last_step=event.data["index"])),
    )
    if flight is None:
        return state
    status = event.data["status"]
    result = Result(status["state"], status.get("reason", ""), event.seq, event.at)
    return schedule.put(
        state, replace(asset, evaluation=replace(flight, results={**flight.results, event.data["name"]: result}))
    )


def _completed(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    flight = asset.evaluation
    assert flight is not None, "an evaluation completes that is not in flight"
    data = event.data
    ready = data["verdict"] == "ready"
    results = merged(asset, flight)
    sync = asset.sync
    after = replace(
        timer.armed(asset, flight, results, event.at, data.get("ticks", ())),
        evaluation=None,
        known=data["verdict"],
        stale=False,
        look=_look_left(asset, flight),
        drift=None if ready else asset.drift,
        retry=_retry(data, flight.seq),
        blocked=False,
        sync=None if sync is not None and sync.ended else sync,
        last_evaluation=LastEvaluation(
            flight.execution_id,
            event.at,
            data["verdict"],
            results,
            {name: result.state for name, result in flight.results.items()},
        ),
    )
    if data["resets"]:
        after = replace(after, failures=0, turns=0, cooldown_until=0)
    state = fold_lock.over(state, flight.execution_id, event.at)
    state = schedule.put(state, after)
    return fold_command.evaluated(state, asset, flight, data["verdict"])


def _failed(state: State, event: Event) -> State:
    asset = state.assets[event.asset or ""]
    flight = asset.evaluation
    assert flight is not None, "an evaluation fails that is not in flight"
    reason = event.data["reason"]
    after = replace(asset, evaluation=None)
    if asset.sync is not None and asset.sync.phase == "verifying":
        owed = replace(asset.sync, phase="owed", outdated=False)
        after = replace(after, sync=None if asset.sync.ended and schedule.passes_through(asset) else owed)
    if reason != "superseded":
        retry = _retry(event.data, flight.seq)
        assert retry is not None, "an evaluation that came to nothing is tried again"
        after = replace(after, retry=retry)
        if reason == "unknown":
            after = timer.armed(after, flight, merged(asset, flight), event.at, event.data.get("ticks", ()))
        else:
            after = timer.put_off(after, flight.conditions, retry.at)
    state = fold_lock.over(state, flight.execution_id, event.at)
    state = schedule.put(state, after)
    if reason == "unknown" or event.data.get("n", 0) > 1:
        state = fold_command.evaluated(state, asset, flight, "unknown")
    return state


def merged(asset: Asset, flight: Evaluation) -> dict[str, Result]:
    """Return the results that count once ``flight`` has ended: the newest of each condition there still is."""
    merged = {
        condition.name: result
        for condition in asset.spec.conditions()
        if (result := flight.results.get(condition.name) or asset.results.get(condition.name)) is not None
        and (condition.name in flight.results or result.seq >= asset.valid_from)
    }
    return merged


def _look_left(asset: Asset, flight: Evaluation) -> Look | None:
    """Return the look that is still owed: one set later, or one that this evaluation served only in part."""
    look = asset.look
    if look is None:
        return None
    whole = len(flight.conditions) == len(asset.spec.conditions())
    if look.generation > flight.generation:
        asked = look.why == "command" or asset.direct is not None
        served = whole and look.seq < flight.seq and not asked
        return replace(look, gated=True) if served else look  # who asked earlier has been answered by this one
    if asset.sync is not None and look.why != "trigger":
        return None  # what comes while a sync is in flight is answered by its verification
    return None if whole and look.seq < flight.seq else look


def _retry(data: dict[str, object], seq: int) -> Retry | None:
    if not data.get("retry_at"):
        return None
    n = data["n"]
    assert isinstance(n, int)
    return Retry(parse_rfc3339(str(data["retry_at"])), n, seq, lost=data.get("reason") == "lost")


FOLDS = {
    "evaluation.started": _started,
    "evaluation.step_finished": _step_finished,
    "evaluation.completed": _completed,
    "evaluation.failed": _failed,
}
