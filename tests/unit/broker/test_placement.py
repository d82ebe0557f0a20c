"""Placement: who is eligible, who wins, and how evenly many draws spread."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker.placement import OVERLOADED, Candidate, choose

HOSTS = [f"h{n}" for n in range(6)]
DRAWS = st.integers(0, 2**64 - 1)


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    names = draw(st.lists(st.sampled_from(HOSTS), unique=True, max_size=len(HOSTS)))
    count = st.integers(0, 12)
    return [Candidate(name, f"{name}:1", "i", draw(count), draw(count)) for name in names]


def host(name: str, used: int = 0, room: int = 0) -> Candidate:
    return Candidate(name, f"{name}:1", "i", used, room)


@given(candidates(), DRAWS, st.sampled_from(["", *HOSTS]), st.sampled_from(["", *HOSTS]))
def test_what_is_chosen_is_eligible_and_something_is_whenever_one_is(
    known: list[Candidate], draw: int, sticky: str, avoid: str
) -> None:
    eligible = [one for one in known if one.host != avoid and not (one.room and one.used >= one.room)]
    chosen = choose(known, draw, sticky=sticky, avoid=avoid)
    assert (chosen is None) == (not eligible)
    if chosen is None:
        return
    assert chosen in eligible
    wanted = next((one for one in eligible if one.host == sticky), None)
    if wanted is not None and wanted.share < OVERLOADED:
        assert chosen == wanted


@given(candidates(), DRAWS)
def test_the_most_loaded_of_several_is_never_taken_over_a_strictly_better_one(
    known: list[Candidate], draw: int
) -> None:
    eligible = [one for one in known if not one.is_full]
    chosen = choose(known, draw)
    if chosen is not None and len(eligible) > 1:
        others = [(one.share, one.used) for one in eligible if one != chosen]
        assert (chosen.share, chosen.used) <= max(others)


def test_a_sticky_host_that_is_overloaded_competes_like_any_other() -> None:
    known = [host("old", 9, 10), host("new", 0, 10)]
    assert {choose(known, draw, sticky="old") for draw in range(20)} == {known[1]}
    assert choose([host("old", 8, 10), known[1]], 0, sticky="old") == host("old", 8, 10)


def test_the_share_of_the_room_counts_before_the_number() -> None:
    large, small = host("large", 50, 1000), host("small", 5, 10)
    assert {choose([large, small], draw) for draw in range(20)} == {large}


def test_equal_hosts_are_drawn_evenly_and_every_pair_is_as_likely() -> None:
    known = [host(name) for name in HOSTS]
    source = random.Random(11)
    hits = Counter(chosen.host for _ in range(60_000) if (chosen := choose(known, source.getrandbits(64))))
    assert set(hits) == set(HOSTS)
    assert max(hits.values()) < 1.05 * 10_000
    assert min(hits.values()) > 0.95 * 10_000


def test_two_choices_keep_the_fullest_host_close_to_the_mean() -> None:
    """1,000 sessions on 20 hosts: one random host each leaves the fullest some 17 above the mean of 50, two about 2."""
    source = random.Random(7)
    used = [0] * 20
    for _ in range(1000):
        chosen = choose([host(str(n), count) for n, count in enumerate(used)], source.getrandbits(64))
        assert chosen is not None
        used[int(chosen.host)] += 1
    assert sum(used) == 1000
    assert max(used) <= 54
    assert min(used) >= 45
