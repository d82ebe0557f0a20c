"""Timers: intervals, clocks on a wall, results that may be taken again. The world begins 2027-01-15 08:00:00 UTC."""

from __future__ import annotations

from itertools import pairwise

from celld.core.decide import decide
from setpoint.contracts.cell import Tick
from setpoint.contracts.clock import parse_rfc3339, rfc3339
from tests.sim.world import SECOND, World, asset, fold, pair, project

HOUR = 3600.0
BERLIN = "Europe/Berlin"


def starts(world: World) -> list[int]:
    """Return when evaluations started, in seconds from the beginning."""
    return [round(world.seconds(event)) for event in world.events("evaluation.started", "a")]


def test_r3_a_ready_result_is_taken_again_until_it_is_too_old_and_nothing_spins() -> None:
    """Interval 60 s, TTL 300 s: without the rule the timer stays due and the decision never settles."""
    world = World(project(asset("a", pairs=[pair("c", sync=None, interval=60, cache_ttl_s=300.0)])), all_ready=True)
    world.run(700)
    assert starts(world) == [0, 301, 602]
    assert len(world.log) < 30


def test_a_timer_that_runs_something_else_takes_a_fresh_result_as_it_is_and_says_so() -> None:
    pairs = [pair("often", sync=None, interval=60), pair("dear", sync=None, interval=60, cache_ttl_s=150.0)]
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.run(200)
    ran = [event.data["conditions"] for event in world.events("evaluation.started", "a")]
    assert ran == [["often", "dear"], ["often"], ["often"], ["often", "dear"]]
    assert [e.data["reused"] for e in world.events("evaluation.completed", "a")] == [[], ["dear"], ["dear"], []]
    assert world.events("evaluation.completed", "a")[1].data["verdict"] == "ready"
    names = [result["conditionName"] for result in world.docs["a"]["last_evaluation"]["conditions"]]
    assert names == ["often", "dear"]


def test_only_a_ready_result_is_taken_again() -> None:
    spec = asset("a", pairs=[pair("c", sync=None, interval=60, cache_ttl_s=300.0)])
    world = World(project(spec))
    world.run(130)
    assert starts(world) == [0, 61, 122]


def test_only_a_timer_takes_results_again() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None, cache_ttl_s=HOUR)])), all_ready=True)
    world.run(10)
    world.drift("a")
    world.command("evaluate")
    world.run(10)
    assert world.known() == {"a": "drifted"}


def test_the_age_of_a_result_counts_from_its_real_run_and_not_from_its_reuse() -> None:
    pairs = [pair("often", sync=None, interval=50), pair("dear", sync=None, interval=50, cache_ttl_s=120.0)]
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.run(1000)
    dear = [event.at for event in world.events("evaluation.step_finished", "a") if event.data["name"] == "dear"]
    gaps = {(after - before) // SECOND for before, after in pairwise(dear)}
    assert gaps == {153}  # the first tick at which it is 120 s old or more


def test_the_next_due_that_is_shown_is_when_something_really_runs() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None, interval=60, cache_ttl_s=300.0)])), all_ready=True)
    world.run(2)
    assert world.docs["a"]["next_due"] == rfc3339(world.began + 301 * SECOND)
    assert world.events("evaluation.completed")[0].data["next_due"] == world.docs["a"]["next_due"]


def test_a_condition_is_checked_by_the_clock() -> None:
    pairs = [pair("c", sync=None, check_at="30 9 * * *", timezone=BERLIN)]  # 08:30 UTC
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.run(30)
    assert world.docs["a"]["next_due"] == "2027-01-15T08:30:00.000000Z"
    world.run(2 * 24 * HOUR)
    assert starts(world) == [0, 1800, 1800 + 86_400]
    assert [event.data["why"] for event in world.events("evaluation.started")] == ["initial", "cron", "cron"]


