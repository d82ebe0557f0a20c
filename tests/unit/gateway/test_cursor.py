"""Cursors and pages: what is read back is what was given, and garbage is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import cursor
from setpoint.contracts.problem import Problem


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_a_cursor_is_read_back(key: str) -> None:
    assert cursor.decode_cursor({"after": cursor.encode_cursor(key)}) == key


@pytest.mark.parametrize("text", ["!", "a", "AA==", "_w", "AA", "x" * 600, "a b", "ä"])
def test_what_no_page_gave_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="no cursor"):
        cursor.decode_cursor({"after": text})


def test_without_a_cursor_a_list_starts_at_its_start() -> None:
    assert cursor.decode_cursor({}) == cursor.decode_cursor({"after": ""}) == ""


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("500", 500), ("007", 7)])
def test_a_limit_is_taken(text: str, number: int) -> None:
    assert cursor.page_limit({"limit": text}) == number


@pytest.mark.parametrize("text", ["0", "501", "-1", "+1", "1.0", "", " 1", "1_0", "١", "9" * 40])
def test_a_bad_limit_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="limit"):
        cursor.page_limit({"limit": text})


@pytest.mark.parametrize(
    ("after", "last", "expected"),
    [(None, None, 0), ("5", None, 5), (None, "5", 5), ("5", "9", 9), ("9", "5", 9), ("0", "", 0), (None, " 7 ", 7)],
)
def test_the_larger_cursor_wins(after: str | None, last: str | None, expected: int) -> None:
    query = {} if after is None else {"after": after}
    headers = {} if last is None else {"Last-Event-ID": last}
    assert cursor.after_seq(query, headers) == expected


@pytest.mark.parametrize("text", ["x", "-1", "1.0", "0x1", "9" * 19, "٣", "1 2"])
def test_a_garbage_cursor_never_means_the_start(text: str) -> None:
    with pytest.raises(Problem, match="after"):
        cursor.after_seq({"after": text}, {})
    with pytest.raises(Problem, match="Last-Event-ID"):
        cursor.after_seq({}, {"Last-Event-ID": text})
