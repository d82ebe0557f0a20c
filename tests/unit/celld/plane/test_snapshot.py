"""What is kept of a snapshot says by itself whether it is whole, and whose it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celld.plane.snapshot import Snapshot, seal, unseal

KEPT = Snapshot(7, b"shell", b"cell")


def test_a_whole_one_comes_back() -> None:
    assert unseal("s", 7, seal("s", KEPT)) == KEPT


@given(st.integers(0, len(seal("s", KEPT)) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(at: int, by: int) -> None:
    content = bytearray(seal("s", KEPT))
    content[at] ^= by
    assert unseal("s", 7, bytes(content)) is None


@given(st.integers(0, len(seal("s", KEPT)) - 1))
def test_one_cut_short_is_found(size: int) -> None:
    assert unseal("s", 7, seal("s", KEPT)[:size]) is None


def test_one_of_another_session_or_seq_is_not_taken() -> None:
    assert unseal("other", 7, seal("s", KEPT)) is None
    assert unseal("s", 8, seal("s", KEPT)) is None
