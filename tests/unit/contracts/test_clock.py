"""Instants and durations, there and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts.clock import micros, moment, parse_duration_s, parse_rfc3339, rfc3339

AT = st.integers(0, 4_000_000_000_000_000)


@given(AT)
def test_an_instant_survives_its_text_to_the_microsecond(at_us: int) -> None:
    text = rfc3339(at_us)
    assert text.endswith("Z")
    assert len(text) == len("2026-11-21T10:00:00.000000Z")
    assert parse_rfc3339(text) == at_us
    assert micros(moment(at_us)) == at_us


@given(st.lists(AT, min_size=2, max_size=2))
def test_texts_sort_as_instants(moments: list[int]) -> None:
    early, late = sorted(moments)
    assert rfc3339(early) <= rfc3339(late)


def test_a_zone_is_needed_and_honoured() -> None:
    assert parse_rfc3339("1970-01-01T01:00:00+01:00") == 0
    assert micros(datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == 0
    assert moment(1) == datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)
    for text in ("1970-01-01T00:00:00", "yesterday", ""):
        with pytest.raises(ValueError):
            parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("24h", 86400),
        ("7d", 604800),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "90", "s", "-5m", "5 parsecs", "5m!", "m5", "1e3s", "5M"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration_s(text)
