"""Evaluations that end without a verdict: what was known stays, and where it must, they are tried again."""

from __future__ import annotations

from typing import Any, Final

from celld.core import guardrail
from celld.core.turn import Turn

UNKNOWN_RETRY_S: Final = 30.0
UNKNOWN_RETRY_S_MAX: Final = 1800.0


def backoff_s(n: int) -> float:
    """Return the wait after the ``n``-th evaluation in a row that came to nothing."""
    return guardrail.wait_s(UNKNOWN_RETRY_S, UNKNOWN_RETRY_S_MAX, n)


def come_to_nothing(turn: Turn, name: str, why: str, **data: Any) -> None:
    """End an evaluation without a verdict (``unknown`` or ``lost``): what was known stays, and it is tried again."""
    asset = turn.asset(name)
    assert asset.evaluation is not None, "an evaluation fails that is not in flight"
    n = asset.retry.n + 1 if asset.retry is not None else 1
    at_once = why == "lost" and n == 1
    wait_s = 0.0 if at_once else backoff_s(n)
    turn.emit(
        "evaluation.failed",
        name,
        execution_id=asset.evaluation.execution_id,
        reason=why,
        n=n,
        retry_at=turn.stamp(wait_s),
        **data,
    )


def supersede(turn: Turn, name: str) -> None:
    """End an evaluation whose answer will not be used; a run of its own is cancelled."""
    asset = turn.asset(name)
    flight = asset.evaluation
    assert flight is not None, "an evaluation is superseded that is not in flight"
    run = turn.state.executions.get(flight.execution_id)
    if run is not None and run.kind == "evaluation":
        turn.cancel_run(run)
    turn.emit("evaluation.failed", name, execution_id=flight.execution_id, reason="superseded")
