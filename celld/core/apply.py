"""Apply: a project becomes the session's next generation, with as little disturbed as its difference demands."""

from __future__ import annotations

from celld.core import answer, fruitless, schedule, sync
from celld.core.state import State
from celld.core.turn import Turn
from setpoint.contracts.cell import Delivered
from setpoint.contracts.command import Apply
from setpoint.contracts.resource.delta import Delta
from setpoint.contracts.resource.model import CompiledSet, decode


def accept(turn: Turn, row: Delivered, body: Apply) -> None:
    """Apply a compiled set. The command ends when the workspace stands at the new generation."""
    generation = turn.state.generation.n + 1 if turn.state.generation is not None else 1
    if row.attachment is None:
        answer.take(turn, row)
        answer.end(turn, row.command_id, "failed", message="the compiled resources of this apply cannot be found")
        return
    try:
        compiled = decode(row.attachment)
    except ValueError as error:
        answer.take(turn, row)
        answer.end(turn, row.command_id, "failed", message=str(error)[:500])
        return
    answer.take(turn, row, generation=generation)
    delta = _difference(turn.state, compiled)
    for name in (*delta.changed, *delta.removed):
        _clear_the_way(turn, name, compiled)
    turn.emit(
        "resources.applied",
        command_id=row.command_id,
        attachment=row.attachment,
        generation=generation,
        resources=body.generation.resources,
        files=body.generation.files,
        evaluate=body.evaluate,
        added=len(delta.added),
        changed=len(delta.changed),
        removed=len(delta.removed),
    )
    for run in list(turn.state.executions.values()):
        if run.dying:
            turn.cancel_run(run)


def _difference(state: State, compiled: CompiledSet) -> Delta:
    before = {asset.name: asset.spec.digest for asset in state.assets.values()}
    after = {name: asset.digest for name, asset in compiled.assets.items()}
    return Delta(
        added=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
        removed=tuple(sorted(before.keys() - after.keys())),
    )


def _clear_the_way(turn: Turn, name: str, compiled: CompiledSet) -> None:
    """End what must not outlive an asset's old spec: waiting syncs, evaluations, and for a removed one everything."""
    if sync.is_waiting(turn.asset(name), ("direct", "drift", "manual")):
        turn.emit("sync.skipped", name, command_id=_command_of(turn, name), reason="changed")
    asset = turn.asset(name)
    if asset.evaluation is not None and (asset.sync is None or schedule.owes_verification(asset)):
        fruitless.supersede(turn, name)
    after = compiled.assets.get(name)
    if after is None and asset.sync is not None and asset.sync.phase == "verifying":
        turn.cancel_run(turn.state.executions.get(asset.sync.execution_id))
        fruitless.supersede(turn, name)
    if after is None or not after.pairs:
        sync.end_unverified(turn, name)
    if after is None and not turn.full:
        turn.emit("asset.retired", name)  # told for people; the fold retires by the new set itself


def _command_of(turn: Turn, name: str) -> str | None:
    waiting = turn.asset(name).sync
    return waiting.command_id if waiting is not None else None
