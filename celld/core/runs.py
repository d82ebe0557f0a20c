"""What a sandbox reports of a run: a step ended, the run ended, it was refused, or was found after a restart.

Reports may come twice, late, or of runs that are long over: those change nothing.
"""

from __future__ import annotations

from celld.core import effect, evaluate, fit, fruitless, guardrail, lock, schedule, sync, tool
from celld.core.state import Asset, Execution
from celld.core.turn import Turn
from setpoint.contracts.cell import AttachRun, RunEnded, RunFound, RunRefused, StepEnded
from setpoint.contracts.resource.model import Condition
from setpoint.contracts.run import StepResult

_DETAIL_CHARS_MAX = 500


def step_ended(turn: Turn, report: StepEnded) -> None:
    """Fold the end of a step into its execution and go on with what follows from it."""
    run = turn.state.executions.get(report.execution_id)
    result = report.result
    if run is None or result.index <= run.last_step:
        return
    if run.kind == "tool":
        tool.finish(turn, run, result, report.enforced)
        return
    if run.asset not in turn.state.assets or (run.dying and result.error in ("cancelled", "skipped")):
        return
    if result.kind == "stage":
        _stage_ended(turn, run, result, report.enforced)
    else:
        _condition_ended(turn, run, result, report.enforced)


def run_ended(turn: Turn, report: RunEnded) -> None:
    """Close an execution whose run is over although not all of its steps have a result."""
    run = turn.state.executions.get(report.execution_id)
    if run is None:
        return
    if run.dying:
        _cancelled(turn, run)
    else:
        _lost(turn, run, report.outcome)


def refused(turn: Turn, report: RunRefused) -> None:
    """Close an execution of which nothing ran, for good."""
    run = turn.state.executions.get(report.execution_id)
    if run is None:
        return
    detail = f"{report.code}: {report.detail}"[:_DETAIL_CHARS_MAX]
    if run.kind == "tool":
        tool.fail(turn, run, "refused", detail)
    elif run.dying or run.asset not in turn.state.assets:
        _cancelled(turn, run)
    elif run.kind == "evaluation":
        fruitless.come_to_nothing(turn, run.asset, "unknown", detail=detail)
    elif run.last_step >= 0:
        _lost(turn, run, "refused")
    else:
        _never_ran(turn, run, "refused", detail)


def found(turn: Turn, report: RunFound) -> None:
    """Go on with an open execution after a restart, by what became of its run."""
    run = turn.state.executions.get(report.execution_id)
    if run is None:
        return
    match report.state:
        case "running":
            turn.emit("run.adopted", run.asset or None, execution_id=run.id, command_id=run.command_id)
            turn.effects.append(AttachRun(run.id, run.last_step))
            if run.dying:
                turn.cancel_run(run)
        case "finished":
            turn.effects.append(AttachRun(run.id, run.last_step))
        case "never_seen" if run.dying:
            _cancelled(turn, run)
        case "never_seen" if run.last_step < 0 and lock.is_missing(turn.state, run):
            _never_ran(turn, run, "lock", "its lock was broken before it began")
        case "never_seen" if run.last_step < 0:
            turn.effects.append(effect.start_run(turn.state, run, seq=run.seq))
        case _:
            _lost(turn, run, report.state)


def _never_ran(turn: Turn, run: Execution, reason: str, detail: str) -> None:
    """End a started sync of which nothing ran and nothing will; its trigger stays owed."""
    turn.emit(
        "sync.skipped",
        run.asset,
        execution_id=run.id,
        command_id=run.command_id,
        reason=reason,
        detail=detail,
        cooldown_until=turn.stamp(guardrail.cooldown_s(turn.state.settings, 1)),
    )


def _stage_ended(turn: Turn, run: Execution, result: StepResult, enforced: dict[str, str]) -> None:
    in_flight = turn.asset(run.asset).sync
    if in_flight is None or in_flight.execution_id != run.id:
        return
    turn.emit(
        "sync.step_finished",
        run.asset,
        execution_id=run.id,
        command_id=run.command_id,
        **fit.document(result),
        enforced=enforced or None,
    )
    after = turn.asset(run.asset).sync
    if in_flight.phase == "stages" and after is not None and after.phase == "verifying":
        sync.stages_over(turn, run.asset, run)


def _condition_ended(turn: Turn, run: Execution, result: StepResult, enforced: dict[str, str]) -> None:
    flight = turn.asset(run.asset).evaluation
    if flight is None or flight.execution_id != run.id:
        return
    condition = next((c for c in run.conditions if c.name == result.name), Condition(result.name, ()))
    turn.emit(
        "evaluation.step_finished",
        run.asset,
        execution_id=run.id,
        **fit.document(result),
        status=evaluate.status_of(condition, result),
        enforced=enforced or None,
    )
    if result.index >= len(run.stages) + len(run.conditions) - 1:
        evaluate.conclude(turn, run.asset)


def _cancelled(turn: Turn, run: Execution) -> None:
    """Close an execution that was to be cancelled and has ended."""
    asset = turn.state.assets.get(run.asset)
    mine = asset is not None and asset.sync is not None and asset.sync.execution_id == run.id
    if run.kind == "tool":
        tool.fail(turn, run, "cancelled", "the run was cancelled")
    elif run.kind == "evaluation":
        fruitless.supersede(turn, run.asset)
    elif asset is not None and asset.sync is not None and mine and asset.sync.ended:
        _lost(turn, run, "cancelled")
    else:
        if mine and asset is not None and asset.evaluation is not None:
            fruitless.supersede(turn, run.asset)  # its verification, which ends with it
        until = turn.stamp(guardrail.cooldown_s(turn.state.settings, 1)) if mine else None
        turn.emit(
            "sync.cancelled",
            run.asset,
            execution_id=run.id,
            command_id=run.command_id,
            reason="cancelled" if mine else "retired",
            cooldown_until=until,
        )


def _is_of(asset: Asset, run: Execution) -> bool:
    """Tell whether a run belongs to what the asset does now: one that was removed and came back has older runs."""
    syncs = asset.sync is not None and asset.sync.execution_id == run.id
    return syncs or (asset.evaluation is not None and asset.evaluation.execution_id == run.id)


def _verdict_lost(turn: Turn, asset: Asset) -> None:
    """End an evaluation that was lost: it is tried again, unless nothing is left that could be evaluated."""
    if schedule.passes_through(asset):
        fruitless.supersede(turn, asset.name)
        sync.end_unverified(turn, asset.name)
    else:
        fruitless.come_to_nothing(turn, asset.name, "lost")


def _lost(turn: Turn, run: Execution, how: str) -> None:
    """Close an execution whose outcome nobody knows (reconcile.md section 4, outcome_unknown)."""
    asset = turn.state.assets.get(run.asset)
    if run.kind != "tool" and (asset is None or not _is_of(asset, run)):
        _cancelled(turn, run)
        return
    turn.emit("run.interrupted", run.asset or None, execution_id=run.id, command_id=run.command_id, how=how)
    if run.kind == "tool":
        tool.fail(turn, run, how, "nobody can tell how the tool ended; it is not run again")
    elif asset is not None and asset.evaluation is not None and asset.evaluation.execution_id == run.id:
        _verdict_lost(turn, asset)
    else:
        turn.emit(
            "sync.outcome_unknown",
            run.asset,
            execution_id=run.id,
            command_id=run.command_id,
            how=how,
            cooldown_until=turn.stamp(guardrail.cooldown_s(turn.state.settings, 1)),
        )
