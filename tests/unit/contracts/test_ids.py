"""Names and ids: what is legal, and that made ids are the same everywhere and in the order of time."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setpoint.contracts.ids import derived_id, execution_id, is_name, is_uuid, uuid7


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a.b_c-9", "x" * 128, "a..b"])
def test_legal_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "A", "-a", "a-", ".a", "a.", "a b", "a/b", "x" * 129, "ä", "a\n", "\na", "a\x00"])
def test_illegal_names(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "019AA5A0-0000-7000-8000-000000000001",
        "019aa5a000007000800000000000000001",
        "{019aa5a0-0000-7000-8000-000000000001}",
        "019aa5a0-0000-7000-8000-000000000001\n",
        "019aa5a0-0000-7000-8000-00000000000g",
    ],
)
def test_only_the_canonical_form_of_a_uuid_is_one(text: str) -> None:
    assert not is_uuid(text)


@given(st.integers(0, 2**47 * 1000), st.binary(min_size=10, max_size=10))
def test_a_time_ordered_id_is_a_uuid_of_version_7(now_us: int, random: bytes) -> None:
    text = uuid7(now_us, random)
    parsed = uuid.UUID(text)
    assert is_uuid(text)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == now_us // 1000


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=2, unique=True), st.binary(min_size=20, max_size=20))
def test_ids_sort_as_their_milliseconds(moments: list[int], random: bytes) -> None:
    early, late = sorted(moments)
    assert uuid7(early * 1000, random[:10]) < uuid7(late * 1000, random[10:])


def test_all_of_the_randomness_is_used() -> None:
    """An id has room for 74 random bits; the six that are left over lie between its two parts."""
    made = {uuid7(0, (1 << bit).to_bytes(10, "big")) for bit in (*range(62), *range(68, 80))}
    assert len(made) == 74
    assert uuid7(0, bytes(10)) not in made


@given(st.lists(st.one_of(st.integers(), st.text(alphabet="abc/-")), min_size=1, max_size=4))
def test_a_derived_id_follows_from_its_parts(parts: list[int | str]) -> None:
    made = derived_id(*parts)
    assert made == derived_id(*parts)
    assert uuid.UUID(made).version == 8
    assert derived_id(*parts, "more") != made


def test_parts_do_not_run_into_each_other() -> None:
    assert derived_id("a", "bc") != derived_id("ab", "c")


def test_an_execution_is_named_by_its_session_epoch_and_number() -> None:
    # Pinned: a sandbox ledger on disk knows these ids.
    known = execution_id("019aa5a0-0000-7000-8000-000000000001", (1, 2), 3)
    assert known == execution_id("019aa5a0-0000-7000-8000-000000000001", (1, 2), 3)
    different = {
        execution_id("019aa5a0-0000-7000-8000-000000000002", (1, 2), 3),
        execution_id("019aa5a0-0000-7000-8000-000000000001", (2, 2), 3),
        execution_id("019aa5a0-0000-7000-8000-000000000001", (1, 3), 3),
        execution_id("019aa5a0-0000-7000-8000-000000000001", (1, 2), 4),
    }
    assert len({known, *different}) == 5
