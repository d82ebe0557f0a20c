"""``upstreamPolicy: all``, and triggers that a person held up: they wait until nothing above them moves."""

from __future__ import annotations

from random import Random

import pytest

from setpoint.contracts.resource.model import CompiledAsset
from tests.sim.world import World, asset, pair, project

HOUR = 3600.0


def ready_world(*assets: CompiledAsset) -> World:
    """Return a world in which every asset was found Ready."""
    world = World(project(*assets), all_ready=True)
    world.run(10 + 2 * len(assets))
    assert set(world.known().values()) <= {"ready"}
    return world


def heal(world: World, *names: str) -> int:
    """Let assets drift and be found so; return the seq before."""
    head = world.head
    for name in names:
        world.drift(name)
    world.command("evaluate", {"select": list(names)})
    return head


def diamond(policy: str) -> tuple[CompiledAsset, ...]:
    return asset("a"), asset("b", "a"), asset("c", "a"), asset("x", "b", "c", upstream_policy=policy)


@pytest.mark.parametrize(("policy", "syncs"), [("any", 2), ("all", 1)])
def test_r6_a_warm_diamond_syncs_each_asset_once_under_all(policy: str, syncs: int) -> None:
    """Without the rule C is known Ready while it syncs, so that B's end starts X and C's starts it again."""
    world = ready_world(*diamond(policy))
    world.sync_s = {"b": 20.0, "c": 45.0}
    head = heal(world, "a")
    world.run(300)
    assert [world.counts(name, head)[1] for name in "abcx"] == [1, 1, 1, syncs]
    assert set(world.known().values()) == {"ready"}


def test_r6_a_cold_diamond_syncs_each_asset_once_under_all() -> None:
    world = World(project(*diamond("all")))
    world.sync_s = {"b": 20.0, "c": 45.0}
    world.run(300)
    assert [world.counts(name)[1] for name in "abcx"] == [1, 1, 1, 1]


def test_r6_the_end_of_an_upstream_that_does_not_propagate_lets_go_as_well() -> None:
    """C's manual sync of one stage of two changes nothing for those below; X waits for its end all the same."""
    c = asset("c", pairs=[pair(stages="pre run")])
    world = ready_world(asset("b"), c, asset("x", "b", "c", upstream_policy="all"))
    world.sync_s["c"] = 100.0
    world.command("sync", {"select": ["c"], "stages": ["run"]})
    head = heal(world, "b")
    world.run(60)
    assert world.counts("x", head)[1] == 0
    world.run(120)
    assert world.counts("x", head)[1] == 1


def test_an_upstream_that_may_not_sync_does_not_hold_those_below() -> None:
    """B's trigger waits on a suspension, and C may not sync by itself: neither is under way."""
    world = ready_world(
        asset("a"),
        asset("b", "a"),
        asset("c", "a", auto_sync_on_drift=False),
        asset("x", "b", "c", upstream_policy="all"),
    )
    world.command("suspend", {"select": ["b"]})
    head = heal(world, "a")
    world.run(120)
    assert world.docs["b"]["pending"]["sync"] == "direct"
    assert world.counts("x", head)[1] >= 1


def test_a_trigger_waits_for_a_verification_that_is_outstanding() -> None:
    world = ready_world(asset("b"), asset("c"), asset("x", "b", "c", upstream_policy="all"))
    world.scripts["c"] = lambda world, label: world.truth.update({("c", "c"): "timeout"}) is None
    world.command("sync", {"select": ["c"]})
    head = heal(world, "b")
    world.run(20)
    assert world.counts("x", head)[1] == 0
    world.truth["c", "c"] = True
    world.run(120)
    assert world.counts("x", head)[1] == 1


def test_a_trigger_waits_through_a_pass_through() -> None:
    world = ready_world(asset("b"), asset("c"), asset("p", "c", pairs=()), asset("x", "b", "p", upstream_policy="all"))
    world.sync_s["c"] = 100.0
    world.command("sync", {"select": ["c"]})
    head = heal(world, "b")
    world.run(60)
    assert world.counts("x", head)[1] == 0
    world.run(100)
    assert world.counts("x", head)[1] == 1


