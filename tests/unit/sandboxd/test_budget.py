"""What is kept of a stream, and its end as text."""

from __future__ import annotations

from sandboxd.core.budget import MARKER, Budget, tail_text


def test_what_fits_is_kept_whole() -> None:
    budget = Budget(len(MARKER) + 10)
    assert budget.take(b"0123456789") == b"0123456789"
    assert not budget.truncated and budget.kept == 10


def test_what_does_not_fit_ends_in_one_marker_within_the_bound() -> None:
    budget = Budget(len(MARKER) + 10)
    assert budget.take(b"01234") == b"01234"
    assert budget.take(b"56789abc") == b"56789" + MARKER
    assert budget.take(b"more") == b"" and budget.take(b"") == b""
    assert budget.truncated and budget.kept == len(MARKER) + 10


def test_the_tail_starts_with_a_whole_character() -> None:
    text = "é" * 100
    assert tail_text(text.encode(), 11) == "é" * 5


def test_the_tail_is_storable_and_bounded_even_when_bytes_are_replaced() -> None:
    assert tail_text(b"a\0b\xff") == "ab\ufffd"
    assert len(tail_text(b"\xff" * 5000, 4096).encode()) <= 4096
    assert tail_text(b"") == ""
