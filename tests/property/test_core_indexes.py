"""The indexes that the fold keeps say what a naive walk over all assets says, after every event of random sessions."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from celld.core import schedule
from celld.core.evolve import evolve
from celld.core.fold_command import GOOD, own_outcome
from celld.core.state import Asset, State, empty
from tests.sim.episode import episode
from tests.sim.world import SESSION


@pytest.mark.parametrize("seed", range(12))
def test_indexes_are_what_a_walk_over_all_assets_finds(seed: int) -> None:
    world = episode(Random(seed), actions=15)
    state = empty(SESSION)
    for event in world.log:
        state = evolve(state, event)
        _check_gates(state)
        _check_agendas(state)
        _check_commands(state)


def _check_gates(state: State) -> None:
    above: dict[str, set[str]] = {}
    for name in state.lineage.order:
        asset = state.assets[name]
        upstreams = set(asset.spec.upstreams)
        above[name] = upstreams.union(*(above[upstream] for upstream in upstreams))
        assert asset.unclear == sum(not schedule.is_solid(state.assets[upstream]) for upstream in upstreams)
        busy = {upstream for upstream in above[name] if schedule.is_busy(state.assets[upstream])}
        if asset.direct is None or not schedule.is_patient(asset):
            assert asset.restless is None
        else:
            assert asset.restless in busy or (asset.restless == "" and not busy)


def _check_agendas(state: State) -> None:
    every = list(state.assets.values())
    assert list(state.looks) == _agenda((schedule.look_at(one), one) for one in every)
    assert list(state.directs) == _agenda((schedule.direct_at(one), one) for one in every)
    waits = {above: {name for _, name in state.quiet_waits[above]} for above in state.quiet_waits}
    patient = [one for one in every if one.restless is not None]
    assert waits == {above: {one.name for one in patient if one.restless == above} for above in set(_restless(patient))}


def _restless(patient: list[Asset]) -> list[str]:
    return [one.restless for one in patient if one.restless is not None]


def _agenda(entries: Iterable[tuple[int | None, Asset]]) -> list[tuple[int, str]]:
    return sorted((at, one.name) for at, one in entries if at is not None)


def _check_commands(state: State) -> None:
    """The sets of a manual sync are what each of its names says of itself."""
    for command in state.commands.values():
        if command.type != "sync" or not command.active:
            continue
        sets: dict[str, int] = {"free": 0, "runs": 0, "bad": 0}
        for name in command.names:
            outcome = own_outcome(state, command, name)
            if name in state.assets and outcome not in (GOOD, "retired"):
                sets[outcome if outcome in sets else "bad"] |= state.lineage.bit(name)
        assert (command.unbegun, command.running, command.bad) == (sets["free"], sets["runs"], sets["bad"])
