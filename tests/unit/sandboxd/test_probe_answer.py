"""What a value out of a database means: every type, as a boolean and as an instant."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from sandboxd.probe import answer
from sandboxd.probe.answer import Answer, Instant, judge, one_line
from setpoint.contracts import probe

NOW = 1_800_000_000.0
MIDNIGHT = 1_795_219_200.0  # 2026-11-21


def boolean(value: object, *, numbers: bool = False) -> Answer:
    return judge(value, None, NOW, numbers_are_booleans=numbers)


def instant(value: object, max_age_s: float = 60.0, now_s: float = NOW) -> Answer:
    return judge(value, max_age_s, now_s, numbers_are_booleans=True)


def test_the_codes_are_those_of_the_contract() -> None:
    assert (answer.READY, answer.DRIFTED, answer.UNKNOWN) == (probe.READY, probe.DRIFTED, probe.UNKNOWN)


@pytest.mark.parametrize("value", [True, "true", "TRUE", " True "])
def test_true_is_ready(value: object) -> None:
    assert boolean(value) == Answer(answer.READY)


@pytest.mark.parametrize("value", [False, "false", "False"])
def test_false_is_drifted(value: object) -> None:
    assert boolean(value) == Answer(answer.DRIFTED, "condition returned false")


def test_0_and_1_are_booleans_where_the_database_has_no_others() -> None:
    assert boolean(1, numbers=True).code == answer.READY
    assert boolean(0, numbers=True).code == answer.DRIFTED
    assert boolean(1).code == boolean(0).code == answer.UNKNOWN
    assert boolean(2, numbers=True).code == boolean(1.0, numbers=True).code == answer.UNKNOWN


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the query gave NULL"),
        (5, "the query gave the number 5, which is no boolean"),
        ("yes", "the query gave the text 'yes', which is no boolean"),
        (b"true", "the query gave a value of the type bytes, which is no boolean"),
        (Instant(1.0), "the query gave a timestamp, which is no boolean"),
    ],
)
def test_everything_else_is_unknown_and_named(value: object, reason: str) -> None:
    assert boolean(value) == Answer(answer.UNKNOWN, reason)


@pytest.mark.parametrize(
    ("value", "age_s"),
    [
        (MIDNIGHT, 0),
        (int(MIDNIGHT), 0),
        (str(int(MIDNIGHT)), 0),
        (f"{MIDNIGHT + 0.5}", -0.5),
        (Instant(MIDNIGHT - 7), 7),
        ("2026-11-21", 0),
        ("2026-11-21 00:00:00", 0),
        ("2026-11-21T00:00:00", 0),
        ("2026-11-21T00:00:00Z", 0),
        ("2026-11-21t00:00:00z", 0),
        ("2026-11-21T02:00:00+02:00", 0),
        ("2026-11-20 23:59:53.250", 6.75),
        (" 2026-11-21T00:00:00.123456789Z ", -0.123456),
    ],
)
def test_an_instant_is_read_whatever_its_form(value: object, age_s: float) -> None:
    """Ready exactly at its age, drifted a thousandth under it."""
    assert instant(value, age_s + 100, MIDNIGHT + 100).code == answer.READY
    assert instant(value, age_s + 99.999, MIDNIGHT + 100).code == answer.DRIFTED


def test_the_age_and_its_limit_are_named() -> None:
    assert instant(NOW - 90).reason == "last updated 90s ago, max age is 60s"
    assert instant(NOW - 90.9).reason == "last updated 90s ago, max age is 60s"
    assert instant(NOW - 60.25).reason == "last updated 60.250s ago, max age is 60s"
    assert instant(NOW - 86_400 * 400, 86_400).reason == "last updated 34560000s ago, max age is 86400s"


def test_the_future_is_ready() -> None:
    assert instant(NOW + 1e6).code == answer.READY


@pytest.mark.parametrize(
    "value",
    [True, math.nan, math.inf, "nan", "inf", "soon", "", "2026-13-01", "1e9", "x" * 100_000, b"1", Decimal("NaN"), []],
)
def test_what_is_no_instant_is_unknown(value: object) -> None:
    assert instant(value).code == answer.UNKNOWN


def test_nothing_is_never_fresh() -> None:
    assert instant(None) == Answer(answer.UNKNOWN, "the query gave NULL")


@pytest.mark.parametrize("text", ["a\nb\r\n\x1b[31mc\u2028d", "x" * 10_000, "", "\n", "\ud800"])
def test_a_reason_is_one_printable_line_of_bounded_length(text: str) -> None:
    line = one_line(text)
    assert 0 < len(line) <= 200
    assert line.isprintable() and line.encode()
