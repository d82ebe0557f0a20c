"""The table from SQLSTATE to what a caller may do about it."""

from __future__ import annotations

import pytest

from migrations.outcome import BadInput, Fault, Forbidden, Retry, Unavailable, Unknown, of_sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "running", "connecting"),
    [
        ("08003", Unknown, Unavailable),
        ("08006", Unknown, Unavailable),
        ("57P01", Unknown, Unavailable),
        ("57P02", Unknown, Unavailable),
        ("40003", Unknown, Unavailable),
        ("25P03", Unknown, Unavailable),
        ("40001", Retry, Retry),
        ("40P01", Retry, Retry),
        ("55P03", Retry, Retry),
        ("57014", Retry, Retry),
        ("22P05", BadInput, BadInput),
        ("23505", BadInput, BadInput),
        ("21000", BadInput, BadInput),
        ("42501", Forbidden, Forbidden),
        ("25006", Unavailable, Unavailable),
        ("57P03", Unavailable, Unavailable),
        ("53300", Unavailable, Unavailable),
        ("42883", None, None),
        ("XX000", None, None),
        ("", None, None),
    ],
)
def test_every_state_has_one_meaning(
    sqlstate: str, running: type[Fault] | None, connecting: type[Fault] | None
) -> None:
    assert of_sqlstate(sqlstate) is running
    assert of_sqlstate(sqlstate, connecting=True) is connecting


def test_a_fault_says_its_state_first() -> None:
    assert str(Retry("deadlock detected", "40P01")) == "40P01 deadlock detected"
    assert str(Unknown("connection is closed")) == "connection is closed"
