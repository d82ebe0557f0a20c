"""A state that went through a snapshot decides, folds and shows what the state itself does, in random sessions."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from celld.cell import snapshot
from celld.core.evolve import evolve
from celld.core.state import State, empty
from celld.core.table import Table
from tests.sim.episode import episode
from tests.sim.world import SESSION


@pytest.mark.parametrize("seed", range(8))
def test_a_fold_goes_on_from_a_snapshot_at_any_event(seed: int) -> None:
    random = Random(seed)
    world = episode(random, actions=12)
    whole = broken = empty(SESSION)
    for event in world.log:
        whole, broken = evolve(whole, event), evolve(broken, event)
        if random.random() < 0.1:
            broken = snapshot.decode(snapshot.encode(broken), SESSION)
        assert _named_anew(whole) == _named_anew(broken)


def _named_anew(state: State) -> State:
    """Take away which of several busy assets above it each patient one has noted: any of them will do."""
    anew = [replace(asset, restless=asset.restless and "busy") for asset in state.assets.values()]
    if all(asset.restless in (None, "") for asset in anew):
        return state
    assets = Table((asset.name, asset) for asset in anew)
    return replace(state, assets=assets, quiet_waits=Table())
