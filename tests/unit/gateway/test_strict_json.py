"""Strict JSON: what it takes, what it refuses, and that its cost stays linear."""

from __future__ import annotations

import contextlib
import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.strict_json import parse
from setpoint.contracts.limits import JSON_DEPTH_MAX
from setpoint.contracts.problem import Problem

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    LEAVES.filter(lambda leaf: leaf not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    pairs = [(b"[", b"]"), (b'{"a":', b"}")]
    opening = b"".join(pairs[n % 2][0] for n in range(depth))
    closing = b"".join(pairs[n % 2][1] for n in reversed(range(depth)))
    return opening + b"1" + closing


@given(VALUES)
def test_every_plain_value_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200) | st.text(string.printable + '[]{}"\\', max_size=200).map(str.encode))
def test_nothing_but_a_problem_is_ever_raised(content: bytes) -> None:
    with contextlib.suppress(Problem):
        parse(content)


def test_the_depth_is_counted_exactly() -> None:
    parse(nested(JSON_DEPTH_MAX))
    with pytest.raises(Problem, match="nested deeper"):
        parse(nested(JSON_DEPTH_MAX + 1))


def test_brackets_inside_texts_are_no_depth() -> None:
    assert parse(json.dumps(["[" * 100, '{"' * 100, '\\"[[']).encode()) == ["[" * 100, '{"' * 100, '\\"[[']


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"[" * 60_000, "nested deeper"),
        (b'{"a":1,"a":1}', "twice"),
        (b'[{"a":1,"\\u0061":2}]', "twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e400]", "too large"),
        (b"[9223372036854775808]", "64 bits"),
        (b"[" + b"1" * 5000 + b"]", "64 bits"),
        (b'["\\u0000"]', "NUL"),
        (b'{"\\u0000":1}', "NUL"),
        (b'["\\uD800"]', "surrogate"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b'["a\x00b"]', "control character"),
        (b'["a\nb"]', "control character"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"[1] 2", "not JSON"),
        (b"[1", "not JSON"),
        (b"]", "not JSON"),
    ],
)
def test_what_is_refused_is_named(content: bytes, word: str) -> None:
    with pytest.raises(Problem, match=word):
        parse(content)


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse(b'["\\ud83d\\ude00"]') == ["\U0001f600"]
