"""Cron by a clock on the wall: the days on which it is changed, and every other."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from setpoint.contracts.clock import parse_rfc3339, rfc3339
from setpoint.contracts.resource.cron import comes, next_tick, timezones

BERLIN = "Europe/Berlin"


def ticks(expression: str, timezone: str, after: str, n: int = 4) -> list[str]:
    """Return the next ``n`` ticks, without the date's year and the seconds."""
    at, found = parse_rfc3339(after), []
    for _ in range(n):
        at = next_tick(expression, timezone, at)
        found.append(rfc3339(at)[5:16])
    return found


def test_an_ordinary_day() -> None:
    assert ticks("0 6 * * *", BERLIN, "2027-01-15T05:00:00Z", 2) == ["01-16T05:00", "01-17T05:00"]
    assert ticks("0 6 * * *", BERLIN, "2027-07-15T03:59:59.999999Z", 1) == ["07-15T04:00"]
    assert ticks("*/5 6-7 * * 1-5", "UTC", "2027-01-15T07:50:00Z", 2) == ["01-15T07:55", "01-18T06:00"]


def test_the_next_tick_is_strictly_later_and_a_part_of_a_second_is_no_second() -> None:
    assert ticks("* * * * *", "UTC", "2027-01-15T07:50:00Z", 1) == ["01-15T07:51"]
    assert ticks("* * * * *", "UTC", "2027-01-15T07:50:00.000001Z", 1) == ["01-15T07:51"]
    assert ticks("* * * * *", "UTC", "2027-01-15T07:49:59.999999Z", 1) == ["01-15T07:50"]


def test_a_time_that_the_clocks_leap_over_comes_as_much_later() -> None:
    """In Berlin, 2027-03-28 02:00 is followed by 03:00 (01:00 UTC)."""
    assert ticks("30 2 * * *", BERLIN, "2027-03-27T00:00:00Z", 3) == ["03-27T01:30", "03-28T01:30", "03-29T00:30"]
    assert ticks("30 2 * * *", BERLIN, "2027-03-28T01:10:00Z", 1) == ["03-28T01:30"]


def test_two_times_that_fall_together_come_once() -> None:
    assert ticks("30 2,3 * * *", BERLIN, "2027-03-28T00:00:00Z", 2) == ["03-28T01:30", "03-29T00:30"]


def test_a_time_that_the_clocks_show_twice_comes_once() -> None:
    """In Berlin, 2027-10-31 03:00 summer time is followed by 02:00 winter time (01:00 UTC)."""
    assert ticks("30 2 * * *", BERLIN, "2027-10-30T12:00:00Z", 2) == ["10-31T00:30", "11-01T01:30"]
    assert ticks("30 2 * * *", BERLIN, "2027-10-31T01:10:00Z", 1) == ["11-01T01:30"]


def test_a_rhythm_goes_on_through_both_changes() -> None:
    spring = ticks("*/30 * * * *", BERLIN, "2027-03-28T00:00:00Z")
    assert spring == ["03-28T00:30", "03-28T01:00", "03-28T01:30", "03-28T02:00"]
    autumn = ticks("*/30 * * * *", BERLIN, "2027-10-31T00:00:00Z")
    assert autumn == ["10-31T00:30", "10-31T01:00", "10-31T01:30", "10-31T02:00"]


def test_a_clock_that_is_changed_by_half_an_hour() -> None:
    """On Lord Howe Island, 2027-10-03 02:00 (15:30 UTC the day before) is followed by 02:30."""
    assert ticks("15 2 * * *", "Australia/Lord_Howe", "2027-10-02T00:00:00Z", 2) == ["10-02T15:45", "10-03T15:15"]
    assert ticks("0,20,40 * * * *", "Australia/Lord_Howe", "2027-10-02T15:00:00Z", 3) == [
        "10-02T15:10",
        "10-02T15:40",
        "10-02T16:00",
    ]


def test_a_year_and_more_ahead() -> None:
    assert next_tick("0 0 29 2 *", BERLIN, parse_rfc3339("2027-03-01T00:00:00Z")) == parse_rfc3339(
        "2028-02-28T23:00:00Z"
    )


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_every_minute_is_every_minute_in_every_zone(zone: str) -> None:
    for day in (
        datetime(2027, 3, 28, tzinfo=UTC),
        datetime(2027, 10, 31, tzinfo=UTC),
        datetime(2027, 11, 7, tzinfo=UTC),
    ):
        at = int(day.timestamp()) * 1_000_000
        for minute in range(1, 10):
            later = next_tick("* * * * *", zone, at + 3_300_000_000)
            assert later - at == 3_300_000_000 + 60_000_000, minute
            at += 3_600_000_000


def test_what_never_comes() -> None:
    assert not comes("0 0 30 2 *")
    assert comes("0 0 29 2 *")
    assert {"UTC", BERLIN, "America/New_York"} <= timezones()