def test_a_sync_that_waits_for_a_slot_is_taken_back_when_something_above_begins_to_move() -> None:
    assets = (asset("b"), asset("x", "b", upstream_policy="all"), asset("z"))
    world = World(project(*assets, max_sync_concurrency=1), all_ready=True)
    world.run(10)
    world.sync_s["z"] = 60.0
    head = heal(world, "b")
    world.at(5, lambda: world.command("sync", {"select": ["z"]}))  # queues for the slot before X
    world.run(20)
    assert world.state.assets["x"].sync is not None
    world.command("sync", {"select": ["b"]})
    world.run(200)
    assert [event.data["reason"] for event in world.events("sync.skipped", "x", head)] == ["blocked"]
    assert world.counts("x", head)[1] == 1
    assert set(world.known().values()) == {"ready"}


def test_a_drift_leaves_its_sync_to_the_trigger_that_waits() -> None:
    world = ready_world(asset("b"), asset("c"), asset("x", "b", "c", upstream_policy="all"))
    world.sync_s["c"] = 100.0
    world.command("sync", {"select": ["c"]})
    head = heal(world, "b")
    world.run(20)
    world.drift("x")
    world.command("evaluate", {"select": ["x"]})
    world.run(10)
    assert world.events("asset.drifted", "x", head)[0].data["obstacle"] == "direct"
    world.run(200)
    assert world.counts("x", head)[1] == 1
    assert set(world.known().values()) == {"ready"}


@pytest.mark.parametrize("released", ["unhalt", "resume"])
def test_triggers_that_a_person_held_up_wait_like_under_all(released: str) -> None:
    """Under ``any`` a chain with several of them would sync its lower assets twice."""
    world = ready_world(asset("a"), asset("b", "a"), asset("c", "b"))
    names = {"select": ["b", "c"]}
    world.command("halt") if released == "unhalt" else world.command("suspend", names)
    world.command("sync", {"select": ["a"]})
    world.run(30)
    world.command("sync", {"select": ["b"], "stages": []})
    world.run(30)
    world.command("sync", {"select": ["a"]})
    world.run(30)
    assert [world.docs[name]["pending"]["sync"] for name in "bc"] == ["direct", "direct"]
    head = world.head
    world.command("unhalt") if released == "unhalt" else world.command("resume", names)
    world.run(200)
    assert [world.counts(name, head)[1] for name in "bc"] == [1, 1]
    assert [world.docs[name]["pending"]["sync"] for name in "bc"] == ["none", "none"]


@pytest.mark.parametrize("seed", range(12))
def test_r6_random_graphs_sync_each_asset_exactly_once_when_their_root_drifts(seed: int) -> None:
    random = Random(seed)
    names = [f"n{i}" for i in range(random.randint(4, 14))]
    assets = [asset(names[0])]
    for place, name in enumerate(names[1:], 1):
        above = random.sample(names[:place], random.randint(1, min(3, place)))
        assets.append(asset(name, *above, upstream_policy="all"))
    world = ready_world(*assets)
    world.sync_s = {name: random.uniform(1.0, 60.0) for name in names}
    world.evaluate_s = {name: random.uniform(0.2, 5.0) for name in names}
    head = heal(world, names[0])
    world.run(HOUR)
    assert {name: world.counts(name, head)[1] for name in names} == dict.fromkeys(names, 1)


def test_a_trigger_waits_for_another_asset_when_the_one_it_waited_for_is_above_it_no_more() -> None:
    first, x = (asset("a"), asset("b"), asset("u")), ("b", "u")
    world = ready_world(*first, asset("x", "a", *x, upstream_policy="all"))
    world.sync_s = {"a": 500.0, "b": 500.0}
    world.command("sync", {"select": ["a", "b"]})
    head = heal(world, "u")
    world.run(30)
    assert world.state.assets["x"].restless == "a"
    world.apply(project(*first, asset("x", *x, upstream_policy="all")))
    assert world.state.assets["x"].restless == "b"
    world.run(400)
    assert world.counts("x", head)[1] == 0
    world.run(200)
    assert world.counts("x", head)[1] == 1


def test_who_is_busy_is_asked_only_for_a_trigger_that_waits_for_it() -> None:
    names = ("a", "b", "c")
    world = ready_world(asset("a"), asset("b"), asset("c", "a", "b", upstream_policy="all"), asset("y", "b"))
    world.sync_s = {"a": 5.0, "b": 60.0}
    assert [world.state.assets[name].restless for name in names] == [None, None, None]
    world.command("sync", {"select": ["a", "b"]})
    assert [world.state.assets[name].restless for name in names] == [None, None, None]
    world.run(20)
    assert world.state.assets["c"].restless == "b"
    assert [entry[1] for entry in world.state.quiet_waits["b"]] == ["c"]
    world.run(120)
    assert world.counts("c")[1] == 1
    assert not len(world.state.quiet_waits) and world.state.busy == 0
