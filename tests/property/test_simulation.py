"""A slice of the simulation: a world of hosts, sandboxes and clients under faults, judged by checkers of its own.

``make sim`` plays thousands of schedules; here are those that once failed, and a few more.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import pytest

from tests.sim.plan import FAULTS_MIN, plan
from tests.sim.play import DECISIONS_MIN, play
from tests.sim.runner import Tally, one, several
from tests.sim.shrink import shrink

SEEDS = Path(__file__).parents[1] / "sim" / "seeds.txt"
SLICE = 100


def kept() -> list[tuple[int, frozenset[str]]]:
    """Read the schedules that are kept."""
    lines = [line.split() for line in SEEDS.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(int(seed), frozenset() if entries == "-" else frozenset(entries.split(","))) for seed, entries in lines]


@pytest.mark.parametrize(("seed", "dropped"), kept())
def test_a_schedule_that_once_failed_does_not_fail_any_more(seed: int, dropped: frozenset[str]) -> None:
    assert not one(seed, dropped, thorough=True).failures


@functools.cache
def played() -> Tally:
    """Play the slice."""
    total = Tally()
    for tally in several(range(SLICE)):
        total.add(tally)
    return total


def test_nothing_is_wrong_in_any_schedule() -> None:
    assert played().failures == {}


def test_every_schedule_is_long_enough_to_count() -> None:
    assert played().short == 0
    assert played().decisions >= SLICE * DECISIONS_MIN


def test_what_schedules_are_for_is_reached() -> None:
    often = ("sync subsumed", "trigger kept over a cooldown", "adopted", "late commit", "unknown commit was there")
    assert all(played().met[point] for point in often), played().met


def test_a_seed_plays_the_same_schedule_again() -> None:
    digests = {one(7, thorough=True).digest for _ in range(2)}
    assert len(digests) == 1


def test_a_schedule_has_three_hosts_faults_and_clients() -> None:
    drawn = plan(7)
    assert len(drawn.offsets_us) == 3
    assert len(drawn.faults) >= FAULTS_MIN
    assert drawn.clients


def test_what_is_left_out_leaves_the_rest_as_it_was() -> None:
    drawn = plan(7)
    label = drawn.faults[0].label
    history = play(plan(7, frozenset({label})))
    assert history.faults == len(drawn.faults) - 1
    assert plan(7, frozenset({label})).faults == drawn.faults


def test_a_failing_schedule_is_made_smaller() -> None:
    def verdict(seed: int, dropped: frozenset[str], *, thorough: bool) -> Tally:
        """Fail for as long as one fault and one act are there."""
        assert thorough
        tally = Tally(met=Counter())
        if not {"f1", "c0.2"} & dropped and "c0" not in dropped:
            tally.failures[seed, dropped] = ["check_log: something"]
        return tally

    smaller, found = shrink(7, frozenset(), ["check_log: something"], verdict)
    left = {label for label in plan(7).labels() if not {label, label.split(".")[0]} & smaller}
    assert left == {"f1", "c0", "c0.2"}
    assert found == ["check_log: something"]
