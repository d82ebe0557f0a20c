"""What an evaluate or a sync would do, without doing it: the answer to a dry run. Called by command.py.

Nothing is started, owed or waited for: the command is accepted and ends in the same decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celld.core import fit, schedule
from celld.core.state import Asset, State
from setpoint.contracts.command import Evaluate, Sync


def foretell(state: State, body: Evaluate | Sync, names: Sequence[str]) -> dict[str, Any]:
    """Return what ``body`` would do to ``names``, which come upstreams first.

    ``count`` has how many assets it would reach, ``assets`` as many of them as a result may hold.
    """
    assets = [state.assets[name] for name in names]
    if isinstance(body, Evaluate):
        found = [_evaluated(asset) for asset in assets if asset.spec.pairs]
    else:
        found = [_synced(asset, body.stages) for asset in assets]
    result: dict[str, Any] = {"dry_run": True, "count": len(found), "assets": fit.first_of(found)}
    return result | ({} if found else {"message": "nothing is selected"})


def _evaluated(asset: Asset) -> dict[str, Any]:
    conditions = [{"name": condition.name, "type": condition.kind} for condition in asset.spec.conditions()]
    return {"asset": asset.name, "conditions": conditions}


def _synced(asset: Asset, stages: Sequence[str]) -> dict[str, Any]:
    pair = schedule.direct_pair(asset)
    assert pair is not None and pair[1].sync is not None, "an asset without a sync is to be synced"
    sync = pair[1].sync
    would = [{"stage": stage, "args": list(it.argv)} for stage, it in sync.stages() if not stages or stage in stages]
    return {"asset": asset.name, "sync": sync.name, "stages": would}
