"""Which clock reading may stand behind a start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celld.host.token import Reading, Readings
from setpoint.contracts.run import ClockToken


def readings(*received: float) -> Readings:
    kept = Readings()
    for at in received:
        kept.note(Reading(ClockToken("boot", "ledger", "inc", at), at))
    return kept


def test_without_a_reading_nothing_may_start() -> None:
    assert Readings().usable(100.0) is None


def test_a_reading_counts_only_when_it_came_before_the_renewal_was_sent() -> None:
    kept = readings(5.0)
    assert kept.usable(5.0) is None, "at the same instant is not before"
    assert kept.usable(4.0) is None
    token = kept.usable(5.1)
    assert token is not None and token.clock_s == 5.0


def test_the_newest_such_reading_is_taken_and_may_be_taken_again() -> None:
    kept = readings(1.0, 2.0, 3.0)
    for _ in range(2):
        token = kept.usable(2.5)
        assert token is not None and token.clock_s == 2.0
    assert kept.oldest_unused_s() == 2.0


def test_after_a_lost_link_the_old_readings_are_void() -> None:
    kept = readings(1.0)
    kept.clear()
    assert kept.usable(9.0) is None and kept.oldest_unused_s() is None


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=80).map(sorted),
    st.lists(st.floats(0, 120), min_size=1, max_size=8).map(sorted),
)
def test_no_renewal_ever_makes_a_younger_reading_usable(received: list[float], sent: list[float]) -> None:
    kept = readings(*received)
    for renewal in sent:
        token = kept.usable(renewal)
        older = [at for at in received[-64:] if at < renewal]
        assert (token.clock_s if token else None) == (older[-1] if older else None)
