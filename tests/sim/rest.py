"""Whether a session rests: nothing runs, nothing is owed that could be done, every asset Ready or kept by its own spec.

Used to know when a schedule may end, and by the checker of convergence on its own fold of the log.
"""

from __future__ import annotations

from celld.core.schedule import is_busy, is_patient
from celld.core.state import Asset, State


def at_rest(state: State) -> bool:
    """Tell whether nothing is left to do in a session but to wait for its timers."""
    if state.closed:
        return True
    syncing = any(run.kind != "evaluation" for run in state.executions.values())
    idle = not state.commands and not syncing and state.halted is None
    return idle and all(is_settled(state, asset) for asset in state.assets.values())


def is_settled(state: State, asset: Asset) -> bool:
    """Tell whether an asset is Ready with nothing pending, or there is a standing reason why it is not."""
    if not asset.spec.pairs:
        return True
    done = asset.known == "ready" and not asset.stale and asset.sync is None
    if done and asset.direct is None and asset.look is None and asset.retry is None:
        return True
    return asset.evaluation is None and asset.sync is None and bool(cause(state, asset))


def cause(state: State, one: Asset) -> str:
    """Return why an asset is not brought on, by standing reasons alone; empty when there is none."""
    if one.suspended is not None:
        return "suspended"
    drifted = [
        place
        for place, pair in enumerate(one.spec.pairs)
        if any(_seen(one, condition.name) == "drifted" for condition in pair.conditions)
    ]
    if drifted and (not one.spec.auto_sync_on_drift or one.spec.pairs[drifted[0]].sync is None):
        return "nothing may sync it"
    for upstream in one.spec.upstreams:
        above = state.assets[upstream]
        if above.spec.pairs and (above.known != "ready" or above.stale) and cause(state, above):
            return f"blocked by {upstream}"
        if above.spec.pairs and is_busy(above) and is_patient(one) and cause(state, above):
            return f"waits for {upstream} to come to rest"
        if (not above.spec.pairs or above.unclear or above.restless) and cause(state, above):
            return f"blocked above {upstream}"
    return ""


def _seen(one: Asset, condition: str) -> str:
    return one.results[condition].state if condition in one.results else "unknown"