def test_missed_ticks_of_a_clock_collapse_into_one() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None, check_at="*/10 * * * *")])), all_ready=True)
    world.run(30)
    late = decide(world.state, Tick(), world.now + round(5 * HOUR) * SECOND)
    assert [event.type for event in late.events] == ["evaluation.started"]
    world.crash()
    world._wake = None  # nobody was there to be woken
    world.now += round(5 * HOUR) * SECOND + 30 * SECOND
    world.feed(Tick())
    world.run(30)
    assert world.counts("a")[0] == 2
    assert world.docs["a"]["next_due"] == "2027-01-15T13:10:00.000000Z"


def test_a_tick_during_an_evaluation_is_not_answered_by_it() -> None:
    world = World(project(asset("a", pairs=[pair("c", sync=None, check_at="30 8 * * *")])), all_ready=True)
    world.run(10)
    world.evaluate_s["a"] = 60.0
    world.at(1760, lambda: world.command("evaluate"))
    world.run(2000)
    assert starts(world) == [0, 1770, 1830]


def test_a_clock_goes_on_over_the_changes_to_summer_and_winter_time() -> None:
    pairs = [pair("c", sync=None, check_at="30 2 * * *", timezone=BERLIN)]
    world = World(project(asset("a", pairs=pairs)), all_ready=True)
    world.run(365 * 24 * HOUR)
    ticks = [rfc3339(event.at)[:16] for event in world.events("evaluation.started", "a")][1:]
    assert len(ticks) == 365
    assert {"2027-03-27T01:30", "2027-03-28T01:30", "2027-03-29T00:30"} <= set(ticks)
    assert {"2027-10-30T00:30", "2027-10-31T00:30", "2027-11-01T01:30"} <= set(ticks)


def test_a_tick_while_blocked_is_made_up_for_when_the_asset_is_clear() -> None:
    pairs = [pair("c", sync=None, check_at="30 8 * * *")]
    world = World(project(asset("a", auto_sync_on_drift=False), asset("b", "a", pairs=pairs)), all_ready=True)
    world.run(10)
    world.drift("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(HOUR)
    assert world.types("b").count("asset.blocked") == 1
    world.heal("a")
    world.command("evaluate", {"select": ["a"]})
    world.run(10)
    assert world.counts("b") == (2, 0)


def test_interval_and_clock_together_each_in_its_own_time() -> None:
    spec = asset("a", pairs=[pair("c", sync=None, interval=1000, check_at="30 8 * * *")])
    world = World(project(spec), all_ready=True)
    world.run(3000)
    assert starts(world) == [0, 1001, 1800, 2801]


def test_a_fresh_result_is_taken_again_at_a_tick_of_the_clock() -> None:
    spec = asset("a", pairs=[pair("c", sync=None, check_at="*/10 * * * *", cache_ttl_s=1500.0)])
    world = World(project(spec), all_ready=True)
    world.run(2 * HOUR)
    assert starts(world) == [0, 1800, 3600, 5400, 7200]


def test_an_unknown_result_keeps_the_clock_going() -> None:
    spec = asset("a", pairs=[pair("c", sync=None, check_at="30 8 * * *")])
    world = World(project(spec), all_ready=True)
    world.truth["a", "c"] = "timeout"
    world.run(100)
    assert world.state.assets["a"].ticks == {"c": parse_rfc3339("2027-01-15T08:30:00Z")}
    world.truth["a", "c"] = True
    world.run(HOUR)
    assert world.known() == {"a": "ready"}
    assert 1800 in starts(world)


def test_timers_survive_a_new_owner_and_are_read_from_the_log() -> None:
    spec = asset("a", pairs=[pair("c", sync=None, check_at="30 8 * * *", timezone=BERLIN)])
    world = World(project(spec), all_ready=True)
    world.run(100)
    before = world.state.assets["a"].ticks
    world.crash()
    assert fold(world.log).assets["a"].ticks == before
    assert world.counts("a")[0] == 1
