"""The seed's seven scenarios with their exact counts: completed evaluations and started syncs of an asset.

``cold`` is a new project in which everything has drifted; ``warm`` is a project that is Ready, then upstreams drift.
Evaluations last 1 s, syncs 10 s unless a scenario says otherwise.
"""

from __future__ import annotations

import pytest

from setpoint.contracts.resource.model import CompiledAsset
from tests.sim.world import World, asset, project

CHAIN = (asset("a"), asset("b", "a"), asset("c", "b"))
FAN_IN = (asset("a", interval=600), asset("b", interval=600), asset("c", interval=600), asset("x", "a", "b", "c"))
FAN_OUT = (asset("a", interval=600), asset("b", "a"), asset("c", "a"), asset("d", "a"))
DIAMOND = (asset("a", interval=600), asset("b", "a"), asset("c", "a"), asset("x", "b", "c"))


def warm(*assets: CompiledAsset, drifted: tuple[str, ...], sync_s: dict[str, float] | None = None) -> tuple[World, int]:
    """Return a world in which all was Ready and ``drifted`` has just been found drifted, and the seq of that moment."""
    world = World(project(*assets), all_ready=True)
    world.run(30)
    assert set(world.known().values()) == {"ready"}
    world.sync_s.update(sync_s or {})
    head = world.head
    for name in drifted:
        world.drift(name)
        world.command("evaluate", {"select": [name]})
    return world, head


def test_scenario_1_linear_chain_converges_from_its_top() -> None:
    world = World(project(*CHAIN))
    world.run(100)
    assert [world.counts(name) for name in "abc"] == [(2, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("cold", [True, False])
def test_scenario_2_upstreams_ready_in_quick_succession_are_subsumed(cold: bool) -> None:
    durations = {"a": 10.0, "b": 15.0, "c": 30.0}
    if cold:
        world, head = World(project(*FAN_IN)), 0
        world.sync_s.update(durations)
    else:
        world, head = warm(*FAN_IN, drifted=("a", "b", "c"), sync_s=durations)
    world.run(200)
    assert world.counts("x", head) == (2, 2)


@pytest.mark.parametrize("cold", [True, False])
def test_scenario_3_upstreams_ready_far_apart_each_sync_the_downstream(cold: bool) -> None:
    durations = {"a": 10.0, "b": 60.0, "c": 120.0}
    if cold:
        world, head = World(project(*FAN_IN)), 0
        world.sync_s.update(durations)
    else:
        world, head = warm(*FAN_IN, drifted=("a", "b", "c"), sync_s=durations)
    world.run(300)
    assert world.counts("x", head) == (3, 3)


@pytest.mark.parametrize("cold", [True, False])
def test_scenario_4_fan_out_syncs_in_parallel(cold: bool) -> None:
    world, head = (World(project(*FAN_OUT)), 0) if cold else warm(*FAN_OUT, drifted=("a",))
    world.run(100)
    assert [world.counts(name, head) for name in "bcd"] == [(1, 1)] * 3
    started = [world.events("sync.started", name, head)[0].at for name in "bcd"]
    assert len(set(started)) == 1


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("c_sync_s", [10.0, 14.0, 19.0])
def test_scenario_5_diamond_syncs_its_foot_once(cold: bool, c_sync_s: float) -> None:
    if cold:
        world, head = World(project(*DIAMOND)), 0
        world.sync_s["c"] = c_sync_s
    else:
        world, head = warm(*DIAMOND, drifted=("a",), sync_s={"c": c_sync_s})
    world.run(150)
    assert [world.counts(name, head) for name in "bcx"] == [(1, 1)] * 3


def test_scenario_5_a_branch_that_ends_after_the_foot_syncs_it_again() -> None:
    world, head = warm(*DIAMOND, drifted=("a",), sync_s={"c": 20.5})
    world.run(150)
    assert world.counts("x", head) == (2, 2)


def test_scenario_6_interval_and_propagation_work_side_by_side() -> None:
    world = World(project(asset("a", interval=150), asset("b", "a", interval=60)), all_ready=True)
    world.run(30)
    head = world.head
    world.at(100, lambda: world.drift("a"))
    world.run(210)
    assert world.counts("b", head) == (4, 1)


@pytest.mark.parametrize("cold", [True, False])
def test_scenario_7_a_drifted_upstream_blocks_what_is_below(cold: bool) -> None:
    assets = (asset("a", interval=3600), asset("b", "a", interval=60), asset("c", "b"))
    if cold:
        world, head = World(project(*assets)), 0
        world.sync_s["a"] = 130.0
    else:
        world, head = warm(*assets, drifted=("a",), sync_s={"a": 130.0})
    world.run(170)
    assert [world.counts(name, head) for name in "bc"] == [(1, 1), (1, 1)]
    blocked = world.events("asset.blocked", "b", head)
    assert len(blocked) == (0 if cold else 1)


def test_a_warm_chain_heals_to_its_end() -> None:
    world, head = warm(*CHAIN, drifted=("a",))
    world.run(100)
    assert [world.counts(name, head) for name in "bc"] == [(1, 1), (1, 1)]


def test_a_healthy_chain_is_only_looked_at() -> None:
    world = World(project(*CHAIN), all_ready=True)
    world.run(100)
    assert [world.counts(name) for name in "abc"] == [(1, 0)] * 3
